"""The routes of the Hub that readers use, as one ASGI application."""

from __future__ import annotations

import json
import logging
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from urllib.parse import parse_qs, unquote, urlencode

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from provisioner.hub import answers, pages
from provisioner.hub.catalog import Catalog, Repo, Snapshot
from provisioner.hub.shelf import Shelf
from provisioner.hub.stream import FileAnswer

log = logging.getLogger(__name__)

PAGE = 1000
MAX_BODY = 16 * 2**20
_READS = ("GET", "HEAD")


class Hub:
    """Answers from a shelf's catalog. Names are only ever looked up there, so no request leaves the store."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or say in the Hub's way why not."""
        if self._shelf.due:
            await to_thread.run_sync(self._shelf.refresh)
        request = Request(scope, receive)
        try:
            await (await self._answer(request))(scope, receive, send)
        except answers.Refused as error:
            await _refusal(error)(scope, receive, send)

    async def _answer(self, request: Request) -> ASGIApp:
        # The raw path: only there can `refs%2Fpr%2F1` be told from three folders.
        parts = [unquote(part) for part in request.scope["raw_path"].decode("latin-1").split("/")[1:]]
        if request.method not in _READS and not _asks_by_post(request, parts):
            raise answers.NotAllowed("This endpoint is read-only.")
        catalog = self._shelf.catalog
        match parts:
            case [""]:
                return HTMLResponse(pages.index(catalog, self._shelf.name, _origin(request)))
            case ["health"]:
                return PlainTextResponse("ok\n")
            case ["api", "models", *rest]:
                return await _api(catalog, request, [part for part in rest if part])
            case ["api", "whoami-v2"]:
                return _error(401, "This endpoint has no users.", {"WWW-Authenticate": "Bearer"})
            case [_, _, "resolve", *rest] | [_, "resolve", *rest]:
                return self._file(catalog, parts[: len(parts) - len(rest) - 1], rest)
            case ["api" | "datasets" | "spaces", *_]:
                raise answers.RepoNotFound("Only models are served here.")
        return _error(404, "There is nothing at this address; / lists what is served.")

    def _file(self, catalog: Catalog, name: Sequence[str], rest: list[str]) -> ASGIApp:
        repo, _ = _repo(catalog, name)
        snapshot, path = _snapshot(repo, rest)
        blob = snapshot.blobs.get("/".join(path))
        if blob is None:
            raise _no_entry(snapshot, path)
        return FileAnswer(blob, self._shelf.path(blob), snapshot.commit)


def _asks_by_post(request: Request, parts: Sequence[str]) -> bool:
    """The one question whose arguments are too long for a URL."""
    return request.method == "POST" and parts[:2] == ["api", "models"] and "paths-info" in parts[3:5]


async def _api(catalog: Catalog, request: Request, parts: list[str]) -> Response:
    if not parts:
        return JSONResponse(_search(catalog, request))
    repo, rest = _repo(catalog, parts)
    match rest:
        case []:
            return _info(repo, repo.main, request)
        case ["revision", *revision]:
            return _info(repo, _exactly(repo, revision), request)
        case ["tree", *place]:
            snapshot, path = _snapshot(repo, place)
            return _tree(snapshot, path, request)
        case ["paths-info", *revision]:
            snapshot = _exactly(repo, revision)
            return JSONResponse(answers.entries(snapshot, await _paths(request)))
        case ["refs"]:
            return JSONResponse(answers.refs(repo))
    return _error(404, "This endpoint does not know this question.")


def _search(catalog: Catalog, request: Request) -> list[answers.Json]:
    query = request.query_params
    text, author = query.get("search", "").lower(), query.get("author", "")
    found = [
        answers.model_info(repo, repo.main, siblings=query.get("full") == "true")
        for name, repo in catalog.repos.items()
        if text in name.lower() and (not author or name.startswith(f"{author}/"))
    ]
    tags = set(query.getlist("filter"))
    return [info for info in found if tags <= set(info["tags"])][: _number(query.get("limit"), len(found))]


def _info(repo: Repo, snapshot: Snapshot, request: Request) -> Response:
    blobs = request.query_params.get("blobs", "").lower() in ("1", "true")
    return JSONResponse(answers.model_info(repo, snapshot, blobs=blobs))


