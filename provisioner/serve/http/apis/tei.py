"""Text Embeddings Inference: `/embed`, `/rerank` (their routes are in `native`), `/similarity`, `/info`, `POST /`.

As of its release 1.9: a text that is too long is cut unless `truncate` is false, no prompt is put before a text unless
`prompt_name` asks for it, and what it calls validation is a 422. A text that may not be cut is a 413, as it was before.
What the model's own modules normalise stays so, whatever `normalize` says, as with sentence-transformers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from provisioner.serve.backend import Backend, EmbedAsk, Embedded, RerankAsk
from provisioner.serve.http.apis import bodies
from provisioner.serve.http.apis.answers import answer, declared, rounded, rows
from provisioner.serve.http.apis.tei_refusals import Empty, Unhealthy, in_its_words
from provisioner.serve.http.apis.wire import Fields, is_object
from provisioner.serve.settings import Settings

TRUNCATE = True  # its --auto-truncate
Right = Literal["right", "Right"]  # engines cut at the end, so `left` is refused


class EmbedBody(bodies.Body):
    """Texts, or token ids."""

    inputs: Annotated[
        bodies.Text | bodies.Tokens | bodies.Mixed, bodies.kinds("a text, token ids, or a list of texts or token ids")
    ]
    truncate: bool | None = Field(None, description="Whether longer texts are cut, or refused; null cuts them.")
    truncation_direction: Right | None = None
    prompt_name: str | None = Field(None, description="One of the model's own prompts; null is none.")
    normalize: bool | None = Field(None, description="To the length 1; null does.")
    dimensions: bodies.Dimensions | None = None


class RerankBody(bodies.Body):
    """Texts to sort by how well they answer a query."""

    query: bodies.Text
    texts: bodies.Texts
    truncate: bool | None = None
    truncation_direction: Right | None = None
    raw_scores: bool = Field(False, description="Logits instead of their sigmoid.")
    return_text: bool = False


class Sentences(bodies.Body):
    """One sentence, and others."""

    source_sentence: bodies.Text
    sentences: bodies.Others


class SimilarityParameters(bodies.Body):
    """How they are embedded."""

    truncate: bool | None = None
    truncation_direction: Right | None = None
    prompt_name: str | None = None


class SimilarityBody(bodies.Body):
    """Sentences to compare with one."""

    inputs: Sentences
    parameters: SimilarityParameters | None = None


Vectors = Annotated[list[list[float]], Field(title="Vectors", description="In the order of the inputs.")]
Cosines = Annotated[list[float], Field(title="Cosines")]


class Rank(BaseModel):
    """One text, by its place in the request; `text` only where it was asked for."""

    index: int
    score: float
    text: str | None = None


Ranks = Annotated[list[Rank], Field(title="Ranks", description="The best first.")]


class Info(BaseModel):
    """The model that is served: the embedder, or else the reranker."""

    model_id: str
    model_sha: str
    model_dtype: str
    served_model_name: str
    model_type: dict[str, dict[str, str]]
    max_concurrent_requests: int
    max_input_length: int
    max_batch_tokens: int
    max_batch_requests: int
    max_client_batch_size: int
    auto_truncate: bool
    version: str


async def embed(backend: Backend, body: EmbedBody) -> Response:
    """Answers `POST /embed`."""
    return await in_its_words(_embed(backend, body))


async def rerank(backend: Backend, body: RerankBody) -> Response:
    """Answers `POST /rerank`."""
    return await in_its_words(_rerank(backend, body))


async def similarity(backend: Backend, body: SimilarityBody) -> Response:
    """Answers `POST /similarity`."""
    return await in_its_words(_similarity(backend, body))


def router(backend: Backend, settings: Settings) -> APIRouter:
    """The paths that are not ours too."""
    routes, limits = APIRouter(tags=["Text Embeddings Inference"]), settings.limits

    async def root(request: Request) -> Response:
        """As `/embed`, `/similarity` or `/rerank`, by what the body has."""
        body = await bodies.read_as(request, limits, (EmbedBody, SimilarityBody, RerankBody), _form)
        if isinstance(body, EmbedBody):
            return await embed(backend, body)
        if isinstance(body, SimilarityBody):
            return await similarity(backend, body)
        return await rerank(backend, body)

    async def compare(request: Request) -> Response:
        """Cosines of sentences with one."""
        return await similarity(backend, await bodies.read(request, limits, SimilarityBody))

    async def info() -> Response:
        """What is served, in its words."""
        return answer(_info(backend, settings))

    _post(routes, "/", root, Vectors | Cosines | Ranks, bodies.described(limits, EmbedBody, SimilarityBody, RerankBody))
    _post(routes, "/similarity", compare, Cosines, bodies.described(limits, SimilarityBody))
    routes.add_api_route("/info", info, methods=["GET"], **declared(Info))
    return routes


def _form(found: Fields) -> type[EmbedBody | SimilarityBody | RerankBody]:
    if "inputs" not in found:
        return RerankBody
    return SimilarityBody if is_object(found["inputs"]) else EmbedBody


def _post(routes: APIRouter, path: str, endpoint: Callable[..., Any], answers: Any, body: bodies.Json) -> None:
    routes.add_api_route(path, endpoint, methods=["POST"], openapi_extra=body, **declared(answers))


async def _embed(backend: Backend, body: EmbedBody) -> Response:
    done = await _embedded(backend, bodies.inputs(body.inputs), body, body.normalize is not False, body.dimensions)
    return answer(await rows(done.vectors))


async def _embedded(
    backend: Backend,
    inputs: bodies.Inputs,
    how: EmbedBody | SimilarityParameters,
    normalize: bool,
    dimensions: int | None = None,
) -> Embedded:
    if not inputs:
        raise Empty("`inputs` cannot be empty.", param="inputs")
    ask = EmbedAsk(
        inputs,
        prompt_name=how.prompt_name or "",
        truncate=TRUNCATE if how.truncate is None else how.truncate,
        normalize=normalize,
        dimensions=dimensions,
    )
    return await backend.embed(ask)


async def _rerank(backend: Backend, body: RerankBody) -> Response:
    if not body.texts:
        raise Empty("`texts` cannot be empty.", param="texts")
    truncate = TRUNCATE if body.truncate is None else body.truncate
    ask = RerankAsk(body.query, tuple(body.texts), raw=body.raw_scores, sigmoid=not body.raw_scores, truncate=truncate)
    done = await backend.rerank(ask)
    scores = rounded(done.scores).tolist()
    ranks = [{"index": index, "score": scores[index]} for index in np.argsort(-done.scores, kind="stable").tolist()]
    if body.return_text:
        ranks = [{**rank, "text": body.texts[rank["index"]]} for rank in ranks]
    return answer(ranks)


async def _similarity(backend: Backend, body: SimilarityBody) -> Response:
    if not body.inputs.sentences:
        raise Empty("`inputs.sentences` cannot be empty.", param="inputs.sentences")
    inputs = (body.inputs.source_sentence, *body.inputs.sentences)
    done = await _embedded(backend, inputs, body.parameters or SimilarityParameters(), True)
    return answer((done.vectors[1:] @ done.vectors[0]).tolist())


def _info(backend: Backend, settings: Settings) -> bodies.Json:
    """Raises NotReady."""
    status = backend.status()
    if not status.ready or not status.models:
        raise Unhealthy(status.detail or "No model is loaded.", retry_after=2)
    model = min(status.models, key=lambda one: one.task != "embed")
    embeds = model.task == "embed"
    run = settings.embedder if embeds else settings.reranker
    return {
        "model_id": model.repo,
        "model_sha": model.commit,
        "model_dtype": model.about.precision,
        "served_model_name": model.repo,
        "model_type": {"embedding" if embeds else "reranker": {}},
        "max_concurrent_requests": settings.limits.concurrent,
        "max_input_length": model.about.max_length,
        "max_batch_tokens": run.batch_tokens,
        "max_batch_requests": run.batch,
        "max_client_batch_size": min(settings.limits.texts, settings.limits.queue),
        "auto_truncate": TRUNCATE,
        "version": status.version,
    }
