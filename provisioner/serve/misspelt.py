"""Variables that were meant as settings of the server and are none."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches

# Nobody else has variables that begin so.
_OURS = ("EMBEDDER_", "RERANKER_", "MODEL_EMBEDDER_", "MODEL_RERANKER_")
# Options of the command may be given as variables, too: click reads those.
_OPTIONS = "PROVISION_SERVE_"
# What Kubernetes tells every pod of a Service that is called `embedder`.
_LINK = re.compile(r"_(SERVICE_HOST|SERVICE_PORT\w*|PORT|PORT_\d+_\w+)$")
_ALIKE = 0.9  # below it there are variables of others, such as MODEL_SERVER_HOST of an Onyx API server


def misspelt(variables: Iterable[str], known: Iterable[str]) -> dict[str, str | None]:
    """Names among the variables that were probably meant as one of the known, and which; None where it is not clear."""
    names = frozenset(known)
    found = {}
    for name in sorted(set(variables) - names):
        if name.startswith(_OPTIONS) or _LINK.search(name):
            continue
        ours = name.startswith(_OURS)
        meant = get_close_matches(name, names, 1, 0.6 if ours else _ALIKE)
        if meant or ours:
            found[name] = meant[0] if meant else None
    return found