def _tree(snapshot: Snapshot, path: Sequence[str], request: Request) -> Response:
    folder, query = "/".join(path), request.query_params
    if folder not in snapshot.folders:
        raise _no_entry(snapshot, path)
    recursive = query.get("recursive", "").lower() in ("1", "true")
    limit = max(1, min(_number(query.get("limit"), PAGE), PAGE))
    after = _after(query.get("cursor", ""))
    paths = snapshot.listing(folder, recursive=recursive, after=after, limit=limit + 1)
    headers = {"X-Repo-Commit": str(snapshot.commit)}
    if len(paths) > limit:
        cursor = urlsafe_b64encode(paths[limit - 1].encode()).decode()
        headers["Link"] = f'<{_next(request, cursor)}>; rel="next"'
    return JSONResponse(answers.entries(snapshot, paths[:limit]), headers=headers)


def _next(request: Request, cursor: str) -> str:
    query = [(key, value) for key, value in request.query_params.multi_items() if key != "cursor"]
    path = request.scope["raw_path"].decode("latin-1")
    return f"{_origin(request)}{path}?{urlencode([*query, ('cursor', cursor)])}"


def _origin(request: Request) -> str:
    return f"{request.url.scheme}://{request.url.netloc}"


def _after(cursor: str) -> str:
    """The path that the last page ended with; anything else than our own cursor begins anew."""
    try:
        return urlsafe_b64decode(cursor).decode()
    except ValueError:
        return ""


def _number(text: str | None, default: int) -> int:
    return int(text) if text and text.isdecimal() and len(text) < 10 else default


async def _paths(request: Request) -> list[str]:
    """The paths asked about: huggingface_hub sends a form, other clients JSON."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise answers.TooLarge("The request is too large.")
    try:
        if request.headers.get("content-type", "").startswith("application/json"):
            paths = json.loads(body)["paths"]
        else:
            paths = parse_qs(body.decode())["paths"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return []
    return [path for path in paths if isinstance(path, str)] if isinstance(paths, list) else []


def _repo(catalog: Catalog, parts: Sequence[str]) -> tuple[Repo, Sequence[str]]:
    """The repository that the parts begin with, `ORG/NAME` or `NAME`, and the parts behind it."""
    for length in (2, 1):
        if repo := catalog.repos.get("/".join(parts[:length])):
            return repo, parts[length:]
    raise answers.RepoNotFound(f"No release holds the repository {'/'.join(parts[:2])!a}.")


def _snapshot(repo: Repo, parts: Sequence[str]) -> tuple[Snapshot, Sequence[str]]:
    """The snapshot of the revision that the parts begin with, and the parts behind it.

    A proxy may have decoded `refs%2Fpr%2F1`, so a revision may be several parts.
    """
    for length in range(1, len(parts) + 1):
        if snapshot := repo.find("/".join(parts[:length])):
            return snapshot, [part for part in "/".join(parts[length:]).split("/") if part]
    raise answers.RevisionNotFound(f"No release holds {repo.name} at the revision {''.join(parts[:1])!a}.")


def _exactly(repo: Repo, parts: Sequence[str]) -> Snapshot:
    snapshot, rest = _snapshot(repo, parts)
    if rest:
        raise answers.RevisionNotFound(f"No release holds {repo.name} at the revision {'/'.join(parts)!a}.")
    return snapshot


def _no_entry(snapshot: Snapshot, path: Sequence[str]) -> answers.EntryNotFound:
    message = f"{snapshot.repo} at {snapshot.commit} has no {'/'.join(path)!a} in the lock."
    return answers.EntryNotFound(message, commit=snapshot.commit)


def _refusal(error: answers.Refused) -> Response:
    named = {"X-Error-Code": error.code, "X-Repo-Commit": error.commit}
    headers = {"X-Error-Message": str(error)} | {key: value for key, value in named.items() if value}
    if isinstance(error, answers.NotAllowed):
        headers["Allow"] = ", ".join(_READS)
    return _error(error.status, str(error), headers)


def _error(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"error": message}, status, headers)
