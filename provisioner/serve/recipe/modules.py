"""modules.json of sentence-transformers: which of its modules are ours to compute, and which are not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from provisioner.errors import InvalidInput
from provisioner.model import RelPath
from provisioner.serve.recipe.documents import Documents, Section
from provisioner.serve.recipe.values import Mode

NAME = "modules.json"
_OURS = "sentence_transformers."
_MODES = {  # key -> mode, in the order in which sentence-transformers puts their vectors one after the other
    "pooling_mode_cls_token": Mode.CLS,
    "pooling_mode_max_tokens": Mode.MAX,
    "pooling_mode_mean_tokens": Mode.MEAN,
    "pooling_mode_mean_sqrt_len_tokens": Mode.MEAN_SQRT,
    "pooling_mode_weightedmean_tokens": Mode.WEIGHTED,
    "pooling_mode_lasttoken": Mode.LAST,
}


@dataclass(frozen=True, slots=True)
class Module:
    """One step: the class of it, `Pooling`, and its folder, "" for the root."""

    kind: str
    path: str

    @property
    def config(self) -> str:
        """Where its configuration is."""
        return f"{self.path}/config.json" if self.path else "config.json"


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The steps after the transformer, as far as numpy computes them.

    Attributes:
        only_torch: the others, in words.
    """

    pooling: tuple[Mode, ...] = ()
    normalize: bool = False
    only_torch: tuple[str, ...] = ()


def modules(documents: Documents) -> tuple[Module, ...]:
    """The steps, in their order; () without modules.json. Raises InvalidDocument."""
    value = documents.value(NAME)
    if value is None:
        return ()
    if not isinstance(value, list) or not value:
        Section(NAME).wrong("", "is not a list of modules")
    return tuple(_module(index, one) for index, one in enumerate(value))


def _module(index: int, value: Any) -> Module:
    section = Section(NAME, value if isinstance(value, dict) else {}, f"[{index}]")
    kind, path = section.text("type"), section.text("path")
    if kind is None or path is None:
        section.wrong("", "is not a module with a path and a type")
    if path not in ("", "."):
        try:
            path = RelPath(path)
        except ValueError as error:
            section.wrong("path", str(error))
    # A class of somebody else may have the name of one of theirs.
    return Module(kind.rpartition(".")[2] if kind.startswith(_OURS) else kind, path if path != "." else "")


def pipeline(documents: Documents, steps: tuple[Module, ...]) -> Pipeline:
    """What follows the transformer, which comes first."""
    first, *rest = steps
    pooling: tuple[Mode, ...] = ()
    normalize, other = False, []
    if first.kind != "Transformer":
        other.append(f"the module {first.kind}")
    elif first.path:
        other.append("a transformer in a folder of its own")
    for step in rest:
        if step.kind == "Pooling" and not pooling and not normalize:
            pooling = modes(_pooling(documents, step))
        elif step.kind == "Normalize" and pooling and not _odd_normalize(documents, step):
            normalize = True
        elif step.kind != "Dropout":  # of training only
            other.append(f"the module {step.kind}")
    if not pooling and not other:
        other.append("no module Pooling")
    return Pipeline(pooling, normalize, tuple(other))


def _pooling(documents: Documents, step: Module) -> Section:
    """What the module says. Without a word of it any mode would be a guess. Raises InvalidInput."""
    if step.config not in documents:
        raise InvalidInput(
            f"modules.json names a module Pooling, and its {step.config} is not locked.",
            hint="Lock the model again with that file: provision lock update, or a wider --include.",
        )
    return documents.section(step.config)


def modes(config: Section) -> tuple[Mode, ...]:
    """The modes of a pooling module, in the form of today or with one key for each mode. Raises InvalidInput."""
    if not config.yes("include_prompt", default=True):
        raise InvalidInput(
            "The model leaves the prompt out of its pooling, which no engine here does.",
            hint="Serve another model, or embed with sentence-transformers itself.",
        )
    if "pooling_mode" in config:
        value = config.data["pooling_mode"]
        names = config.texts("pooling_mode") if isinstance(value, list) else (config.text("pooling_mode") or "",)
        return tuple(_named(config, names))
    found = tuple(mode for key, mode in _MODES.items() if config.yes(key))
    return found or (Mode.MEAN,)  # as sentence-transformers does where no key is true


def _named(config: Section, names: tuple[str, ...]) -> Iterator[Mode]:
    known = {mode.value for mode in Mode}
    if not names:
        config.wrong("pooling_mode", "names no mode")
    for name in names:
        if name not in known:
            config.wrong("pooling_mode", f"{name[:40]!r} is none of {', '.join(sorted(known))}")
        yield Mode(name)


def _odd_normalize(documents: Documents, step: Module) -> bool:
    """Whether it is told to work on something else than the vectors of whole texts."""
    config = documents.section(step.config) if step.path else Section(step.config)
    keys = ("module_input_name", "module_output_name")
    return any(config.text(key) not in (None, "sentence_embedding") for key in keys)
