"""Variables that were meant as settings of the server and are none."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

# Variables that begin so are rarely another program's. The last are options of the command, which click reads.
_PREFIXES = ("EMBEDDER_", "RERANKER_", "MODEL_EMBEDDER_", "MODEL_RERANKER_", "PROVISION_SERVE_")
_OPTIONS = _PREFIXES[-1]
_MODELS = ("MODEL_EMBEDDER_", "MODEL_RERANKER_")
# How like a setting a name must be. With one of the prefixes what follows it; else all of it: a RERANKER_URL is an
# application's, and MODEL_SERVER_HOST an Onyx API server's.
_LIKE_OPTIONS, _LIKE_OURS, _LIKE_ANY = 0.6, 0.52, 0.9
_OTHERS = "API_KEY"  # RERANKER_API_KEY is what an application sends to somebody's reranker


def misspelt(variables: Iterable[str], known: Iterable[str]) -> dict[str, str]:
    """Names among the variables that were probably meant as one of the known, and which."""
    given, names = set(variables), sorted(set(known))
    links = tuple(name.removesuffix("SERVICE_HOST") for name in given if name.endswith("_SERVICE_HOST"))
    found = {}
    for name in sorted(given.difference(names)):
        # Kubernetes tells every pod of every Service, of one that is called `embedder` too.
        link = name.startswith(tuple(stem + word for stem in links for word in ("SERVICE_", "PORT")))
        if not link and (meant := _meant(name, names)):
            found[name] = meant
    return found


def _meant(name: str, names: Sequence[str]) -> str:
    if name in names:
        return name
    if f"MODEL_{name}" in names and name.startswith(_PREFIXES):
        return f"MODEL_{name}"
    found = _among_alike(name, names)
    return _meant(name.removeprefix("MODEL_"), names) if not found and name.startswith(_MODELS) else found


def _among_alike(name: str, names: Sequence[str]) -> str:
    prefix = next((one for one in _PREFIXES if name.startswith(one)), "")
    if not prefix:
        return _closest(name, names, _LIKE_ANY)
    short = name.removeprefix(prefix)
    if short in names and (prefix == _OPTIONS or short != _OTHERS):  # which has no prefix
        return short
    alike = [one.removeprefix(prefix) for one in names if one.startswith(prefix)]
    found = _closest(short, alike, _LIKE_OPTIONS if prefix == _OPTIONS else _LIKE_OURS)
    return prefix + found if found else ""


def _closest(name: str, among: Sequence[str], least: float) -> str:
    found = get_close_matches(name, among, 1, least)
    return found[0] if found else ""
