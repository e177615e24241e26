"""For schemathesis: what a valid body may have that the OpenAPI document cannot say, for it knows no model."""

from __future__ import annotations

from typing import Any

import schemathesis

VOCABULARY, DIMENSIONS = 30522, 384
_UNKNOWN = ("prompt_name", "truncate")


@schemathesis.hook
def before_call(context: Any, case: Any, options: Any) -> None:
    """Make token ids and dimensions of a valid body those of the model, and leave out prompts that it does not have."""
    if not (case.meta and case.meta.generation.mode.is_positive and isinstance(case.body, dict)):
        return
    body = case.body
    for name in ("input", "inputs"):
        if name in body:
            body[name] = _known(body[name])
    if body.get("dimensions"):
        body["dimensions"] = 1 + int(body["dimensions"]) % DIMENSIONS
    for part in (body, body.get("parameters")):
        for name in _UNKNOWN if isinstance(part, dict) else ():
            part.pop(name, None)


def _known(value: Any) -> Any:
    if isinstance(value, list):
        return [_known(one) for one in value]
    return int(value) % VOCABULARY if isinstance(value, int | float) and not isinstance(value, bool) else value
