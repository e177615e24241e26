"""OpenAI's embeddings: `POST /v1/embeddings` and `GET /v1/models`, for its client libraries.

Beyond OpenAI's own fields `input_type` ("query" or "passage") takes the model's prompt for that, if it has one. A text
that is too long is cut. Vectors are as the model's files normalise them.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Request, Response
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from provisioner.serve.backend import Backend, EmbedAsk, Embedded, Status
from provisioner.serve.http.apis import bodies, prompts
from provisioner.serve.http.apis.answers import answer, array, declared
from provisioner.serve.refusals import (
    Busy,
    Invalid,
    NoSuchPath,
    NotServed,
    Refused,
    Unauthorized,
)
from provisioner.serve.settings import Settings


class EmbeddingsBody(bodies.Body):
    """Texts, or token ids of the model."""

    input: Annotated[
        bodies.Full | bodies.Fulls | bodies.Tokens | bodies.TokenLists,
        bodies.kinds("a text, token ids, a list of texts, or a list of lists of token ids"),
    ]
    model: str | None = Field(None, description="One that `/v1/models` lists; none takes that.")
    encoding_format: Literal["float", "base64"] | None = Field(None, description="base64 is of little-endian float32.")
    dimensions: bodies.Dimensions | None = Field(None, description="How many numbers of each vector are kept.")
    user: str | None = Field(None, description="Not used.")
    input_type: prompts.InputType | None = Field(None, description="Takes the model's own prompt for these, if any.")


class Embedding(BaseModel):
    """One vector."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class Usage(BaseModel):
    """Tokens of the texts as the model read them."""

    prompt_tokens: int
    total_tokens: int


class Embeddings(BaseModel):
    """Vectors in the order of the input."""

    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: Usage


class Model(BaseModel):
    """A model that is served."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class Models(BaseModel):
    """The models that are served."""

    object: Literal["list"]
    data: list[Model]


class Error(BaseModel):
    """What is wrong, and with which field."""

    message: str
    type: str
    param: str | None
    code: str | None


class Failure(BaseModel):
    """Why a request was not answered."""

    error: Error


_CODES: dict[type[Refused], tuple[str, str]] = {
    Unauthorized: ("invalid_request_error", "invalid_api_key"),
    NotServed: ("invalid_request_error", "model_not_found"),
    NoSuchPath: ("invalid_request_error", "unknown_url"),
    Busy: ("requests", "rate_limit_exceeded"),
}


def refusal(refused: Refused, request_id: str) -> Response:
    """`{"error": {...}}`; what others call 422 is a 400 there."""
    status = 400 if isinstance(refused, Invalid) else refused.status
    usual = ("server_error" if status >= 500 else "invalid_request_error", None)
    kind, code = next((told for known, told in _CODES.items() if isinstance(refused, known)), usual)
    param = refused.param and refused.param.replace("inputs", "input")  # as the backend calls it
    error = {"message": str(refused), "type": kind, "param": param, "code": code}
    return answer({"error": error}, status)


def router(backend: Backend, settings: Settings) -> APIRouter:
    """The three paths."""
    routes, limits = APIRouter(prefix="/v1", tags=["OpenAI"]), settings.limits

    async def embeddings(request: Request) -> Response:
        """Vectors of a text, of texts, or of token ids."""
        body = await bodies.read(request, limits, EmbeddingsBody)
        return await _embeddings(backend, body)

    async def models() -> Response:
        """The models that are served."""
        return answer({"object": "list", "data": _models(backend.status())})

    async def model(model: str) -> Response:
        """One of them."""
        found = next((one for one in _models(backend.status()) if one["id"].casefold() == model.casefold()), None)
        if found is None:
            raise NotServed("That model is not served; /v1/models lists what is.", param="model")
        return answer(found)

    for path, endpoint, answers in (("/models", models, Models), ("/models/{model:path}", model, Model)):
        routes.add_api_route(path, endpoint, methods=["GET"], **declared(answers, Failure))
    described = bodies.described(limits, EmbeddingsBody)
    ways = declared(Embeddings, Failure)
    routes.add_api_route("/embeddings", embeddings, methods=["POST"], openapi_extra=described, **ways)
    return routes


async def _embeddings(backend: Backend, body: EmbeddingsBody) -> Response:
    inputs = bodies.inputs(body.input)
    if not inputs or not all(inputs):
        raise Invalid("The input has an empty text, or nothing in it.", param="input")
    ask = EmbedAsk(
        inputs,
        model=body.model,
        prompt_name=prompts.named(backend, body.input_type),
        dimensions=body.dimensions,
    )
    done = await backend.embed(ask)
    data = _base64(done) if body.encoding_format == "base64" else await array(done.vectors, _floats)
    usage = {"prompt_tokens": done.tokens, "total_tokens": done.tokens}
    return answer({"object": "list", "data": data, "model": done.model, "usage": usage})


def _floats(part: NDArray[np.float64], start: int) -> list[Any]:
    return [{"object": "embedding", "index": index, "embedding": row} for index, row in enumerate(part.tolist(), start)]


def _base64(done: Embedded) -> list[Any]:
    """msgspec writes bytes as base64."""
    vectors = np.ascontiguousarray(done.vectors, "<f4")
    return [{"object": "embedding", "index": index, "embedding": row.tobytes()} for index, row in enumerate(vectors)]


def _models(status: Status) -> list[dict[str, Any]]:
    created = int(datetime.fromisoformat(status.release.created).timestamp()) if status.release else 0
    return [
        {"id": model.repo, "object": "model", "created": created, "owned_by": model.repo.partition("/")[0]}
        for model in status.models
    ]
