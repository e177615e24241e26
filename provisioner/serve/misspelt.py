"""Variables that were meant as settings of the server and are none."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

# Variables that begin so are rarely another program's.
_OURS = ("EMBEDDER_", "RERANKER_", "MODEL_EMBEDDER_", "MODEL_RERANKER_")
# Options of the command may be given as variables too, which click reads: those are known where there is a command.
_OPTIONS = "PROVISION_SERVE_"
# But Kubernetes tells every pod of a Service that is called `embedder`, or `provision-serve`.
_LINK = re.compile(r"_(SERVICE_HOST|SERVICE_PORT\w*|PORT|PORT_\d+_\w+)$")
_OPTIONS_LINK = re.compile(rf"{_OPTIONS}(SERVICE_HOST|SERVICE_PORT\w*|PORT_\d+_\w+)$")
# How like a setting a name must be: a RERANKER_URL is an application's, and MODEL_SERVER_HOST an Onyx API server's.
_LIKE_OURS, _LIKE_ANY = 0.75, 0.9


def misspelt(variables: Iterable[str], known: Iterable[str]) -> dict[str, str]:
    """Names among the variables that were probably meant as one of the known, and which."""
    names = sorted(set(known))
    found = {}
    for name in sorted(set(variables).difference(names)):
        if meant := _option(name, names) if name.startswith(_OPTIONS) else _setting(name, names):
            found[name] = meant
    return found


def _setting(name: str, names: Sequence[str]) -> str:
    ours = name.startswith(_OURS)
    if ours and _LINK.search(name):
        return ""
    return _closest(name, names, _LIKE_OURS if ours else _LIKE_ANY)


def _option(name: str, names: Sequence[str]) -> str:
    """Of those with the prefix by what follows it, which is all that tells them apart; or a setting, which has none."""
    short = name.removeprefix(_OPTIONS)
    if _OPTIONS_LINK.match(name):
        return ""
    if short in names:
        return short
    options = [one.removeprefix(_OPTIONS) for one in names if one.startswith(_OPTIONS)]
    found = _closest(short, options, _LIKE_OURS)
    return _OPTIONS + found if found else ""


def _closest(name: str, among: Sequence[str], least: float) -> str:
    found = get_close_matches(name, among, 1, least)
    return found[0] if found else ""
