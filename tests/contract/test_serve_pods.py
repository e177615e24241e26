"""Our model server as `emit server --server provision` writes it: the rendered pods really run, and answer."""

from __future__ import annotations

import json
import shutil
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.faults_process import provision
from tests.support.manifests import load
from tests.support.pod_volumes import Claim, Cluster, Object
from tests.support.pods import Running, pod
from tests.support.ray_cluster import free_port
from tests.support.serve_models import EMBEDDER_REPO, RERANKER_REPO
from tests.support.served import PATIENCE_S, int8_release
from tests.support.upstream import cosine, replace

TEXTS = ["How do I reset my password?", "Passwords are reset in the settings.", "The cafeteria opens at nine."]
OURS = ("--server", "provision")


class Site:
    """A folder with a lock, a volume that holds its release, and a port that is free."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.volume = folder, folder / "volume"
        self.release = int8_release(self.volume)
        shutil.copy(self.release / "models.lock", folder)
        self.cluster = Cluster({"models": Claim(self.volume)})
        self.port = free_port()  # in the namespace of this machine, since pods here have none

    def emit(self, name: str, *arguments: str) -> str:
        done = provision("emit", "server", name, *OURS, *arguments, cwd=self.folder)
        assert done.code == 0, done.err
        return str(done.out)

    def templates(self, name: str, *arguments: str) -> dict[str, Object]:
        """The pod templates of the Deployments, by name."""
        objects = load(self.emit(name, *arguments))
        return {one["metadata"]["name"]: one["spec"]["template"] for one in objects if one["kind"] == "Deployment"}

    def ask(self, path: str, body: Any = None) -> tuple[int, Any]:
        """The status, and the answer as JSON where there was a body."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data)
        request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
                return answer.status, json.loads(answer.read()) if body is not None else None
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read()) if body is not None else None

    def await_ready(self, running: Running, path: str = "/readyz") -> None:
        """As a startup probe does."""
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            try:
                if self.ask(path)[0] == 200:
                    return
            except OSError:
                pass
            assert running.ended is None, running.wait().err[-3000:]
            time.sleep(0.05)
        raise AssertionError("not ready in time")

    def embed(self, texts: list[str], text_type: str = "passage") -> list[list[float]]:
        """As Onyx's API server asks."""
        body = {"texts": texts, "model_name": EMBEDDER_REPO, "max_context_length": 256, "normalize_embeddings": True}
        status, answer = self.ask("/encoder/bi-encoder-embed", body | {"text_type": text_type})
        assert status == 200, answer
        return answer["embeddings"]  # type: ignore[no-any-return]

    def scores(self) -> tuple[int, Any]:
        body = {"query": TEXTS[0], "documents": TEXTS[1:], "model_name": RERANKER_REPO}
        return self.ask("/encoder/cross-encoder-scores", body)


@pytest.fixture
def site(open_folder: Path) -> Site:
    return Site(open_folder)


def means_something(vectors: list[list[float]]) -> bool:
    """Whether the answer is nearer to the question than the other sentence is."""
    return len(vectors) == 3 and cosine(vectors[0], vectors[1]) > 0.5 > cosine(vectors[0], vectors[2])


def test_onyx_gets_its_vectors_from_the_pods_of_ours(site: Site) -> None:
    templates = site.templates("onyx", "--set", f"onyx.port={site.port}")
    vectors = {}
    for name in ("inference-model-server", "indexing-model-server"):
        with pod(templates[name], site.cluster) as one, one.container("model-server") as running:
            site.await_ready(running)
            assert site.ask("/healthz")[0] == site.ask("/api/health")[0] == 200
            vectors[name] = site.embed(TEXTS)
            assert means_something(vectors[name])
            status, answer = site.scores()
            if name == "inference-model-server":
                assert status == 200 and answer["scores"][0] > answer["scores"][1], answer
            else:
                assert status == 400, "the indexing server does not rerank"
            who = running.exec("cat", "/proc/1/status").stdout
            assert "Uid:\t10001\t10001" in who and f"CapEff:\t{0:016x}" in who
            running.terminate()
            assert running.wait(PATIENCE_S).code == 0
    assert all(cosine(*pair) > 0.9999 for pair in zip(*vectors.values(), strict=True)), "one index for both"


def test_a_worker_of_qwiser_is_ours(site: Site) -> None:
    (template,) = site.templates("qwiser", "--set", f"qwiser.port={site.port}", "--embedder", EMBEDDER_REPO).values()
    with pod(template, site.cluster) as one, one.container("embeddings-worker") as running:
        site.await_ready(running)
        status, answer = site.ask("/embed", {"texts": TEXTS})
        assert status == 200 and means_something(answer["embeddings"])


def test_a_pod_of_a_damaged_release_ends_before_it_is_ready(site: Site) -> None:
    (weights,) = site.release.glob("hub/models--local--all-MiniLM*/snapshots/*/onnx/model.onnx")
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 1
    replace(weights, data)
    templates = site.templates("onyx", "--set", f"onyx.port={site.port}", "--set", "serve.verify=full")
    with pod(templates["inference-model-server"], site.cluster) as one:
        ended = one.run_container("model-server")
    assert ended.code == 3, ended.err
    assert "model.onnx" in ended.err


def as_template(site: Site, service: dict[str, Any]) -> Object:
    """A service of Compose as a pod: what Docker would be told."""
    (models,) = service["volumes"]
    user, group = map(int, service["user"].split(":"))
    writable = {f"tmpfs-{number}": one.partition(":")[0] for number, one in enumerate(service["tmpfs"])}
    mounts = [{"name": name, "mountPath": path} for name, path in writable.items()]
    sub_path = str(Path(models["source"]).relative_to(site.volume))
    mounts.append({"name": "models", "mountPath": models["target"], "subPath": sub_path, "readOnly": True})
    claim = {"claimName": "models", "readOnly": models["read_only"]}
    container = {
        "name": "service",
        "args": service["command"],
        "env": [{"name": name, "value": value.replace("$$", "$")} for name, value in service["environment"].items()],
        "volumeMounts": mounts,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": service["read_only"],
            "capabilities": {"drop": service["cap_drop"]},
        },
    }
    volumes: list[Object] = [{"name": name, "emptyDir": {}} for name in writable]
    volumes.append({"name": "models", "persistentVolumeClaim": claim})
    context = {"runAsUser": user, "runAsGroup": group}
    return {"spec": {"securityContext": context, "containers": [container], "volumes": volumes}}


@pytest.mark.parametrize("name", ["inference_model_server", "indexing_model_server"])
def test_a_service_of_compose_gets_healthy_and_answers(name: str, site: Site) -> None:
    store = ("--store", str(site.volume), "--set", f"onyx.port={site.port}")
    service = yaml.safe_load(site.emit("compose", *store))["services"][name]
    kind, *check = service["healthcheck"]["test"]
    assert kind == "CMD"
    with pod(as_template(site, service), site.cluster) as one, one.container("service") as running:
        site.await_ready(running, "/healthz")
        until = time.monotonic() + PATIENCE_S
        while (done := running.exec(*check)).returncode and time.monotonic() < until:
            assert "503" in done.stderr or "TimeoutError" in done.stderr, "alive, and not ready yet, or slow"
        assert done.returncode == 0, done.stderr
        assert means_something(site.embed(TEXTS))
        assert site.scores()[0] == (200 if name == "inference_model_server" else 400)
