"""The APIs for work: this server's own, OpenAI's, Text Embeddings Inference's and Onyx's."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import APIRouter, Response

from provisioner.serve.backend import Backend
from provisioner.serve.http.apis import native, onyx, openai, tei, tei_refusals
from provisioner.serve.refusals import Refused
from provisioner.serve.settings import Settings

Refusal = Callable[[Refused, str], Response]
_FOLDERS: dict[str, Refusal] = {
    "v1": openai.refusal,
    "encoder": onyx.refusal,
    "custom": onyx.refusal,
    "api": onyx.refusal,
    "": tei_refusals.refusal,
    "info": tei_refusals.refusal,
    "similarity": tei_refusals.refusal,
}


def routers(backend: Backend, settings: Settings) -> tuple[APIRouter, ...]:
    """One of each API."""
    return tuple(api.router(backend, settings) for api in (native, openai, tei, onyx))


def refusal(path: str) -> Refusal:
    """What makes an answer of a refusal and the request's id, for the clients who ask at this path."""
    return _FOLDERS.get(path.split("/")[1] if "/" in path else path, native.refusal)
