"""Which models of a lock RAG8s takes for its embedder and its reranker, and where they are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from provisioner.emit.kubernetes.facts import Facts
from provisioner.emit.kubernetes.mount import Mount
from provisioner.emit.kubernetes.settings import Settings
from provisioner.errors import UsageError
from provisioner.layout import ROOTS
from provisioner.model import Layout, Model

_CACHES = (Layout.HUB, Layout.HUGGINGFACE)
_MARK = "rerank"  # how rerankers are called on the Hub


def models(settings: Settings, facts: Facts, seen: Mount) -> dict[str, str]:
    """MODEL_EMBEDDER_NAME and MODEL_RERANKER_NAME, and the path of each ONNX file.

    Raises NotFound and UsageError when the lock does not say which they are.
    """
    ray = settings.ray
    root = str(seen.mounts[0]["mountPath"])
    there = [model for model in facts.lock.models if any(layout in model.layouts for layout in _CACHES)]
    result: dict[str, str] = {}
    for role, wanted in (("EMBEDDER", ray.embedder), ("RERANKER", ray.reranker)):
        model = facts.model(wanted) if wanted else only(role, there)
        result[f"MODEL_{role}_NAME"] = str(model.repo)
        if path := _onnx_path(model, root):
            result[f"{role}_ONNX_PATH"] = path
    return result


def fitting(role: str, models: Iterable[Model]) -> list[Model]:
    """Those whose names say that they are of this role."""
    return [model for model in models if (_MARK in model.repo.lower()) == (role == "RERANKER")]


def only(role: str, models: Sequence[Model]) -> Model:
    """The one of these that fits a role. Raises UsageError."""
    found = fitting(role, models)
    if len(found) == 1:
        return found[0]
    choices = " | ".join(model.repo for model in found or models)
    raise UsageError(
        f"The lock has {len(found) or 'no'} models that could be the {role.lower()}.",
        hint=f"Choose: --{role.lower()} {choices}",
    )


def _onnx_path(model: Model, root: str) -> str:
    """Where its one ONNX file is; "" when it has several or none."""
    files = [file.path for file in model.files if file.path.endswith(".onnx")]
    layouts = [layout for layout in _CACHES if layout in model.layouts]
    if len(files) != 1 or not layouts:
        return ""
    return f"{root}/{ROOTS[layouts[0]]}/{model.repo.cache_folder}/snapshots/{model.commit}/{files[0]}"
