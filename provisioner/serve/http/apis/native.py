"""This server's own API: `POST /embed` with `texts`, `POST /rerank` with `documents`.

Text Embeddings Inference has the same two paths, so a body with `inputs`, or with `texts` beside a `query`, is answered
as it does.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from provisioner.serve.backend import Backend, EmbedAsk, RerankAsk
from provisioner.serve.http.apis import bodies, prompts, tei
from provisioner.serve.http.apis.answers import answer, declared, failure, rounded, rows
from provisioner.serve.http.apis.wire import Fields
from provisioner.serve.refusals import Invalid, Refused
from provisioner.serve.settings import Settings


class EmbedBody(bodies.Closed):
    """Texts to embed."""

    texts: bodies.Texts
    model: str | None = Field(None, description="One that is served; none takes that.")
    input_type: prompts.InputType | None = Field(None, description="Takes the model's own prompt for these, if any.")
    prompt_name: str | None = Field(None, description='One of the model\'s own prompts; "" is none.')
    normalize: bool | None = Field(None, description="To the length 1; null does as the model's files say.")
    dimensions: bodies.Dimensions | None = Field(None, description="How many numbers of each vector are kept.")
    max_length: Annotated[int, Field(ge=2)] | None = Field(None, description="Tokens that a text is cut to.")


class EmbedAnswer(BaseModel):
    """Vectors in the order of the texts."""

    embeddings: list[list[float]]
    model: str
    tokens: int


class RerankBody(bodies.Closed):
    """Documents to sort by how well they answer a query."""

    query: bodies.Text
    documents: bodies.Texts
    top_n: Annotated[int, Field(ge=1)] | None = Field(None, description="How many are returned; null returns all.")
    model: str | None = None


class Result(BaseModel):
    """One document, by its place in the request."""

    index: int
    score: float


class RerankAnswer(BaseModel):
    """The best first; equal scores in the order of the request."""

    results: list[Result]
    model: str
    tokens: int


def refusal(refused: Refused, request_id: str) -> Response:
    """`{"error", "error_type", "request_id"}`."""
    return failure(refused, request_id)


def router(backend: Backend, settings: Settings) -> APIRouter:
    """The two paths, in both forms."""
    routes, limits = APIRouter(tags=["Embed and rerank"]), settings.limits

    async def embed(request: Request) -> Response:
        """Vectors of `texts`, or of `inputs` as Text Embeddings Inference gives them."""
        body = await bodies.read_as(request, limits, (EmbedBody, tei.EmbedBody), _embed_form)
        if isinstance(body, tei.EmbedBody):
            return await tei.embed(backend, body)
        return await embedded(backend, body)

    async def rerank(request: Request) -> Response:
        """Scores of `documents`, or of `texts` as Text Embeddings Inference gives them."""
        body = await bodies.read_as(request, limits, (RerankBody, tei.RerankBody), _rerank_form)
        if isinstance(body, tei.RerankBody):
            return await tei.rerank(backend, body)
        return await reranked(backend, body)

    for path, endpoint, own, others in (
        ("/embed", embed, EmbedBody, tei.EmbedBody),
        ("/rerank", rerank, RerankBody, tei.RerankBody),
    ):
        answers = {EmbedBody: EmbedAnswer | tei.Vectors, RerankBody: RerankAnswer | tei.Ranks}[own]
        routes.add_api_route(
            path,
            endpoint,
            methods=["POST"],
            openapi_extra=bodies.described(limits, own, others),
            **declared(answers, description="In the form that was asked"),
        )
    return routes


def _embed_form(found: Fields) -> type[EmbedBody | tei.EmbedBody]:
    return EmbedBody if _is_own(found, "texts", "inputs") else tei.EmbedBody


def _rerank_form(found: Fields) -> type[RerankBody | tei.RerankBody]:
    return RerankBody if _is_own(found, "documents", "texts") else tei.RerankBody


def _is_own(found: Fields, own: str, others: str) -> bool:
    """Whether the body is in our form, by which of two fields it has. Raises Invalid if it has both or neither."""
    if (own in found) is (others in found):
        raise Invalid(f"The body has either `{own}` or, as for Text Embeddings Inference, `{others}`.", param=own)
    return own in found


async def embedded(backend: Backend, body: EmbedBody) -> Response:
    """Answers `POST /embed`."""
    if body.input_type is not None and body.prompt_name is not None:
        raise Invalid("Either `input_type` or `prompt_name` chooses the prompt.", param="input_type")
    ask = EmbedAsk(
        tuple(body.texts),
        model=body.model,
        prompt_name=prompts.named(backend, body.input_type) if body.prompt_name is None else body.prompt_name,
        max_length=body.max_length,
        normalize=body.normalize,
        dimensions=body.dimensions,
    )
    done = await backend.embed(ask)
    return answer({"embeddings": await rows(done.vectors), "model": done.model, "tokens": done.tokens})


async def reranked(backend: Backend, body: RerankBody) -> Response:
    """Answers `POST /rerank`."""
    done = await backend.rerank(RerankAsk(body.query, tuple(body.documents), model=body.model))
    best = np.argsort(-done.scores, kind="stable")[: body.top_n].tolist()
    scores = rounded(done.scores).tolist()
    results = [{"index": index, "score": scores[index]} for index in best]
    return answer({"results": results, "model": done.model, "tokens": done.tokens})
