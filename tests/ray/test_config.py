"""Applications of a serveConfigV2: other options, another role, and a release that is not right."""

from __future__ import annotations

import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.ray_cluster import PATIENCE_S, Cluster, application, until

pytestmark = pytest.mark.ray

FIXED = {"min_replicas": 1, "max_replicas": 1}


@pytest.fixture(scope="module")
def indexing(served: Cluster) -> Cluster:
    """A second application beside the first, of the other role, with options set by the names of deployments."""
    narrow = {"max_ongoing_requests": 1, "max_queued_requests": 1, "ray_actor_options": {"num_cpus": 2}}
    second = application(
        "indexing",
        "/indexing",
        args={"INDEXING_ONLY": True, "EMBEDDER_TARGET_ONGOING": 1},
        deployments=[
            {"name": "Embedder", "autoscaling_config": FIXED | {"target_ongoing_requests": 1}, **narrow},
            {"name": "Api", "autoscaling_config": FIXED},
        ],
    )
    served.deploy(application("models"), second)
    until(lambda: served.application("indexing"), lambda found: found.get("status") == "RUNNING")
    served.await_ready("/indexing/readyz")
    return served


def test_the_indexing_role_has_no_reranker(indexing: Cluster) -> None:
    assert set(indexing.application("indexing")["deployments"]) == {"Api", "Embedder"}
    assert set(indexing.application("models")["deployments"]) == {"Api", "Embedder", "Reranker"}
    status, answer = indexing.ask("/indexing/rerank", {"query": "q", "documents": ["d"]})
    assert status == 400 and "indexing server" in str(answer)
    assert indexing.ask("/rerank", {"query": "q", "documents": ["d"]})[0] == 200


def test_threads_follow_the_cpus_of_the_config(indexing: Cluster) -> None:
    threads = [model["threads"] for model in indexing.ask("/indexing/status.json")[1]["models"]]
    assert threads == [2]


def test_a_full_queue_of_serve_is_429(indexing: Cluster) -> None:
    body = {"texts": ["a text of some length that takes a moment to compute " * 8] * 64}
    found: set[int] = set()
    end = time.monotonic() + PATIENCE_S

    def client(_: int) -> None:
        while not found >= {200, 429} and time.monotonic() < end:  # until several came at once
            found.add(indexing.ask("/indexing/embed", body)[0])

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(client, range(12)))
    assert found == {200, 429}


@pytest.fixture(scope="module")
def wrong(served: Cluster, release: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What `serve status` says, by name, of applications that cannot be."""
    folder = tmp_path_factory.mktemp("wrong")
    given = {
        "changed": {"PROVISION_SERVE_AT": str(_changed(release, folder / "changed")), "VERIFY": "full"},
        "missing": {"PROVISION_SERVE_AT": str(_incomplete(release, folder / "missing"))},
        "variable": {"EMBEDDER_MAX_REPLICAS": "many"},
    }
    served.deploy(application("models"), *(application(name, f"/{name}", args=args) for name, args in given.items()))

    def said() -> dict[str, Any]:
        return dict(yaml.safe_load(served.run("serve", "status", "-a", served.dashboard).stdout)["applications"])

    # Status and words of one answer: Serve starts a failed replica again, and then has other words for a while.
    found = until(said, lambda said: all(said.get(name, {}).get("status") == "DEPLOY_FAILED" for name in given))
    return {name: " ".join(str(found[name]).replace("\\n", " ").split()) for name in given}


def _changed(release: Path, copy: Path) -> Path:
    """A copy of the release whose weights have one other byte: as long as before."""
    shutil.copytree(release, copy)
    weights = max(copy.rglob("*.onnx"), key=lambda path: path.stat().st_size)
    weights.chmod(0o644)
    with weights.open("r+b") as file:
        file.seek(1000)
        byte = file.read(1)
        file.seek(1000)
        file.write(bytes([byte[0] ^ 1]))
    return copy


def _incomplete(release: Path, copy: Path) -> Path:
    """A copy of the release without a tokenizer."""
    shutil.copytree(release, copy)
    next(copy.rglob("tokenizer.json")).unlink()
    return copy


def test_changed_weights_keep_the_replicas_from_running_and_it_says_why(wrong: dict[str, str]) -> None:
    assert "StartRefused" in wrong["changed"]
    assert "does not match its lock" in wrong["changed"] and "model.onnx" in wrong["changed"]


def test_a_missing_file_keeps_the_application_from_being_built(wrong: dict[str, str]) -> None:
    assert "does not match its lock" in wrong["missing"] and "tokenizer.json" in wrong["missing"]
    assert "StartRefused" in wrong["missing"] and "raying/application.py" not in wrong["missing"], "a long traceback"


def test_a_wrong_variable_is_named(wrong: dict[str, str]) -> None:
    assert "EMBEDDER_MAX_REPLICAS" in wrong["variable"] and "whole number" in wrong["variable"]
    assert "StartRefused" in wrong["variable"] and "docs/ray.md lists the variables." in wrong["variable"], "the hint"


def test_the_application_beside_them_still_answers(wrong: dict[str, str], served: Cluster) -> None:
    assert served.ask("/embed", {"texts": ["a sentence"]})[0] == 200
