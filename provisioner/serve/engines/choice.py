"""Which of a model's ONNX files is its graph."""

from __future__ import annotations

import os
from collections.abc import Sequence

from provisioner.errors import InvalidInput

USUAL = ("onnx/model.onnx", "model.onnx", "model_optimized.onnx")


def graph_of(folder: str, files: Sequence[str], asked: str | None, task: str) -> str | None:
    """Its path in the folder; None where the model has none. Raises InvalidInput.

    `asked` is a path in the folder, or an absolute one below it, of a file that is locked.
    """
    variable = f"{'RERANKER' if task == 'rerank' else 'EMBEDDER'}_ONNX_PATH"
    graphs = sorted(path for path in files if path.endswith(".onnx"))
    listed = ", ".join(graphs) or "none"
    if asked is not None:
        relative = _relative(folder, asked)
        if relative not in graphs:
            hint = f"The model's graphs are: {listed}."
            raise InvalidInput(f"{variable} is {asked}, which is no locked graph of the model.", hint=hint)
        return relative
    usual = next((path for path in USUAL if path in graphs), None)
    if usual is None and len(graphs) > 1:
        raise InvalidInput(f"The model has {len(graphs)} graphs: {listed}.", hint=f"Name one in {variable}.")
    return usual or next(iter(graphs), None)


def _relative(folder: str, asked: str) -> str:
    if not os.path.isabs(asked):
        return os.path.normpath(asked)
    return os.path.relpath(os.path.realpath(asked), os.path.realpath(folder))
