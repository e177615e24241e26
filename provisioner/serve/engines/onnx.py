"""ONNX Runtime, on CPU or CUDA."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from provisioner.errors import InvalidInput, MissingExtra
from provisioner.serve.engines.batch import Grain
from provisioner.serve.engines.graphs import Port
from provisioner.serve.engines.interface import Floats
from provisioner.serve.engines.tokens import Ids

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
_ERRORS_ONLY = 3
_GPU = Grain(area=2**26)
_CPU = Grain(area=2**16)  # one text of 256 tokens: two at once are no quicker, and take twice the memory
_TYPES = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}


@dataclass(frozen=True, slots=True)
class OnnxGraph:
    """See Graph."""

    session: InferenceSession
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    types: dict[str, Any]
    grain: Grain

    def compute(self, feeds: dict[str, Ids], output: str) -> Floats:
        """See Graph."""
        given = {name: array.astype(self.types[name], copy=False) for name, array in feeds.items()}
        (found,) = self.session.run([output], given)
        answer: Floats = np.asarray(found, np.float32)
        return answer


def version() -> str:
    """The library and its version. Raises MissingExtra."""
    return f"onnxruntime {_library().__version__}"


def has_cuda() -> bool:
    """Whether this build can use a GPU at all; whether it reaches one, only a session says."""
    return CUDA in _library().get_available_providers()


def load(path: str, threads: int, batches: int = 1, *, cuda: bool = False) -> OnnxGraph:
    """A graph, its external data beside it.

    Args:
        threads: that compute, the callers' own among them.
        batches: that are computed at once.

    Raises InvalidInput when ONNX Runtime cannot load it, or `cuda` is wanted and no GPU answers: ONNX Runtime would
    go on with the CPU.
    """
    library = _library()
    from onnxruntime.capi import onnxruntime_pybind11_state as states

    failures = (states.Fail, states.InvalidGraph, states.InvalidProtobuf, states.NotImplemented)
    more = (states.InvalidArgument, states.RuntimeException, states.NoSuchFile, states.EPFail)
    providers = [CUDA, CPU] if cuda else [CPU]
    try:
        session = library.InferenceSession(path, _options(library, threads, batches), providers=providers)
    except (*failures, *more) as error:
        raise InvalidInput(
            f"ONNX Runtime {library.__version__} cannot load {os.path.basename(path)}: {str(error)[:300]}",
            hint="Choose another graph of the model, or another ENGINE.",
        ) from error
    if cuda and session.get_providers()[0] != CUDA:
        raise InvalidInput("ONNX Runtime has its CUDA provider, but no GPU answers.", hint="Set ENGINE=onnx for CPU.")
    types = {one.name: _TYPES.get(one.type, np.int64) for one in session.get_inputs()}
    return OnnxGraph(
        session, _ports(session.get_inputs()), _ports(session.get_outputs()), types, _GPU if cuda else _CPU
    )


def _library() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtra("The engine onnx", "serve") from error
    onnxruntime.set_default_logger_severity(_ERRORS_ONLY)
    onnxruntime.disable_telemetry_events()
    return onnxruntime


def _options(library: Any, threads: int, batches: int) -> Any:
    options = library.SessionOptions()
    options.intra_op_num_threads = threads - batches + 1  # each caller's thread computes too
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    options.graph_optimization_level = library.GraphOptimizationLevel.ORT_ENABLE_ALL
    # Between the operations of one batch threads wait for each other in a loop: to be woken each time takes a tenth
    # longer, and up to two thirds after a pause. After it they sleep: their loop would take the CPU from others.
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if batches == 1 else "0")
    options.add_session_config_entry("session.force_spinning_stop", "1")
    # Lengths differ from batch to batch: plans of memory by shape would be made anew each time, and kept. The arena
    # keeps what the largest pieces took (`_CPU`) and saves a quarter of the CPU time.
    options.enable_mem_pattern = False
    return options


def _ports(found: list[Any]) -> tuple[Port, ...]:
    return tuple(Port(one.name, tuple(n if isinstance(n, int) else None for n in one.shape)) for one in found)
