"""The application on a real Ray Serve: the same answers as the local server, and what Ray adds."""

from __future__ import annotations

import base64
import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest

from tests.support.faults_process import environment
from tests.support.ray_cluster import PATIENCE_S, RAY, Cluster, until
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
    done = subprocess.run([RAY / "python", "-c", IMPORT], env=variables, capture_output=True, text=True, timeout=60)
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


@pytest.mark.parametrize("path", ["/health", "/healthz", "/readyz", "/api/health", "/api/gpu-status", "/metrics", "/"])
def test_what_probes_and_people_ask(served: Cluster, path: str) -> None:
    assert served.ask(path)[0] == 200


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


def test_load_adds_a_replica(served: Cluster) -> None:
    assert len(served.replicas("models", "Embedder")) == 1
    body = {"texts": ["a text of some length that takes a moment to compute"] * 8}
    enough, answers = Event(), []

    def client() -> None:
        while not enough.is_set():
            answers.append(served.ask("/embed", body)[0])

    with ThreadPoolExecutor(8) as pool:
        clients = [pool.submit(client) for _ in range(8)]
        try:
            until(lambda: len(served.replicas("models", "Embedder")), lambda count: count == 2)
        finally:
            enough.set()
        for one in clients:
            one.result()
    assert set(answers) == {200}


def test_a_killed_replica_is_replaced_and_requests_survive(served: Cluster) -> None:
    def running() -> set[int]:
        return {one["pid"] for one in served.replicas("models", "Embedder")}

    before = running()
    assert before
    body = {"texts": ["a text of some length that takes a moment to compute " * 2] * 8}
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(_with_retry, served, body) for _ in range(40)]
        time.sleep(0.5)
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        assert {one.result() for one in asked} == {200}
    # Serve lists a killed replica as running until its controller has noticed.
    until(running, lambda after: bool(after) and not after & before)


def _with_retry(served: Cluster, body: Any) -> int:
    """As clients do: again after 503 and 429, for a while."""
    end = time.monotonic() + PATIENCE_S
    while (status := served.ask("/embed", body)[0]) in (429, 503) and time.monotonic() < end:
        time.sleep(0.5)
    return status
