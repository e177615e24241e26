"""Which models of a release the server takes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from provisioner.errors import InvalidInput, ProvisionError, VerificationFailed
from provisioner.layout import ROOTS
from provisioner.model import Layout, Lock, Model
from provisioner.serve.recipe import task as task_of
from provisioner.serve.settings import EMBED

_CACHES = (Layout.HUB, Layout.HUGGINGFACE, Layout.SENTENCE_TRANSFORMERS, Layout.FASTEMBED)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model that can be loaded.

    Attributes:
        folder: where its files are.
        files: their paths in it, as they are locked.
        task: `embed` or `rerank`; "" where its own files do not say, and `wrong` is why.
    """

    model: Model
    folder: str
    files: tuple[str, ...]
    task: str
    wrong: ProvisionError | None = None


def candidates(lock: Lock, folder: str) -> tuple[Candidate, ...]:
    """Every model of a release that embeds or reranks, in the order of the lock."""
    return tuple(_candidates(lock, folder))


def _candidates(lock: Lock, folder: str) -> Iterator[Candidate]:
    for model in lock.models:
        place = os.path.join(folder, _place(model))
        files = tuple(str(file.path) for file in model.files)
        try:
            task = task_of(place, files)
        except ProvisionError as error:  # matters only if this is the model that is meant
            yield Candidate(model, place, files, "", error)
        else:
            if task is not None:
                yield Candidate(model, place, files, task)


def _place(model: Model) -> str:
    """The folder of a model below its release."""
    for layout in _CACHES:
        if layout in model.layouts:
            return f"{ROOTS[layout]}/{model.repo.cache_folder}/snapshots/{model.commit}"
    return f"{ROOTS[Layout.FLAT]}/{model.repo.name}"


def choose(found: tuple[Candidate, ...], task: str, name: str | None, variable: str) -> Candidate | None:
    """The model for a task: the one of that name, else the only one, or the only one with an ONNX graph; None where the
    release has none and none is named.

    Raises VerificationFailed when the named one is not there, InvalidInput when there are several and none is named,
    and what is wrong with a model that may be meant.
    """
    for one in found:
        if one.wrong is not None and (name is None or name.lower() in names(one.model)):
            raise one.wrong
    fitting = [one for one in found if one.task == task]
    listed = ", ".join(one.model.repo for one in fitting) or "none"
    if name is None:
        with_graph = [one for one in fitting if any(path.endswith(".onnx") for path in one.files)]
        if len(fitting) > 1 and len(with_graph) != 1:
            option = "--embedder" if task == EMBED else "--reranker"
            raise InvalidInput(
                f"The release has {len(fitting)} models to {task}: {listed}.", hint=f"Set {variable}, or give {option}."
            )
        return next(iter(with_graph or fitting), None)
    meant = [one for one in fitting if name.lower() in names(one.model)] or [
        one for one in fitting if name.lower() in _by_fastembed(one.model)
    ]
    if len(meant) == 1:
        return meant[0]
    raise VerificationFailed(
        f"{variable} is {name}, and the models to {task} in this release are: {listed}.",
        hint=f"Mount a release that has it, or set {variable} to one of them.",
    )


def names(model: Model) -> tuple[str, ...]:
    """What requests and settings may call a model, in lower case: ORG/NAME and NAME."""
    return tuple(dict.fromkeys((model.repo.lower(), model.repo.name.lower())))


def _by_fastembed(model: Model) -> set[str]:
    """fastembed's names of a repository; it serves `BAAI/bge-large-en-v1.5` from another one."""
    try:
        from fastembed import TextEmbedding
        from fastembed.rerank.cross_encoder import TextCrossEncoder
    except ImportError:
        return set()
    every = [*TextEmbedding.list_supported_models(), *TextCrossEncoder.list_supported_models()]
    return {one["model"].lower() for one in every if (one["sources"].get("hf") or "").lower() == model.repo.lower()}
