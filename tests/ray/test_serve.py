"""The application on a real Ray Serve: the same answers as the local server, and what Ray adds."""

from __future__ import annotations

import base64
import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest

from tests.support.faults_process import environment
from tests.support.ray_cluster import PATIENCE_S, RAY, Cluster, application, until
from tests.support.serve_models import EMBEDDER_REPO, RERANKER_REPO
from tests.support.served import Served, serving

pytestmark = pytest.mark.ray

TEXTS = ["a sentence", "Another one, a little longer than the first.", "the weather in June"]
QUERY = "how is the weather"

IMPORT = """
import os, sys, threading
opened = []
def watch(event, arguments):
    if event == "open" and not str(arguments[0]).endswith((".py", ".pyc")) and "provisioner" not in str(arguments[0]):
        opened.append(arguments[0])
    if event.startswith(("socket.", "subprocess.", "os.putenv", "os.mkdir", "os.fork")):
        opened.append(event)
before = dict(os.environ)
sys.addaudithook(watch)
from provisioner.serve.ray import app
assert callable(app)
assert not opened, opened
assert dict(os.environ) == before
assert threading.active_count() == 1
heavy = {"ray", "numpy", "onnxruntime", "fastapi", "tokenizers"} & set(sys.modules)
assert not heavy, heavy
"""


