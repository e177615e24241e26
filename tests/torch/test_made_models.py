"""Small real models with random weights: remote code of a second repository, and a cross-encoder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from provisioner.lockfile import parse
from provisioner.model import Layout
from tests.support.faults_process import provision
from tests.support.patience import PATIENCE
from tests.support.readonly import UIDS, Pod
from tests.support.tiny_hub import TinyHub
from tests.support.upstream import MINILM, Release, Weights, script

pytestmark = pytest.mark.torch

CODE = {
    "configuration_tiny.py": """
from transformers import PretrainedConfig


class TinyConfig(PretrainedConfig):
    model_type = "tiny"

    def __init__(self, words=30522, width=8, **more):
        self.words, self.width = words, width
        super().__init__(**more)
""",
    "layers_tiny.py": """
from torch import nn


class Mix(nn.Linear):
    def __init__(self, width):
        super().__init__(width, width, bias=False)
""",
    "modeling_tiny.py": """
from torch import nn
from transformers import PreTrainedModel

from .configuration_tiny import TinyConfig
from .layers_tiny import Mix


class TinyModel(PreTrainedModel):
    config_class = TinyConfig

    def __init__(self, config):
        super().__init__(config)
        self.embedding = nn.Embedding(config.words, config.width)
        self.mix = Mix(config.width)
        self.post_init()

    def forward(self, input_ids, **more):
        return self.mix(self.embedding(input_ids)).mean(1)
""",
}
CONFIG = {
    "model_type": "tiny",
    "architectures": ["TinyModel"],
    "auto_map": {
        "AutoConfig": "org/code--configuration_tiny.TinyConfig",
        "AutoModel": "org/code--modeling_tiny.TinyModel",
    },
}

# Random weights, and by plain arithmetic what a model with them has to answer.
TINY = """
import json, sys, torch
from safetensors.torch import save_file

torch.manual_seed(7)
words, mix = torch.randn(30522, 8), torch.randn(8, 8)
save_file({"embedding.weight": words, "mix.weight": mix}, sys.argv[1] + "/model.safetensors", {"format": "pt"})
print(json.dumps((words[[3, 1, 4]] @ mix.T).mean(0).tolist()))
"""
LOAD_TINY = """
import json, sys, torch
from transformers import AutoModel

model = AutoModel.from_pretrained("org/tiny", trust_remote_code=True)
with torch.no_grad():
    (vector,) = model(torch.tensor([[3, 1, 4]])).tolist()
print(json.dumps({"vector": vector, "code": sys.modules[type(model).__module__].__file__}))
"""

RERANKER = """
import json, sys, torch
from sentence_transformers import CrossEncoder
from transformers import BertConfig, BertForSequenceClassification

folder, *pair = sys.argv[1:]
torch.manual_seed(7)
sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
BertForSequenceClassification(BertConfig(**sizes, num_labels=1)).save_pretrained(folder)
print(json.dumps(float(CrossEncoder(folder, device="cpu").predict([tuple(pair)])[0])))
"""
LOAD_RERANKER = """
import json, sys
from sentence_transformers import CrossEncoder

repo, *pair = sys.argv[1:]
print(json.dumps(float(CrossEncoder(repo, device="cpu").predict([tuple(pair)])[0])))
"""
PAIR = ("which model is this", "It is one with random weights.")


@pytest.fixture
def hub() -> Iterator[TinyHub]:
    with TinyHub() as hub:
        yield hub


@pytest.fixture
def made(weights: Weights, tmp_path: Path) -> Path:
    """A folder with the tokenizer of the real model."""
    (snapshot,) = weights.release(Layout.FLAT, MINILM).path.glob("models/*")
    folder = tmp_path / "made"
    folder.mkdir()
    for name in ("special_tokens_map.json", "tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((snapshot / name).read_bytes())
    return folder


def content(folder: Path) -> dict[str, Any]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def provisioned(place: Path, hub: TinyHub, *add: str) -> Release:
    """Lock, fetch, verify --load."""
    locked = provision("lock", "add", *add, cwd=place, timeout=PATIENCE, HF_ENDPOINT=hub.url)
    assert locked.code == 0, locked.err
    where = ("--store", place / "store", "--json")
    fetched = provision("fetch", *where, cwd=place, timeout=PATIENCE, HF_ENDPOINT=hub.url)
    assert fetched.code == 0, fetched.err
    return Release(place / "store", fetched.json["release"])


def loads(release: Release) -> dict[str, tuple[str, str]]:
    where = ("--at", release.store, "--release", release.name)
    done = provision("verify", *where, "--load", "--json", cwd=release.store, timeout=PATIENCE)
    assert done.code == 0, done.out
    return {one["repo"]: (one["outcome"], one["detail"]) for one in done.json["loads"]}


def test_code_of_another_repository_is_pinned_and_runs_offline(
    hub: TinyHub, made: Path, tmp_path: Path, in_pod: Pod
) -> None:
    expected = script(TINY, made)
    code = hub.add("org/code", CODE | {"config.json": {"model_type": "tiny"}})
    tiny = hub.add("org/tiny", content(made) | {"config.json": CONFIG})
    release = provisioned(tmp_path, hub, "org/tiny", "--allow-remote-code")
    lock = parse((tmp_path / "models.lock").read_bytes())
    assert {str(model.repo): str(model.commit) for model in lock.models} == {
        "org/code": code.commit,
        "org/tiny": tiny.commit,
    }
    found = loads(release)
    assert found["org/tiny"][0] == "loaded", found
    assert found["org/code"][0] == "nothing to load", found
    variables = release.environment(in_pod.models, in_pod.scratch)
    answer = in_pod.python(release.path, LOAD_TINY, uid=UIDS[0], variables=variables)
    assert answer["vector"] == pytest.approx(expected, abs=1e-5)
    assert answer["code"].startswith(f"{variables['HF_MODULES_CACHE']}/transformers_modules/")
    assert code.commit in answer["code"]


def test_a_cross_encoder_in_the_layout_of_its_library(hub: TinyHub, made: Path, tmp_path: Path, in_pod: Pod) -> None:
    expected = script(RERANKER, made, *PAIR, HF_HUB_OFFLINE="1", HOME=str(tmp_path))
    hub.add("org/reranker", content(made))
    release = provisioned(tmp_path, hub, "org/reranker", "--layout", "sentence-transformers")
    outcome, detail = loads(release)["org/reranker"]
    assert outcome == "loaded", detail
    assert detail.startswith("scores a pair")
    variables = release.environment(in_pod.models, in_pod.scratch)
    score = in_pod.python(release.path, LOAD_RERANKER, "org/reranker", *PAIR, uid=UIDS[0], variables=variables)
    assert score == pytest.approx(expected, abs=1e-6)
