"""The methods of the contract."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from provisioner.serve.backend import Backend
from provisioner.serve.grpc import bulk, messages
from provisioner.serve.grpc.v1 import serve_pb2 as pb
from provisioner.serve.grpc.v1 import serve_pb2_grpc
from provisioner.serve.settings import Limits


class Models(serve_pb2_grpc.ModelsServicer):
    """Raises Refused and its kinds, which `calls` makes into statuses."""

    def __init__(self, backend: Backend, limits: Limits) -> None:
        self._backend = backend
        self._limits = limits

    async def Embed(self, request: pb.EmbedRequest, context: Any) -> pb.EmbedResponse:
        """Vectors of texts."""
        return messages.embed_response(await self._backend.embed(messages.embed_ask(request)))

    async def EmbedStream(self, request: pb.EmbedRequest, context: Any) -> AsyncGenerator[pb.EmbedChunk, None]:
        """Vectors of many texts."""
        ask = messages.embed_ask(request)
        bulk.check(ask, self._backend, self._limits)
        async with aclosing(bulk.embed(ask, self._backend, self._limits)) as chunks:
            async for index, embedded in chunks:
                yield messages.embed_chunk(index, embedded)

    async def Rerank(self, request: pb.RerankRequest, context: Any) -> pb.RerankResponse:
        """Scores of documents."""
        return messages.rerank_response(await self._backend.rerank(messages.rerank_ask(request)))

    async def Info(self, request: pb.InfoRequest, context: Any) -> pb.InfoResponse:
        """What is served."""
        return messages.info(self._backend.status())
