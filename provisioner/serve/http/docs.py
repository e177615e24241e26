"""`GET /openapi.json`: what the server can be asked; `GET /docs`: the same as a plain page.

FastAPI's own page loads its script from a CDN, which a cluster does not reach.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from html import escape
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1b1f24 }
section { border-top: 1px solid #d0d7de; padding: .5rem 0 }
code, pre { font: 14px/1.4 ui-monospace, monospace } pre { background: #f6f8fa; padding: .75rem; overflow: auto }
table { border-collapse: collapse } td, th { text-align: left; vertical-align: top; padding: .15rem 1rem .15rem 0 }
"""

_Json = Mapping[str, Any]


def router() -> APIRouter:
    """`/docs` and `/openapi.json`, GET and HEAD. Both are made once, when somebody asks."""
    routes = APIRouter()
    texts: dict[Callable[[_Json], str], bytes] = {}

    def made(request: Request, make: Callable[[_Json], str]) -> bytes:
        if make not in texts:
            texts[make] = make(request.app.openapi()).encode()
        return texts[make]

    headers = {"Content-Security-Policy": _POLICY, "X-Content-Type-Options": "nosniff", "Cache-Control": "no-cache"}

    async def page(request: Request) -> HTMLResponse:
        return HTMLResponse(made(request, render), headers=headers)

    async def document(request: Request) -> Response:
        return Response(made(request, _text), media_type="application/json")

    for path, endpoint in (("/docs", page), ("/openapi.json", document)):
        routes.add_api_route(path, endpoint, methods=["GET", "HEAD"], include_in_schema=False)
    return routes


def _text(document: _Json) -> str:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


def render(document: _Json) -> str:
    """The page of an OpenAPI document."""
    info = document["info"]
    head = f"{escape(info['title'])} {escape(info['version'])}"
    body = "\n".join(_section(document, method, path, about) for method, path, about in _operations(document))
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{head}</title><style>{_STYLE}</style>'
        '<meta name="viewport" content="width=device-width">'
        f"<h1>{head}</h1><p>{escape(info.get('description', ''))}</p>"
        '<p><a href="openapi.json">openapi.json</a> is the same for machines.</p>'
        f"{body}</html>"
    )


def _operations(document: _Json) -> Iterator[tuple[str, str, _Json]]:
    for path, methods in document["paths"].items():
        for method, about in methods.items():
            yield method.upper(), path, about


def _section(document: _Json, method: str, path: str, about: _Json) -> str:
    parts = [
        f"<section><h2><code>{method} {escape(path)}</code></h2>",
        f"<p>{escape(about.get('summary', ''))}</p>",
        *(f"<p>{escape(text)}</p>" for text in about.get("description", "").split("\n\n") if text),
        *(_schemas(document, about.get("requestBody", {}), "Body")),
        _answers(about.get("responses", {})),
        "</section>",
    ]
    return "\n".join(parts)


def _schemas(document: _Json, holder: _Json, title: str) -> Iterator[str]:
    for content_type, media in holder.get("content", {}).items():
        schema = json.dumps(_resolved(document, media.get("schema", {})), indent=2, ensure_ascii=False)
        summary = f"<summary>{title}, <code>{escape(content_type)}</code></summary>"
        yield f"<details>{summary}<pre>{escape(schema)}</pre></details>"


def _resolved(document: _Json, schema: Any, depth: int = 0) -> Any:
    """The schema with those that it refers to in their places, a few levels down."""
    if isinstance(schema, list):
        return [_resolved(document, part, depth) for part in schema]
    if not isinstance(schema, dict):
        return schema
    reference = schema.get("$ref")
    if isinstance(reference, str) and depth < 4:
        return _resolved(document, document["components"]["schemas"][reference.rpartition("/")[2]], depth + 1)
    return {key: _resolved(document, value, depth) for key, value in schema.items()}


def _answers(responses: _Json) -> str:
    rows = (f"<tr><td>{escape(code)}<td>{escape(answer.get('description', ''))}" for code, answer in responses.items())
    return f"<table><tr><th>Status<th>Meaning{''.join(rows)}</table>"
