"""fastembed: its own models by its own name for them, any other ONNX model as a custom one."""

from __future__ import annotations

import json
import os
from typing import Any

from provisioner.loading.vectors import SENTENCE, described


def load(task: dict[str, Any]) -> str:
    """Embed one sentence, or rerank one pair. Raises whatever fastembed raises."""
    graph = next((file for file in task["files"] if file.endswith(".onnx")), None)
    if graph is None:
        raise ValueError("no .onnx file is locked, and fastembed loads nothing else")
    if _config(task).get("architectures", [""])[0].endswith("ForSequenceClassification"):
        return _rerank(task, graph)
    return _embed(task, graph)


def _config(task: dict[str, Any]) -> dict[str, Any]:
    return _document(task, "config.json")


def _document(task: dict[str, Any], name: str) -> dict[str, Any]:
    path = os.path.join(task["folder"], name)
    if not os.path.exists(path):
        return {}
    with open(path, "rb") as file:
        document: dict[str, Any] = json.load(file)
    return document


def _known(kind: Any, task: dict[str, Any], graph: str) -> str | None:
    for model in kind.list_supported_models():
        if (model["sources"].get("hf") or "").lower() == task["repo"].lower() and model["model_file"] == graph:
            name: str = model["model"]
            return name
    return None


def _embed(task: dict[str, Any], graph: str) -> str:
    from fastembed import SparseTextEmbedding, TextEmbedding
    from fastembed.common.model_description import ModelSource, PoolingType

    if sparse := _known(SparseTextEmbedding, task, graph):
        return f"{sparse}: {described(next(iter(SparseTextEmbedding(sparse).embed([SENTENCE]))).values)}"
    name = _known(TextEmbedding, task, graph)
    if name is None:
        name = task["repo"]
        pooling = _document(task, "1_Pooling/config.json")
        TextEmbedding.add_custom_model(
            model=name,
            pooling=PoolingType.CLS if pooling.get("pooling_mode_cls_token") else PoolingType.MEAN,
            normalization=True,
            sources=ModelSource(hf=name),
            dim=int(_config(task)["hidden_size"]),
            model_file=graph,
        )
    model = TextEmbedding(name)
    return f"{name}: {described(next(iter(model.embed([SENTENCE]))))}"


def _rerank(task: dict[str, Any], graph: str) -> str:
    from fastembed.common.model_description import ModelSource
    from fastembed.rerank.cross_encoder import TextCrossEncoder

    name = _known(TextCrossEncoder, task, graph)
    if name is None:
        name = task["repo"]
        TextCrossEncoder.add_custom_model(model=name, sources=ModelSource(hf=name), model_file=graph)
    described(TextCrossEncoder(name).rerank(SENTENCE, [SENTENCE, "Something else."]))
    return f"{name}: scores 2 documents"
