"""What a repository's small JSON documents say."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from provisioner.model import RelPath

MAX_DOCUMENT = 16 * 2**20  # bytes; the index of a 1,000-shard model has about 4 MB
_DOCUMENT = re.compile(r"(?:.*/)?(?:[^/]*config\.json|modules\.json|[^/]*\.index(?:\.\w+)?\.json)")
_ASKS = re.compile(r"(?:.*/)?(?:[^/]*config\.json|modules\.json)")
_LOCAL_MODULE = re.compile(r"\w+\.\w+")


@dataclass(frozen=True, slots=True)
class Code:
    """Python that a model asks to be run.

    Attributes:
        modules: files of the repository itself, `modeling.py`.
        repos: other repositories, as the document names them.
    """

    modules: tuple[str, ...] = ()
    repos: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self.modules or self.repos)


NO_CODE = Code()


def is_document(path: str, size: int) -> bool:
    """Whether the rules want to read a file: configurations, module lists and shard indexes."""
    return size <= MAX_DOCUMENT and _DOCUMENT.fullmatch(path) is not None


def is_unseen(path: str, size: int) -> bool:
    """Whether a file may ask for code to be run and is too large to be read."""
    return size > MAX_DOCUMENT and _ASKS.fullmatch(path) is not None


def load(data: bytes) -> Any:
    """JSON. Raises ValueError."""
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def parsed(documents: Mapping[RelPath, bytes]) -> dict[RelPath, Any]:
    """The documents that are JSON."""
    found = {}
    for path, data in documents.items():
        try:
            found[path] = load(data)
        except ValueError:
            continue
    return found


def code_of(documents: Mapping[RelPath, bytes], own: str) -> Code:
    """The Python that `auto_map`, custom pipelines and sentence-transformers modules refer to.

    `own` is the repository's name: `own--modeling.Class` means its own files.
    """
    references = sorted({ref for path, data in parsed(documents).items() for ref in _references(path, data)})
    split = [ref.rpartition("--") for ref in references]
    return Code(
        tuple(dict.fromkeys(_file(name) for repo, _, name in split if repo in ("", own))),
        tuple(dict.fromkeys(repo for repo, _, _ in split if repo not in ("", own))),
    )


def _file(reference: str) -> str:
    return reference.partition(".")[0] + ".py"


def _references(path: RelPath, data: Any) -> Iterator[str]:
    if path.name == "modules.json":
        yield from filter(_is_custom, _module_types(data))
    elif isinstance(data, dict):
        for key in ("auto_map", "custom_pipelines"):
            yield from _strings(data.get(key))


def _strings(value: Any) -> Iterator[str]:
    """`{"AutoModel": "x.Y", "AutoTokenizer": ["x.Slow", null]}`, and the older forms, as `x.Y`, `x.Slow`."""
    if isinstance(value, str):
        if "." in value:
            yield value
    elif isinstance(value, dict):
        children = [value["impl"]] if "impl" in value else list(value.values())
        for child in children:
            yield from _strings(child)
    elif isinstance(value, list):
        for child in value:
            yield from _strings(child)


def _module_types(data: Any) -> Iterator[str]:
    for module in data if isinstance(data, list) else ():
        if isinstance(module, dict) and isinstance(kind := module.get("type"), str):
            yield kind


def _is_custom(kind: str) -> bool:
    """`custom_st.Transformer` is a file of the repository, `pylate.models.Dense.Dense` a package."""
    return "--" in kind or _LOCAL_MODULE.fullmatch(kind) is not None
