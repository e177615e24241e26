"""Variables that were meant as settings of the server and are none."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches

# Variables that begin so are rarely another program's.
_OURS = ("EMBEDDER_", "RERANKER_", "MODEL_EMBEDDER_", "MODEL_RERANKER_")
# But Kubernetes tells every pod of a Service that is called `embedder`.
_LINK = re.compile(r"_(SERVICE_HOST|SERVICE_PORT\w*|PORT|PORT_\d+_\w+)$")
# Options of the command may be given as variables too: those are known where there is a command.
_OPTIONS = "PROVISION_SERVE_"
# How like a setting a name must be: a RERANKER_URL is an application's, and MODEL_SERVER_HOST an Onyx API server's.
_LIKE_OURS, _LIKE_ANY = 0.75, 0.9


def misspelt(variables: Iterable[str], known: Iterable[str]) -> dict[str, str]:
    """Names among the variables that were probably meant as one of the known, and which."""
    names = frozenset(known)
    options = [name for name in names if name.startswith(_OPTIONS)]
    found = {}
    for name in sorted(set(variables) - names):
        ours = name.startswith((*_OURS, _OPTIONS))
        if ours and _LINK.search(name):
            continue
        among = options if name.startswith(_OPTIONS) else names
        if meant := _closest(name, among, _LIKE_OURS if ours else _LIKE_ANY):
            found[name] = meant
    return found


def _closest(name: str, among: Iterable[str], least: float) -> str:
    """The prefix says nothing of how like two options are."""
    short = {one.removeprefix(_OPTIONS): one for one in among}
    found = get_close_matches(name.removeprefix(_OPTIONS), short, 1, least)
    return short[found[0]] if found else ""
