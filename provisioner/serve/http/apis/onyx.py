"""Onyx's model server, as its API server and its background workers call it.

- `/encoder/bi-encoder-embed` puts the prefix of the text type before each text, and encodes that as
  sentence-transformers does: the model's default prompt, which few models have, comes before the prefix, and
  `normalize_embeddings: false` leaves what the model's own modules normalise. `max_context_length` may exceed the
  model's usual length.
- `/encoder/cross-encoder-scores` gives scores in the order of the documents. Versions of 2026 no longer call it.
- `/custom/query-analysis`: versions up to December 2025 ask this in most searches, and the search fails where it
  does. The model for it is not served here, so the answer is what holds without one: not a query of keywords.
- `/custom/connector-classification` and `/custom/content-classification` are not there (404): Onyx asks them only where
  ENABLE_CONNECTOR_CLASSIFIER or USE_INFORMATION_CONTENT_CLASSIFICATION is turned on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from provisioner.serve.backend import Backend, EmbedAsk, RerankAsk
from provisioner.serve.http.apis import bodies, prompts
from provisioner.serve.http.apis.answers import answer, declared, rounded, rows
from provisioner.serve.refusals import NotReady, Refused
from provisioner.serve.settings import Settings


class EmbedBody(bodies.Body):
    """Texts to embed. What Onyx sends for APIs of others (`api_key`, `reduced_dimension`, ...) is passed over."""

    texts: bodies.Fulls
    model_name: str | None = Field(None, description="One that is served; null takes that.")
    max_context_length: Annotated[int, Field(ge=2)]
    normalize_embeddings: bool
    text_type: Literal["query", "passage"]
    manual_query_prefix: bodies.Text | None = None
    manual_passage_prefix: bodies.Text | None = None
    provider_type: None = Field(None, description="Only models of this server.")


class EmbedAnswer(BaseModel):
    """Vectors in the order of the texts."""

    embeddings: list[list[float]]


class RerankBody(bodies.Body):
    """Documents to score against a query."""

    query: bodies.Full
    documents: bodies.Fulls
    model_name: str | None = None
    provider_type: None = Field(None, description="Only models of this server.")


class RerankAnswer(BaseModel):
    """Scores in the order of the documents."""

    scores: list[float]


class IntentBody(bodies.Body):
    """A search."""

    query: str


class IntentAnswer(BaseModel):
    """What kind of search it is."""

    is_keyword: bool
    keywords: list[str]


class GpuStatus(BaseModel):
    """What computes."""

    gpu_available: bool
    type: Literal["cuda", "none"]


class Failure(BaseModel):
    """Why a request was not answered."""

    detail: str


class Empty(Refused):
    """Nothing to embed or score."""


def refusal(refused: Refused, request_id: str) -> Response:
    """`{"detail"}`."""
    return answer({"detail": str(refused)}, refused.status)


def router(backend: Backend, settings: Settings) -> APIRouter:
    """The five paths."""
    routes, limits = APIRouter(tags=["Onyx"]), settings.limits

    async def embed(request: Request) -> Response:
        """Vectors of texts, each with the prefix for queries or for passages before it."""
        return await _embed(backend, await bodies.read(request, limits, EmbedBody))

    async def scores(request: Request) -> Response:
        """Scores of documents."""
        return await _scores(backend, await bodies.read(request, limits, RerankBody))

    async def analysis(request: Request) -> Response:
        """No model looks at the query: it is never taken for one of keywords."""
        await bodies.read(request, limits, IntentBody)
        return answer({"is_keyword": False, "keywords": []})

    async def health() -> Response:
        """200 once requests are answered."""
        status = backend.status()
        if not status.ready:
            raise NotReady(status.detail or "The models are not loaded yet.", retry_after=2)
        return Response(status_code=200)

    async def gpu() -> Response:
        """Whether a GPU computes."""
        cuda = any(model.about.device == "cuda" for model in backend.status().models)
        return answer({"gpu_available": cuda, "type": "cuda" if cuda else "none"})

    _post(routes, "/encoder/bi-encoder-embed", embed, EmbedAnswer, bodies.described(limits, EmbedBody))
    _post(routes, "/encoder/cross-encoder-scores", scores, RerankAnswer, bodies.described(limits, RerankBody))
    _post(routes, "/custom/query-analysis", analysis, IntentAnswer, bodies.described(limits, IntentBody))
    routes.add_api_route("/api/health", health, methods=["GET"], response_class=Response, **declared(None, Failure))
    routes.add_api_route("/api/gpu-status", gpu, methods=["GET"], **declared(GpuStatus, Failure))
    return routes


def _post(
    routes: APIRouter, path: str, endpoint: Callable[..., Any], answers: type[BaseModel], body: bodies.Json
) -> None:
    routes.add_api_route(path, endpoint, methods=["POST"], openapi_extra=body, **declared(answers, Failure))


async def _embed(backend: Backend, body: EmbedBody) -> Response:
    if not body.texts or not all(body.texts):
        raise Empty("There are no texts to be embedded, or an empty one.", param="texts")
    prefix = body.manual_query_prefix if body.text_type == "query" else body.manual_passage_prefix
    ask = EmbedAsk(
        tuple(body.texts),
        model=body.model_name,
        prompt=prompts.default(backend) + prefix if prefix else None,
        max_length=body.max_context_length,
        normalize=True if body.normalize_embeddings else None,
    )
    done = await backend.embed(ask)
    return answer({"embeddings": await rows(done.vectors)})


async def _scores(backend: Backend, body: RerankBody) -> Response:
    if not body.query or not body.documents or not all(body.documents):
        raise Empty("There is no query, there are no documents, or an empty one.", param="documents")
    done = await backend.rerank(RerankAsk(body.query, tuple(body.documents), model=body.model_name))
    return answer({"scores": rounded(done.scores).tolist()})
