"""`python -m provisioner.loading LIBRARY`, the task as JSON on stdin; one JSON line on stdout.

The libraries print and warn on their own, so the answer goes to a descriptor that nothing else writes to.
"""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module
from typing import Any

_MODULES = {
    "fastembed": "provisioner.loading.with_fastembed",
    "sentence_transformers": "provisioner.loading.with_sentence_transformers",
    "transformers": "provisioner.loading.with_transformers",
}


def main() -> None:
    """Load, and say what was loaded or why it could not be."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    task: dict[str, Any] = json.load(sys.stdin)
    try:
        answer = {"ok": True, "detail": import_module(_MODULES[sys.argv[1]]).load(task)}
    except Exception as error:  # whatever a library raises is the finding
        answer = {"ok": False, "detail": f"{type(error).__name__}: {error}"[:500]}
    print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
