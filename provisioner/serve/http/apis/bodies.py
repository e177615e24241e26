"""Request bodies: read, checked against a pydantic model, and described in the OpenAPI document.

FastAPI would parse with `json`, quote what was sent in its errors, and answer them all in one shape; so the routes take
the bytes. That is quicker too: 2.5 ms instead of 6.3 for 512 texts of 2 kB each.
"""

from __future__ import annotations

import gc
from typing import Annotated, Any, TypeVar, cast

import msgspec
from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator
from pydantic_core import PydanticCustomError

from provisioner.serve.http.invalid import invalid
from provisioner.serve.refusals import Invalid
from provisioner.serve.settings import Limits

Json = dict[str, Any]
_B = TypeVar("_B", bound="Body")
Given = str | list[int] | list[str] | list[list[int]] | list[str | list[int]]
Inputs = tuple[str | tuple[int, ...], ...]
_LIMIT = "x-limit"  # in the models' schemas, where a limit of the settings goes


class Body(BaseModel):
    """What all bodies have in common: types are taken at their word, and what is not known is passed over."""

    model_config = ConfigDict(strict=True, extra="ignore", hide_input_in_errors=True, protected_namespaces=())


# How long and how many they may be, the backend checks, for gRPC too; here it is only described.
_SOME = Field(fail_fast=True, json_schema_extra={_LIMIT: "maxItems", "minItems": 1})
Text = Annotated[str, Field(json_schema_extra={_LIMIT: "maxLength"})]
Full = Annotated[str, Field(json_schema_extra={_LIMIT: "maxLength", "minLength": 1})]
Texts = Annotated[list[Text], _SOME]
Fulls = Annotated[list[Full], _SOME]
Others = Annotated[list[Text], Field(fail_fast=True, json_schema_extra={_LIMIT: "others", "minItems": 1})]
Token = Annotated[int, Field(ge=0, lt=2**31)]
Tokens = Annotated[list[Token], Field(fail_fast=True, json_schema_extra={_LIMIT: "tokens", "minItems": 1})]
TokenLists = Annotated[list[Tokens], _SOME]
Mixed = Annotated[list[Text | Tokens], _SOME]
Dimensions = Annotated[int, Field(ge=1)]


def kinds(words: str) -> WrapValidator:
    """For a union: one error about all of it instead of one for each of its branches."""

    def validated(value: Any, branches: ValidatorFunctionWrapHandler) -> Any:
        try:
            return branches(value)
        except ValidationError:
            raise PydanticCustomError("kinds", "Input should be {words}", {"words": words}) from None

    return WrapValidator(validated)


def _number(text: str) -> int | float:
    """JSON does not tell 2.0 from 2, and no body has a field for fractions."""
    value = float(text)
    return int(value) if value.is_integer() else value


_LARGE = 2**18  # bytes
_DECODER = msgspec.json.Decoder(float_hook=_number)


def _decoded(body: bytes) -> Any:
    """A large one without garbage collection, which finds nothing in it, and looks at all of it again and again while
    it grows: 15 MB of empty lists took 6 s, and 1 s without. A thread would not help, since msgspec keeps the GIL."""
    if len(body) <= _LARGE or not gc.isenabled():
        return _DECODER.decode(body)
    gc.disable()
    try:
        return _DECODER.decode(body)
    finally:
        gc.enable()


async def read(request: Request) -> Json:
    """The object that the body is. Raises Invalid."""
    parts = [part async for part in request.stream() if part]
    try:
        document = _decoded(parts[0] if len(parts) == 1 else b"".join(parts))
    except (ValueError, RecursionError):  # msgspec's own error is a ValueError, as is that of bytes that are no UTF-8
        raise Invalid("The body is not JSON.") from None
    if not isinstance(document, dict):
        raise Invalid("The body is not a JSON object.")
    return document


def checked(model: type[_B], document: Json) -> _B:
    """The body as its model. Raises Invalid."""
    try:
        return model.model_validate(document)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False, include_input=False)
    raise invalid(problems)


def inputs(given: Given) -> Inputs:
    """A text, texts, token ids, or lists of those, as a backend wants them."""
    if isinstance(given, str):
        return (given,)
    if given and isinstance(given[0], int):
        return (tuple(given),)
    return tuple(one if isinstance(one, str) else tuple(one) for one in cast("list[str | list[int]]", given))


def described(limits: Limits, *models: type[Body]) -> Json:
    """For a route's `openapi_extra`: the body is of one of the models."""
    forms = [_schema(model, limits) for model in models]
    schema = forms[0] if len(forms) == 1 else {"oneOf": forms}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def _schema(model: type[Body], limits: Limits) -> Json:
    schema = model.model_json_schema()
    most = min(limits.texts, limits.queue)
    bounds = {
        "maxLength": ("maxLength", limits.characters),
        "maxItems": ("maxItems", most),
        "others": ("maxItems", most - 1),  # beside one that they are compared with
        "tokens": ("maxItems", limits.characters),
    }
    inlined: Json = _inlined(schema, schema.get("$defs", {}), bounds)
    return inlined


def _inlined(node: Any, definitions: Json, bounds: dict[str, tuple[str, int]]) -> Any:
    """A schema without references into itself, which would lead nowhere from inside an OpenAPI document."""
    if isinstance(node, list):
        return [_inlined(one, definitions, bounds) for one in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        return _inlined(definitions[node["$ref"].rpartition("/")[2]], definitions, bounds)
    kept = {name: _inlined(one, definitions, bounds) for name, one in node.items() if name not in (_LIMIT, "$defs")}
    if _LIMIT in node:
        name, value = bounds[node[_LIMIT]]
        kept[name] = value
    return kept
