"""Where the page, its files and the status are."""

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from provisioner.serve.backend import Backend
from provisioner.serve.page import facts
from provisioner.serve.page.assets import Assets, assets, etag
from provisioner.serve.page.document import StatusDocument, status_document
from provisioner.serve.page.examples import examples
from provisioner.serve.page.latencies import Instruments, latency_facts
from provisioner.serve.page.markup import put

_GUARD = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
# Nothing inline, nothing from elsewhere, and no way in the script from text to markup (trusted types).
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
_PAGE = _GUARD | {
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",
    "Vary": "Host",  # the examples name the server as the browser does
    "X-Frame-Options": "DENY",
}
_FOREVER = "public, max-age=31536000, immutable"


def router(
    backend: Backend, instruments: Instruments, draining: Callable[[], bool] = lambda: False, *, keyed: bool = False
) -> APIRouter:
    """`GET /`, `/page/VERSION/FILE` and `/status.json`, and HEAD of each. They need no key: no text is in them.

    `draining` says whether the server is ending, `keyed` whether work needs a key.
    """
    routes, own = APIRouter(), assets()

    def document() -> StatusDocument:
        status = backend.status()
        if draining():
            status = replace(status, ready=False, detail="The server is ending.")
        return status_document(status, latency_facts(instruments.latencies()))

    async def page(request: Request) -> Response:
        return _kept(request, render(own, document(), str(request.base_url), keyed).encode(), "text/html", _PAGE)

    async def file(request: Request, version: str, name: str) -> Response:
        if (asset := own.files.get(name)) is None:
            return JSONResponse({"error": "There is no such file."}, 404, headers=_GUARD)
        caching = _FOREVER if version == own.version else "no-cache"
        return _kept(request, asset.body, asset.media_type, _GUARD | {"Cache-Control": caching})

    async def status() -> Any:
        return JSONResponse(asdict(document()), headers=_GUARD | {"Cache-Control": "no-store"})

    _both(routes, "/", page)
    _both(routes, "/page/{version}/{name}", file)
    routes.add_api_route("/status.json", status, response_model=StatusDocument, summary="What is served")
    routes.add_api_route("/status.json", status, methods=["HEAD"], include_in_schema=False)
    return routes


def _both(routes: APIRouter, path: str, endpoint: Callable[..., Any]) -> None:
    routes.add_api_route(path, endpoint, methods=["GET", "HEAD"], include_in_schema=False)


def render(own: Assets, document: StatusDocument, origin: str, keyed: bool) -> str:
    """The page. `origin` is where the server is for whoever asks, with a slash at its end."""
    no_embedding, no_rerank = facts.why_no_embedding(document), facts.why_no_rerank(document)
    return own.page.substitute(
        version=own.version,
        ready="ready" if document.ready else "waiting",
        state=facts.state(document),
        role=facts.role(document),
        name=facts.name(document),
        models=facts.models(document),
        release=facts.release(document),
        embed_note=facts.note(no_embedding),
        embed_hidden="hidden" if no_embedding else "",
        rerank_note=facts.note(no_rerank),
        rerank_hidden="hidden" if no_rerank else "",
        key_hidden="" if keyed else "hidden",
        examples=examples(document, origin, keyed),
        software=put(document.version),
    )


def _kept(request: Request, body: bytes, media_type: str, headers: dict[str, str]) -> Response:
    tagged = headers | {"ETag": etag(body)}
    if etag(body) in request.headers.get("If-None-Match", ""):
        return Response(status_code=304, headers=tagged)
    return Response(body, media_type=media_type, headers=tagged)
