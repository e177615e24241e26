"""Weight formats, told by file names."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from enum import StrEnum

from provisioner.model import RelPath


class Format(StrEnum):
    """A format of weights, in the order of preference."""

    SAFETENSORS = "safetensors"
    TORCH = "PyTorch"
    ONNX = "ONNX"
    GGUF = "GGUF"
    OPENVINO = "OpenVINO"
    OTHER = "TensorFlow, Flax, Core ML or TFLite"


_SAFETENSORS = re.compile(r".*\.safetensors(?:\.index(?:\.\w+)?\.json)?")
_TORCH = re.compile(r".*\.(?:bin|pt|pth|ckpt)(?:\.index(?:\.\w+)?\.json)?")
_ONNX = re.compile(r".*\.onnx")
_ONNX_DATA = re.compile(r".*\.onnx[._]data(?:[._-]?\d+)?")
_OTHER = re.compile(
    r".*\.(?:h5|keras|msgpack|ot|tflite|mlmodel)(?:\.index\.json)?"
    r"|(?:.*/)?(?:coreml|saved_model)/.*|(?:.*/)?[^/]*\.mlpackage/.*|(?:.*/)?saved_model\.pb"
)
_PATTERNS = ((_SAFETENSORS, Format.SAFETENSORS), (_OTHER, Format.OTHER), (_TORCH, Format.TORCH))
_SHARD = re.compile(r"(?P<name>.*)-(?P<index>\d{2,6})-of-(?P<total>\d{2,6})(?P<ending>\.[^/]*)")


def format_of(path: str, paths: Collection[str]) -> Format | None:
    """The format a file belongs to, indexes and external data included; None for anything else."""
    lower = path.lower()
    if _is_openvino(path, paths):
        return Format.OPENVINO
    if lower.endswith(".gguf"):
        return Format.GGUF
    if _ONNX.fullmatch(lower) or _ONNX_DATA.fullmatch(lower):
        return Format.ONNX
    return next((found for pattern, found in _PATTERNS if pattern.fullmatch(lower)), None)


def is_weights(path: str, paths: Collection[str]) -> bool:
    """Whether a file holds weights itself (an index does not)."""
    return format_of(path, paths) is not None and not path.lower().endswith((".json", ".xml"))


def _is_openvino(path: str, paths: Collection[str]) -> bool:
    """OpenVINO keeps the graph in `openvino_X.xml` and the weights in `openvino_X.bin`, which is no pickle.

    Only under that name, which optimum-intel gives: no library unpickles it, as they do a `pytorch_model.bin` that
    somebody puts an .xml beside.
    """
    stem, dot, ending = path.rpartition(".")
    other = {"bin": "xml", "xml": "bin"}.get(ending)
    named = stem.rpartition("/")[2].startswith("openvino_")
    return bool(dot) and named and other is not None and f"{stem}.{other}" in paths


def is_onnx(path: str) -> bool:
    """Whether a file is an ONNX graph."""
    return _ONNX.fullmatch(path.lower()) is not None


def external_data(graph: str, paths: Iterable[str]) -> tuple[str, ...]:
    """The files beside an ONNX graph that hold its weights: `model.onnx_data`, `model.onnx.data`, `..._1`."""
    own = re.compile(re.escape(graph) + r"[._]data(?:[._-]?\d+)?")
    return tuple(path for path in paths if own.fullmatch(path))


def graph_of(data: str) -> str | None:
    """The graph that a file of external data belongs to; None for any other file."""
    if not _ONNX_DATA.fullmatch(data.lower()):
        return None
    return data[: data.lower().rindex(".onnx") + len(".onnx")]


def shard_of(path: str) -> tuple[str, str, int, int] | None:
    """`("model", ".safetensors", 2, 5)` for `model-00002-of-00005.safetensors`; None for any other name."""
    match = _SHARD.fullmatch(path)
    if not match:
        return None
    return match["name"], match["ending"], int(match["index"]), int(match["total"])


def folder(path: str) -> str:
    """Everything before the last component, or ""."""
    return path.rpartition("/")[0]


def beside(path: str, name: str) -> RelPath:
    """A path relative to the folder of another. Raises ValueError when it leaves the repository."""
    return RelPath(f"{folder(path)}/{name}".lstrip("/"))
