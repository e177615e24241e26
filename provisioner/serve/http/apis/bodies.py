"""Request bodies: read, checked against a pydantic model, and described in the OpenAPI document.

FastAPI would parse with `json`, quote what was sent in its errors, and answer them all in one shape; so the routes take
the bytes. That is quicker too: 2.5 ms instead of 6.3 for 512 texts of 2 kB each. Large bodies are read in a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, TypeVar, cast, get_args

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator
from pydantic_core import PydanticCustomError

from provisioner.serve.http.apis import wire
from provisioner.serve.http.apis.wire import Fields, Most
from provisioner.serve.http.invalid import invalid
from provisioner.serve.settings import Limits

Json = dict[str, Any]
_B = TypeVar("_B", bound="Body")
Given = str | list[int] | list[str] | list[list[int]] | list[str | list[int]]
Inputs = tuple[str | tuple[int, ...], ...]
_AT_ONCE = 2**18  # bytes, which take about 1 ms
_LIMIT = "x-limit"  # in the models' schemas, where a limit of the settings goes


class Body(BaseModel):
    """What all bodies have in common: types are taken at their word, and what is not known is passed over."""

    model_config = ConfigDict(strict=True, extra="ignore", hide_input_in_errors=True, protected_namespaces=())


class Closed(Body):
    """A body of our own API: a misspelt field is an error. The other APIs' clients send fields that we have not."""

    model_config = ConfigDict(extra="forbid")


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


async def read(request: Request, limits: Limits, model: type[_B]) -> _B:
    """The body as a model. Raises Invalid.

    Nothing of the bytes is kept, by the request neither.
    """
    return await read_as(request, limits, (model,), lambda _: model)


async def read_as(
    request: Request, limits: Limits, models: Sequence[type[Body]], which: Callable[[Fields], type[_B]]
) -> _B:
    """The body as one of several models, by the fields of all of them that it has. Raises Invalid, and what `which`
    raises."""
    parts = [part async for part in request.stream() if part]  # `request.body()` would keep it as long as the request
    data = parts.pop() if len(parts) == 1 else b"".join(parts)
    if len(data) <= _AT_ONCE:
        return _parsed(data, limits, models, which)
    return await asyncio.to_thread(_parsed, data, limits, models, which)


def _parsed(data: bytes, limits: Limits, models: Sequence[type[Body]], which: Callable[[Fields], type[_B]]) -> _B:
    found = wire.fields(data, (name for model in models for name in model.model_fields))
    model = which(found)
    if issubclass(model, Closed):
        wire.nothing_else(data, model.model_fields)
    return checked(model, _document(model, found, Most.of(limits)))


def _document(model: type[Body], found: Fields, most: Most) -> Json:
    """The model's own fields, and theirs."""
    document = {}
    for name, field in model.model_fields.items():
        if (given := found.get(name)) is None:
            continue
        inner = _inner(field.annotation) if wire.is_object(given) else None
        if inner is None:
            document[name] = wire.value(name, given, most)
        else:
            document[name] = _document(inner, wire.fields(given, inner.model_fields), most)
    return document


def _inner(annotation: Any) -> type[Body] | None:
    """The model that a field is of, where it is of one, or of none or one."""
    kinds_of = (annotation, *get_args(annotation))
    return next((one for one in kinds_of if isinstance(one, type) and issubclass(one, Body)), None)


def checked(model: type[_B], document: Mapping[str, Any]) -> _B:
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
