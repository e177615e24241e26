"""Small ONNX graphs whose numbers are known beforehand, and the files of a model around one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper

from tests.support.serve_models import GRAPH, files_of

INT64, FLOAT = TensorProto.INT64, TensorProto.FLOAT
TOKENS = ("batch", "sequence")
NAMES = ("input_ids", "attention_mask")


def save(
    target: Path,
    nodes: Sequence[onnx.NodeProto],
    outputs: dict[str, tuple[Any, ...]],
    inputs: Sequence[str] = NAMES,
    *,
    shape: tuple[Any, ...] = TOKENS,
    kind: int = INT64,
    weights: Sequence[onnx.TensorProto] = (),
) -> None:
    """A graph at `target`; `axes` is there as a weight, to unsqueeze by."""
    given = [helper.make_tensor_value_info(name, kind, shape) for name in inputs]
    made = [helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in outputs.items()]
    axes = helper.make_tensor("axes", INT64, [1], [-1])
    graph = helper.make_graph(list(nodes), "made", given, made, [axes, *weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    target.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, target)


def column(source: str, output: str = "last_hidden_state") -> list[onnx.NodeProto]:
    """The numbers of an input as token vectors of one dimension."""
    cast = helper.make_node("Cast", [source], [f"{output}_cast"], to=FLOAT)
    return [cast, helper.make_node("Unsqueeze", [f"{output}_cast", "axes"], [output])]


HIDDEN = {"last_hidden_state": ("batch", "sequence", 1)}


def around(folder: Path, model: Path, modules: bool = True, **config: Any) -> tuple[str, ...]:
    """The real tokenizer and configuration of `model` in `folder`, config.json changed; the paths that are there."""
    for path in files_of(model):
        if path != GRAPH and (modules or path != "modules.json"):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(model / path, folder / path)
    given = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(given | config))
    return files_of(folder)
