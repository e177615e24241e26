"""The server under load: no request is lost, memory is bounded, and SIGTERM lets everybody finish."""

from __future__ import annotations

import http.client
import json
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

from tests.support.patience import until
from tests.support.served import PATIENCE_S, Served, at_work, int8_release, serving

MIB = 2**20
# After a first round of load. What grows in it are the arenas of the engines, which keep the room that their largest
# batches took; a leak of the requests of one round would be several times this.
GROWTH = 48 * MIB
# int8 scales its numbers by what else is in the batch, so a text's vector is not the same in each.
COSINE = 0.97

SUBJECTS = "A river|The old bridge|My neighbour|The committee|A red fox|Bread"
VERBS = "crosses|remembers|measures|forgets|paints"
OBJECTS = "the city at night.|three numbers.|a broken clock.|the sound of rain."
TEXTS = tuple(f"{a} {b} {c}" for a in SUBJECTS.split("|") for b in VERBS.split("|") for c in OBJECTS.split("|"))
LONG = "A long passage that says the same in many words, again and again. " * 20


@dataclass(frozen=True)
class Outcome:
    """What came of one request. Without an answer the status is 0."""

    status: int
    body: Any
    headers: http.client.HTTPMessage | None

    @property
    def last(self) -> bool:
        return self.headers is not None and self.headers.get("Connection", "").lower() == "close"


class Client:
    """One connection, kept as long as the server keeps it."""

    def __init__(self, served: Served) -> None:
        address = urlsplit(served.url)
        self._connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=PATIENCE_S)

    def post(self, path: str, body: Any) -> Outcome:
        try:
            self._connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
            answer = self._connection.getresponse()
            return Outcome(answer.status, json.loads(answer.read()), answer.headers)
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            return Outcome(0, repr(error), None)

    def close(self) -> None:
        self._connection.close()


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return int8_release(tmp_path_factory.mktemp("store"))


def in_parallel(served: Served, count: int, work: Callable[[Client, int], Any]) -> list[Any]:
    """Several clients at once, each with its number."""

    def one(number: int) -> Any:
        client = Client(served)
        try:
            return work(client, number)
        finally:
            client.close()

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(one, range(count)))