def test_importing_it_does_nothing() -> None:
    variables = environment(PYTHONDONTWRITEBYTECODE="1")
    command = [str(RAY / "python"), "-c", IMPORT]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def local(release: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The local server on the same release."""
    with serving(release, tmp_path_factory.mktemp("local"), EMBEDDER_OMP_NUM_THREADS="1") as running:
        yield running


def vectors(asker: Cluster | Served, path: str, body: Any, read: Callable[[Any], Any]) -> Any:
    status, answer = asker.ask(path, body)
    assert status == 200, answer
    return np.array(read(answer), dtype=np.float32)


def _base64(answer: Any) -> list[Any]:
    return [np.frombuffer(base64.b64decode(one["embedding"]), np.float32) for one in answer["data"]]


EMBEDDINGS: dict[str, tuple[str, dict[str, Any], Callable[[Any], Any]]] = {
    "native": ("/embed", {"texts": TEXTS}, lambda answer: answer["embeddings"]),
    "tei": ("/embed", {"inputs": TEXTS}, lambda answer: answer),
    "openai": (
        "/v1/embeddings",
        {"input": TEXTS, "model": EMBEDDER_REPO, "encoding_format": "float"},
        lambda answer: [one["embedding"] for one in answer["data"]],
    ),
    "openai-base64": (
        "/v1/embeddings",
        {"input": TEXTS, "model": EMBEDDER_REPO, "encoding_format": "base64", "dimensions": 64},
        _base64,
    ),
    "onyx": (
        "/encoder/bi-encoder-embed",
        {
            "texts": TEXTS,
            "model_name": EMBEDDER_REPO,
            "max_context_length": 64,
            "normalize_embeddings": True,
            "text_type": "passage",
            "manual_query_prefix": None,
            "manual_passage_prefix": "passage: ",
        },
        lambda answer: answer["embeddings"],
    ),
}
SCORES: dict[str, tuple[str, dict[str, Any], Callable[[Any], Any]]] = {
    "native": ("/rerank", {"query": QUERY, "documents": TEXTS}, lambda answer: _sorted(answer["results"])),
    "tei": ("/rerank", {"query": QUERY, "texts": TEXTS}, lambda answer: _sorted(answer)),
    "onyx": (
        "/encoder/cross-encoder-scores",
        {"query": QUERY, "documents": TEXTS, "model_name": RERANKER_REPO},
        lambda answer: answer["scores"],
    ),
}


def _sorted(results: Any) -> list[float]:
    return [one["score"] for one in sorted(results, key=lambda one: one["index"])]


@pytest.mark.parametrize("api", EMBEDDINGS)
def test_vectors_are_those_of_the_local_server(served: Cluster, local: Served, api: str) -> None:
    path, body, read = EMBEDDINGS[api]
    there = vectors(served, path, body, read)
    assert there.shape[0] == len(TEXTS)
    np.testing.assert_allclose(there, vectors(local, path, body, read), atol=2e-3)


@pytest.mark.parametrize("api", SCORES)
def test_scores_are_those_of_the_local_server(served: Cluster, local: Served, api: str) -> None:
    path, body, read = SCORES[api]
    there = vectors(served, path, body, read)
    assert there.shape == (len(TEXTS),) and there.argmax() == 2
    np.testing.assert_allclose(there, vectors(local, path, body, read), atol=2e-3)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/embed", {"texts": ["x"] * 5000}),
        ("/embed", {"inputs": ["x " * 5000], "truncate": False}),
        ("/v1/embeddings", {"input": ["x"], "model": "no/such-model"}),
        ("/v1/embeddings", {"input": [[1, 10**7]], "model": EMBEDDER_REPO}),
        ("/v1/embeddings", {"input": ["x"], "model": EMBEDDER_REPO, "dimensions": 10**6}),
        ("/rerank", {"query": QUERY, "documents": []}),
        ("/encoder/bi-encoder-embed", {"texts": []}),
    ],
)
def test_refusals_cross_the_handle_in_their_shape(served: Cluster, local: Served, path: str, body: Any) -> None:
    status, answer = served.ask(path, body)
    assert 400 <= status < 500
    assert (status, _without_ids(answer)) == (lambda other: (other[0], _without_ids(other[1])))(local.ask(path, body))


def _without_ids(answer: Any) -> Any:
    return {key: value for key, value in answer.items() if "id" not in key} if isinstance(answer, dict) else answer


@pytest.mark.parametrize("path", ["/health", "/healthz", "/api/gpu-status", "/metrics", "/"])
def test_what_probes_and_people_ask(served: Cluster, path: str) -> None:
    assert served.ask(path)[0] == 200


@pytest.mark.parametrize("path", ["/readyz", "/api/health"])
def test_it_is_ready_while_serves_controller_answers(served: Cluster, path: str) -> None:
    served.await_ready(path)


def test_status_tells_the_release_and_both_models(served: Cluster, release: Path) -> None:
    status, answer = served.ask("/status.json")
    assert status == 200
    text = str(answer)
    assert release.name in text and EMBEDDER_REPO in text and RERANKER_REPO in text


def test_batches_are_counted_where_ray_is_scraped(served: Cluster) -> None:
    assert served.ask("/embed", {"texts": TEXTS})[0] == 200
    address = f"http://127.0.0.2:{served.metrics}/metrics"

    def scraped() -> str:
        with urllib.request.urlopen(address, timeout=30) as answer:
            return str(answer.read().decode())

    until(scraped, lambda text: "ray_provision_serve_batch_size_texts_count" in text)


def running(served: Cluster) -> set[int]:
    """Processes of the embedder."""
    return {one["pid"] for one in served.replicas("models", "Embedder")}


@contextmanager
def load(clients: int, ask: Callable[[Any], int]) -> Iterator[list[int]]:
    """Clients that ask all the time; the statuses of their answers. At the end each has had its last one."""
    body = {"texts": ["a text of some length that takes a moment to compute"] * 8}
    enough, answers = Event(), list[int]()

    def client() -> None:
        while not enough.is_set():
            answers.append(ask(body))

    with ThreadPoolExecutor(clients) as pool:
        asked = [pool.submit(client) for _ in range(clients)]
        try:
            yield answers
        finally:
            enough.set()
        for one in asked:
            one.result()


@pytest.fixture
def single(served: Cluster) -> Cluster:
    """With one embedder, whatever load tests before have added."""
    if len(running(served)) != 1:
        options = {"min_replicas": 1, "max_replicas": 1}
        served.deploy(application("models", deployments=[{"name": "Embedder", "autoscaling_config": options}]))
        until(lambda: running(served), lambda found: len(found) == 1)
        served.deploy(application("models"))
        until(lambda: served.application("models"), lambda found: found.get("status") == "RUNNING")
    return served


def test_load_adds_a_replica(single: Cluster) -> None:
    with load(8, lambda body: single.ask("/embed", body)[0]) as answers:
        until(lambda: running(single), lambda found: len(found) == 2)
    assert set(answers) == {200}


def test_a_killed_replica_is_replaced_and_requests_survive(served: Cluster) -> None:
    with load(4, lambda body: _with_retry(served, body)) as answers:
        until(lambda: len(answers), lambda count: count >= 4)
        before = until(lambda: running(served), bool)
        for pid in before:
            with suppress(ProcessLookupError):  # Serve takes one for running until it has noticed that it is not
                os.kill(pid, signal.SIGKILL)
        until(lambda: running(served), lambda after: bool(after) and not after & before)
        alone = len(answers)
        until(lambda: len(answers), lambda count: count >= alone + 8)
    assert set(answers) == {200}
    served.await_ready()


def _with_retry(served: Cluster, body: Any) -> int:
    """As clients do: again after 503 and 429, for a while."""
    end = time.monotonic() + PATIENCE_S
    while (status := served.ask("/embed", body)[0]) in (429, 503) and time.monotonic() < end:
        time.sleep(0.5)
    return status
