"""A failure as one sentence and what to do next."""

from __future__ import annotations

import json
import sys

from provisioner.errors import InvalidDocument, ProvisionError
from provisioner.render.printable import printable


def show(error: ProvisionError, *, as_json: bool) -> None:
    """Print a failure to stderr."""
    print(_json(error) if as_json else printable(_text(error)), file=sys.stderr)


def _json(error: ProvisionError) -> str:
    document = {
        "event": "error",
        "message": str(error),
        "hint": error.hint,
        "exit_code": error.exit_code,
        "retryable": error.retryable,
    }
    if isinstance(error, InvalidDocument):
        document["problems"] = [{"place": p.place, "message": p.message} for p in error.problems]
    return json.dumps(document)


def _text(error: ProvisionError) -> str:
    lines = [f"provision: {error}"]
    if isinstance(error, InvalidDocument) and len(error.problems) > 1:
        lines = [f"provision: {error.name} has {len(error.problems)} problems:"]
        lines += [f"  {problem}" for problem in error.problems]
    if error.hint:
        lines.append(f"  {error.hint}")
    return "\n".join(lines)
