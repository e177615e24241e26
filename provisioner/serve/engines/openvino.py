"""OpenVINO, on CPU, from the same ONNX file."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np

from provisioner.errors import InvalidInput, MissingExtra
from provisioner.serve.engines.batch import Grain
from provisioner.serve.engines.graphs import Port
from provisioner.serve.engines.interface import Floats
from provisioner.serve.engines.tokens import Ids

_BF16 = {"avx512_bf16", "amx_bf16", "bf16"}  # the last on Arm
_GRAIN = Grain(step=16)  # it compiles kernels for each width, and keeps them: 100 MB more after a hundred widths


@dataclass(frozen=True, slots=True)
class OpenvinoGraph:
    """See Graph.

    Attributes:
        idle: requests that no thread uses; one is of one thread at a time, and has memory of its own.
        bf16: whether it computes in bf16.
    """

    compiled: Any
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    idle: SimpleQueue[Any]
    bf16: bool
    grain: Grain = _GRAIN

    def compute(self, feeds: dict[str, Ids], output: str) -> Floats:
        """See Graph."""
        try:
            request = self.idle.get_nowait()
        except Empty:
            request = self.compiled.create_infer_request()
        try:
            request.infer(feeds, share_inputs=True)
            answer: Floats = np.array(request.get_tensor(output).data, np.float32)
        finally:
            self.idle.put(request)
        return answer


def version() -> str:
    """The library and its version. Raises MissingExtra."""
    return f"openvino {_library().__version__.partition('-')[0]}"


def cpu_has_bf16() -> bool:
    """Whether this CPU says that it has bf16. To ask OpenVINO costs its import, 40 MB and most of a second."""
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            return not _BF16.isdisjoint(file.read(2**16).split())
    except OSError:
        return False


def has_bf16() -> bool:
    """Whether it would compute in bf16 on this CPU."""
    return "BF16" in _library().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def load(path: str, threads: int) -> OpenvinoGraph:
    """A graph, in bf16 where the CPU has it, else in f32. Raises InvalidInput when OpenVINO cannot load it."""
    library = _library()
    core, bf16 = library.Core(), has_bf16()
    options = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32",
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,  # graphs with int8 weights get other vectors by it
        "ENABLE_CPU_PINNING": False,  # another server may be pinned to the same cores
    }
    try:
        compiled = core.compile_model(core.read_model(path), "CPU", options)
    except RuntimeError as error:  # it raises nothing more exact
        raise InvalidInput(
            f"OpenVINO cannot load {os.path.basename(path)}: {str(error)[:300]}", hint="Set ENGINE=onnx."
        ) from error
    return OpenvinoGraph(compiled, _ports(compiled.inputs), _ports(compiled.outputs), SimpleQueue(), bf16)


def _library() -> Any:
    # Importing openvino would tell Google Analytics so; without this package it says nothing:
    # https://github.com/openvinotoolkit/telemetry
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # what an import looks for
    try:
        import openvino
    except ImportError as error:
        raise MissingExtra("The engine openvino", "openvino") from error
    return openvino


def _ports(found: list[Any]) -> tuple[Port, ...]:
    return tuple(Port(one.get_any_name(), _shape(one.get_partial_shape())) for one in found)


def _shape(shape: Any) -> tuple[int | None, ...] | None:
    if shape.rank.is_dynamic:
        return None
    return tuple(None if size.is_dynamic else int(size.get_length()) for size in shape)
