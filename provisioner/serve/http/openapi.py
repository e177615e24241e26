"""The refusals that come before the routes, added to the OpenAPI document of the routes."""

from __future__ import annotations

import copy
from collections.abc import Container
from typing import Any

_Json = dict[str, Any]

_READS = {"401": "The bearer token is missing, or another one"}
_WORKS = _READS | {
    "408": "The body did not arrive in time",
    "413": "The body is too large",
    "415": "The body is compressed, or of another type",
    "422": "A field is missing, or cannot be as it is",
    "429": "As many requests are at work as may be; Retry-After says when to come again",
    "500": "A bug, or an engine that failed; the log says more under the id of the request",
    "503": "The models are being loaded, or the server is ending; Retry-After says when to come again",
    "504": "The answer was not ready in time",
}
_PLAIN = {
    "type": "object",
    "properties": {"error": {"type": "string"}, "error_type": {"type": "string"}, "request_id": {"type": "string"}},
    "required": ["error", "error_type", "request_id"],
}


def completed(document: _Json, public: Container[str]) -> _Json:
    """The document with all of them, in the shapes that the operations declare for 422."""
    document.setdefault("components", {}).setdefault("schemas", {})["Refusal"] = _PLAIN
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            _complete(operation, _WORKS if method == "post" else {} if path in public else _READS)
    return document


def _complete(operation: _Json, refusals: dict[str, str]) -> None:
    responses: _Json = operation["responses"]
    content = _shape(responses)
    for status, description in refusals.items():
        given = responses.setdefault(status, {"description": description})
        given.setdefault("content", copy.deepcopy(content))


def _shape(responses: _Json) -> _Json:
    """Of the operation's own refusals; FastAPI's default one is replaced, since this server never sends it."""
    own = [answer["content"] for status, answer in responses.items() if status[0] in "45" and answer.get("content")]
    for content in own:
        if content.get("application/json", {}).get("schema", {}).get("$ref", "").endswith("/HTTPValidationError"):
            content["application/json"] = {"schema": {"$ref": "#/components/schemas/Refusal"}}
    return own[0] if own else {"application/json": {"schema": {"$ref": "#/components/schemas/Refusal"}}}