def vectors(body: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
    found = body["embeddings"] if "embeddings" in body else [one["embedding"] for one in body["data"]]
    return np.array(found, dtype=np.float32)


@dataclass(frozen=True)
class Right:
    """The vectors of TEXTS, each computed alone."""

    matrix: np.ndarray[Any, np.dtype[np.float32]]

    @classmethod
    def of(cls, served: Served) -> Right:
        client = Client(served)
        rows = [vectors(client.post("/embed", {"texts": [text]}).body)[0] for text in TEXTS]
        client.close()
        return cls(np.array(rows))

    def check(self, places: Sequence[int], body: Any) -> None:
        """Each vector is that of its text, and of no other."""
        likeness = vectors(body) @ self.matrix.T
        assert likeness.shape == (len(places), len(TEXTS))
        assert [int(one) for one in likeness.argmax(axis=1)] == list(places)
        assert likeness.max(axis=1).min() >= COSINE


def asks(number: int, count: int) -> Iterator[tuple[str, list[int]]]:
    """Requests of a client: mostly a query, some with a few texts, some with many."""
    for turn in range(count):
        size = (1, 1, 3, 1, 12, 1, 40)[(number + turn) % 7]
        first = (number * 131 + turn * 37) % len(TEXTS)
        yield ("/v1/embeddings" if turn % 2 else "/embed", [(first + place) % len(TEXTS) for place in range(size)])


def load(served: Served, right: Right, clients: int, count: int) -> Counter[int]:
    """A round of requests, each checked: the statuses."""

    def work(client: Client, number: int) -> list[int]:
        statuses = []
        for path, places in asks(number, count):
            texts = [TEXTS[place] for place in places]
            body = {"texts": texts} if path == "/embed" else {"input": texts, "model": "all-MiniLM-L6-v2-int8"}
            outcome = client.post(path, body)
            if outcome.status == 200:
                right.check(places, outcome.body)
            else:
                told_to_come_back(outcome)
            statuses.append(outcome.status)
        return statuses

    return Counter(status for one in in_parallel(served, clients, work) for status in one)


def told_to_come_back(outcome: Outcome) -> None:
    assert outcome.status == 429, outcome.body
    assert outcome.headers is not None
    assert int(outcome.headers["Retry-After"]) >= 1


def gauge(served: Served, name: str) -> float:
    """A metric without labels."""
    found = re.search(rf"^provision_serve_{name} (\S+)$", served.ask("/metrics")[1], re.MULTILINE)
    assert found, name
    return float(found[1])


def queued(served: Served) -> float:
    """Texts that wait to be embedded; none before the first came."""
    name = r'provision_serve_queue_depth_texts\{task="embed"\}'
    found = re.search(rf"^{name} (\S+)$", served.ask("/metrics")[1], re.MULTILINE)
    return float(found[1]) if found else 0.0


@pytest.mark.parametrize("indexing", ["False", "True"])
def test_every_request_gets_its_own_vectors_and_memory_does_not_grow(
    release: Path, tmp_path: Path, indexing: str
) -> None:
    with serving(release, tmp_path, INDEXING_ONLY=indexing) as served:
        right = Right.of(served)
        load(served, right, 12, 7)

        def growth() -> int:
            before = served.rss
            for _ in range(2):
                assert load(served, right, 12, 7) == {200: 84}
            return served.rss - before

        # Which batches come about is a matter of chance, so that an arena may grow later; a leak grows each time.
        assert any(growth() < GROWTH for _ in range(3))


@pytest.mark.parametrize("indexing", ["False", "True"])
def test_a_full_queue_refuses_with_a_time_and_serves_everybody_else(
    release: Path, tmp_path: Path, indexing: str
) -> None:
    with serving(release, tmp_path, INDEXING_ONLY=indexing, MAX_QUEUE="48", MAX_TEXTS="48") as served:
        right = Right.of(served)
        found: Counter[int] = Counter()

        def filled() -> bool:
            found.update(load(served, right, 24, 7))
            return 429 in found

        until(filled)  # the clients may be slower than the server for once
        assert set(found) == {200, 429}
        assert load(served, right, 1, 7) == {200: 7}


def test_more_requests_than_there_may_be_are_refused_with_a_time(release: Path, tmp_path: Path) -> None:
    with serving(release, tmp_path, MAX_CONCURRENT="2") as served:
        refused: list[Outcome] = []

        def crowded() -> bool:
            outcomes = in_parallel(served, 8, lambda client, _: client.post("/embed", {"texts": [LONG] * 8}))
            refused[:] = [one for one in outcomes if one.status != 200]
            return bool(refused)

        until(crowded)  # they may have come one after the other
        assert len(refused) < 8
        for one in refused:
            told_to_come_back(one)
        assert served.ask("/embed", {"texts": TEXTS[:1]})[0] == 200


def test_reranking_under_load_gives_each_its_own_order(release: Path, tmp_path: Path) -> None:
    with serving(release, tmp_path) as served:

        def work(client: Client, number: int) -> Outcome:
            documents = [TEXTS[(number * 17 + place * 29) % len(TEXTS)] for place in range(10)]
            return client.post("/rerank", {"query": documents[number % 10], "documents": documents, "top_n": 1})

        for number, outcome in enumerate(in_parallel(served, 12, work)):
            assert outcome.status == 200, outcome.body
            assert [one["index"] for one in outcome.body["results"]] == [number % 10]


def test_whoever_goes_away_frees_the_queue(release: Path, tmp_path: Path) -> None:
    with serving(release, tmp_path, MAX_QUEUE="8050", MAX_TEXTS="8050", INDEXING_ONLY="True") as served:
        address = urlsplit(served.url)
        body = json.dumps({"texts": [LONG] * 8000})  # minutes of work, of which next to nothing is done
        gone = http.client.HTTPConnection(str(address.hostname), address.port, timeout=PATIENCE_S)
        gone.request("POST", "/embed", body, {"Content-Type": "application/json"})
        until(lambda: 0 < queued(served) < 8000)  # some are at work: it is not the door where they still wait
        gone.close()
        until(lambda: gauge(served, "requests_in_flight") == 0)
        assert served.ask("/embed", {"texts": TEXTS[:100] * 10})[0] == 200  # for which there is no room beside them


def test_sigterm_lets_those_finish_who_wait(release: Path, tmp_path: Path) -> None:
    """More than can be computed before the server stops listening."""
    with serving(release, tmp_path, DRAIN_DELAY="0", DRAIN_SECONDS="1200") as served, ThreadPoolExecutor(8) as threads:
        asked = at_work(served, threads, 8, {"texts": [LONG] * 6})
        assert served.stop() == 0
        answers = [one.result() for one in asked]
        assert {status for status, _ in answers} == {200}
        assert {len(answer["embeddings"]) for _, answer in answers} == {6}


def test_sigterm_under_load_loses_no_request(release: Path, tmp_path: Path) -> None:
    """Clients that keep their connections go on until they are told that theirs is closed."""
    with serving(release, tmp_path, DRAIN_DELAY="120") as served:
        right = Right.of(served)
        answered: Counter[int] = Counter()

        def work(client: Client, number: int) -> None:
            for turn in range(100_000):
                places = [(number * 31 + turn + place) % len(TEXTS) for place in range(1 + turn % 3)]
                outcome = client.post("/embed", {"texts": [TEXTS[place] for place in places]})
                assert outcome.status == 200, outcome.body
                right.check(places, outcome.body)
                answered[number] += 1
                if outcome.last:
                    return
            raise AssertionError("the server does not end")

        def stop() -> None:
            try:
                until(lambda: len(answered) == 8 and min(answered.values()) > 1)
            finally:
                served.process.terminate()

        stopping = threading.Thread(target=stop)
        stopping.start()
        in_parallel(served, 8, work)
        stopping.join()
        assert len(answered) == 8 and min(answered.values()) > 1
        assert served.stop() == 0  # nobody is left to whom a delay is of use
