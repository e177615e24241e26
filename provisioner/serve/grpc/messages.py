"""What the backend asks and answers, from and into the messages of the contract. Pure."""

from __future__ import annotations

import numpy as np

from provisioner.serve.backend import Checked, EmbedAsk, Embedded, Ranked, RerankAsk, Served, Status
from provisioner.serve.engines.interface import Floats
from provisioner.serve.grpc.v1 import serve_pb2 as pb
from provisioner.serve.refusals import Invalid


def embed_ask(request: pb.EmbedRequest) -> EmbedAsk:
    """Raises Invalid for texts together with tokens."""
    if request.texts and request.tokens:
        raise Invalid("There are texts and tokens; a request has one of them.", param="tokens")
    return EmbedAsk(
        tuple(request.texts) if request.texts else tuple(tuple(one.ids) for one in request.tokens),
        model=request.model if request.HasField("model") else None,
        prompt=request.prompt if request.HasField("prompt") else None,
        prompt_name=request.prompt_name if request.HasField("prompt_name") else None,
        max_length=request.max_length if request.HasField("max_length") else None,
        truncate=request.truncate if request.HasField("truncate") else True,
        normalize=request.normalize if request.HasField("normalize") else None,
        dimensions=request.dimensions if request.HasField("dimensions") else None,
    )


def embed_response(embedded: Embedded) -> pb.EmbedResponse:
    """All vectors."""
    count, dimensions = embedded.vectors.shape
    return pb.EmbedResponse(
        vectors=_bytes(embedded.vectors),
        count=count,
        dimensions=dimensions,
        tokens=embedded.tokens,
        model=embedded.model,
    )


def embed_chunk(index: int, embedded: Embedded) -> pb.EmbedChunk:
    """Vectors of the texts from `index` on."""
    count, dimensions = embedded.vectors.shape
    return pb.EmbedChunk(
        index=index,
        vectors=_bytes(embedded.vectors),
        count=count,
        dimensions=dimensions,
        tokens=embedded.tokens,
        model=embedded.model,
    )


def _bytes(vectors: Floats) -> bytes:
    return vectors.astype(np.dtype("<f4"), copy=False).tobytes()


def rerank_ask(request: pb.RerankRequest) -> RerankAsk:
    """As it is."""
    return RerankAsk(
        request.query,
        tuple(request.documents),
        model=request.model if request.HasField("model") else None,
        raw=request.raw,
        sigmoid=request.sigmoid,
        truncate=request.truncate if request.HasField("truncate") else True,
    )


def rerank_response(ranked: Ranked) -> pb.RerankResponse:
    """Scores in the order of the documents."""
    return pb.RerankResponse(scores=ranked.scores.tolist(), tokens=ranked.tokens, model=ranked.model)


def info(status: Status) -> pb.InfoResponse:
    """What is served."""
    return pb.InfoResponse(
        ready=status.ready,
        detail=status.detail,
        role=status.role,
        version=status.version,
        release=None if status.release is None else _release(status.release),
        models=map(_model, status.models),
    )


def _release(checked: Checked) -> pb.Release:
    return pb.Release(
        name=checked.release,
        tree=checked.tree,
        lock=checked.lock,
        created=checked.created,
        checked=checked.at,
        evidence=checked.evidence,
        files=checked.files,
        size=checked.size,
    )


def _model(served: Served) -> pb.Model:
    about = served.about
    return pb.Model(
        task=served.task,
        repo=served.repo,
        commit=served.commit,
        aliases=served.aliases,
        engine=about.engine,
        device=about.device,
        precision=about.precision,
        dimensions=about.dimensions,
        max_length=about.max_length,
        limit=about.limit,
        normalized=about.normalized,
        prompts=dict(about.prompts),
        default_prompt=about.default_prompt,
    )
