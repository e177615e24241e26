"""`GET /metrics`, in the text format of Prometheus or in OpenMetrics, as the scraper asks."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from prometheus_client.exposition import choose_encoder

from provisioner.serve.instruments import Instruments


def router(instruments: Instruments) -> APIRouter:
    """`/metrics`, GET and HEAD."""
    routes = APIRouter()

    async def metrics(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return Response(encode(instruments.registry), headers={"Content-Type": content_type})

    routes.add_api_route("/metrics", metrics, methods=["GET", "HEAD"], include_in_schema=False)
    return routes
