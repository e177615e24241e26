"""From a model's files and the operator's wishes to an engine that is loaded."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from importlib.util import find_spec

import numpy as np

from provisioner.errors import InvalidInput
from provisioner.serve.engines.choice import graph_of
from provisioner.serve.engines.graphs import Graph, GraphEngine, check_inputs, dimensions_of, output_of
from provisioner.serve.engines.interface import About, Engine, Input
from provisioner.serve.engines.precision import precision
from provisioner.serve.engines.tokens import tokens
from provisioner.serve.recipe import Recipe, read
from provisioner.serve.recipe.modules import NAME as MODULES
from provisioner.serve.settings import EngineName, ModelSettings

_ENOUGH = 0.9999  # cosine with ONNX Runtime's vectors
_SCORES = 0.01  # of a logit, relative to its size
# Batches: each takes memory, and threads beyond so many compute one together. A model of long texts computes one: its
# attention takes memory with the square of the length.
_AT_ONCE, _SHORT = 4, 1024
_PROBES = (
    "A query.",
    "Every byte of this model matched the lock before it was loaded.",
    "Das Modell liegt auf einem Band, das niemand beschreibt; wer es liest, findet dieselben Zahlen wie gestern. " * 3,
    "release " * 120,
)


def load(
    folder: str | os.PathLike[str],
    files: Sequence[str],
    task: str,
    settings: ModelSettings,
    engine: EngineName,
    threads: int,
    *,
    bulk: bool = False,
) -> Engine:
    """The engine for a model: `folder` and its locked `files`, for the task `embed` or `rerank`.

    With `bulk` it is made for many batches at once, where that computes more of them, and for one of them otherwise.

    Raises InvalidInput for a model or a choice that cannot be, InvalidDocument for files that are not what they should
    be, MissingExtra for a library that is not installed. Nothing is written, and no network is asked.
    """
    wanted = _Wanted(os.fspath(folder), tuple(map(str, files)), task, settings, threads, bulk)
    if engine is EngineName.FASTEMBED or (task == "embed" and MODULES not in wanted.files):
        return _fastembed(wanted, engine)
    recipe = read(wanted.folder, wanted.files, task, settings.max_length)
    if engine is EngineName.TORCH:
        return _torch(wanted, recipe)
    path = graph_of(wanted.folder, wanted.files, settings.graph, task)
    if engine is EngineName.CUDA:
        return _cuda(wanted, recipe, path)
    if recipe.only_torch or path is None:
        return _torch_instead(wanted, recipe, engine)
    if engine is EngineName.OPENVINO:
        return _openvino(wanted, recipe, path)
    if engine is EngineName.ONNX:
        return _onnx(wanted, recipe, path)
    return _auto(wanted, recipe, path)


@dataclasses.dataclass(frozen=True, slots=True)
class _Wanted:
    folder: str
    files: tuple[str, ...]
    task: str
    settings: ModelSettings
    threads: int
    bulk: bool


def _auto(wanted: _Wanted, recipe: Recipe, path: str) -> Engine:
    """The fastest that is there and gives the right vectors."""
    from provisioner.serve.engines import onnx

    note = ""
    if onnx.has_cuda():
        try:
            return _onnx(wanted, recipe, path, cuda=True)
        except InvalidInput as error:
            note = str(error)
    plain = _onnx(wanted, recipe, path)
    if not note and find_spec("openvino") is not None:
        from provisioner.serve.engines import openvino

        if openvino.cpu_has_bf16() and openvino.has_bf16():
            return _faster(wanted, recipe, path, plain)
    return dataclasses.replace(plain, about=dataclasses.replace(plain.about, note=note))


def _faster(wanted: _Wanted, recipe: Recipe, path: str, plain: GraphEngine) -> GraphEngine:
    """OpenVINO in bf16, if its numbers are those of ONNX Runtime."""
    try:
        other = _openvino(wanted, recipe, path)
        note = "" if agree(plain, other) else "OpenVINO in bf16 gives other vectors for this model."
    except InvalidInput as error:
        note = str(error)
    if not note:
        return other
    return dataclasses.replace(plain, about=dataclasses.replace(plain.about, note=note))


def agree(one: Engine, other: Engine) -> bool:
    """Whether two engines give the same vectors, or scores, for a few texts of different length, alone and together."""
    inputs: list[Input] = list(_PROBES)
    if not one.about.dimensions:
        inputs = [(_PROBES[0], text) for text in _PROBES]
    for batch in (inputs, inputs[:1]):
        first, second = (engine.run(engine.tokenize(batch)) for engine in (one, other))
        if first.ndim == 1:
            if not np.allclose(first, second, rtol=_SCORES, atol=_SCORES):
                return False
            continue
        lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
        if not (np.einsum("ij,ij->i", first, second) >= _ENOUGH * lengths).all():
            return False
    return True


def _onnx(wanted: _Wanted, recipe: Recipe, path: str, *, cuda: bool = False) -> GraphEngine:
    from provisioner.serve.engines import onnx

    place = os.path.join(wanted.folder, path)
    several = wanted.bulk and not cuda and recipe.lengths.limit <= _SHORT
    batches = min(wanted.threads, _AT_ONCE) if several else 1
    graph = onnx.load(place, wanted.threads, batches, cuda=cuda)
    made = _engine(wanted, recipe, graph, onnx.version(), precision(place), cuda=cuda)
    return dataclasses.replace(made, about=dataclasses.replace(made.about, batches=batches))


def _openvino(wanted: _Wanted, recipe: Recipe, path: str) -> GraphEngine:
    from provisioner.serve.engines import openvino

    place = os.path.join(wanted.folder, path)
    graph = openvino.load(place, wanted.threads)
    return _engine(wanted, recipe, graph, openvino.version(), "bf16" if graph.bf16 else precision(place))


def _engine(
    wanted: _Wanted, recipe: Recipe, graph: Graph, name: str, precise: str, *, cuda: bool = False
) -> GraphEngine:
    check_inputs(graph)
    about = About(
        name,
        "cuda" if cuda else "cpu",
        precise,
        wanted.threads,
        0,
        recipe.lengths.default,
        recipe.lengths.limit,
        recipe.normalize and recipe.dimensions is None,
        recipe.prompts,
        recipe.default_prompt,
    )
    made = GraphEngine(about, graph, tokens(wanted.folder, wanted.files, recipe), recipe, output_of(graph, wanted.task))
    return dataclasses.replace(made, about=dataclasses.replace(about, dimensions=dimensions_of(made)))


def _cuda(wanted: _Wanted, recipe: Recipe, path: str | None) -> Engine:
    """ONNX Runtime on a GPU, else torch on one; never a CPU."""
    from provisioner.serve.engines import onnx

    if path is not None and not recipe.only_torch and onnx.has_cuda():
        return _onnx(wanted, recipe, path, cuda=True)
    if find_spec("sentence_transformers") is not None and find_spec("torch") is not None:
        from provisioner.serve.engines import torch

        if torch.has_cuda():
            return torch.load(wanted.folder, wanted.files, recipe, wanted.threads)
    raise InvalidInput(
        "ENGINE is cuda, and neither ONNX Runtime nor torch has a GPU here.",
        hint="Install onnxruntime-gpu or torch with CUDA and give the pod a GPU, or set ENGINE=auto.",
    )


def _torch(wanted: _Wanted, recipe: Recipe) -> Engine:
    from provisioner.serve.engines import torch

    return torch.load(wanted.folder, wanted.files, recipe, wanted.threads)


def _torch_instead(wanted: _Wanted, recipe: Recipe, engine: EngineName) -> Engine:
    """What only torch can do, where the operator leaves the choice to us and it is installed."""
    if engine is EngineName.AUTO and find_spec("sentence_transformers") is not None:
        return _torch(wanted, recipe)
    if recipe.only_torch:
        what = f"The model has {' and '.join(recipe.only_torch)}, which only the engine torch computes."
    else:
        what = "The model has no ONNX graph, and without one only the engine torch computes."
    raise InvalidInput(what, hint="Set ENGINE=torch, with the extra sentence-transformers installed.")


def _fastembed(wanted: _Wanted, engine: EngineName) -> Engine:
    """Models that only fastembed knows how to pool, or whatever it can load where it is asked for."""
    installed = find_spec("fastembed") is not None
    if engine is not EngineName.FASTEMBED and not (installed and engine in (EngineName.AUTO, EngineName.ONNX)):
        read(wanted.folder, wanted.files, wanted.task)  # raises: it says what is missing
    from provisioner.serve.engines import with_fastembed

    return with_fastembed.load(wanted.folder, wanted.files, wanted.task, wanted.settings, wanted.threads)
