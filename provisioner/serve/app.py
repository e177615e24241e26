"""`uvicorn provisioner.serve.app:app`: the same server where uvicorn is started by somebody else.

uvicorn then listens, and stops at SIGTERM at once: `provision serve` drains.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING, NoReturn

from provisioner.errors import ProvisionError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from provisioner.serve.local import LocalBackend
    from provisioner.serve.settings import Settings


class Application:
    """Built from the environment when the server around it starts, so that importing it does nothing."""

    def __init__(self) -> None:
        self._app: ASGIApp | None = None
        self._backend: LocalBackend | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Start and end with the server around; answer requests."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif self._app is not None:
            await self._app(scope, receive, send)
        else:
            raise RuntimeError("this application starts with the ASGI lifespan: do not switch it off")

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            self._start()
        except ProvisionError as error:
            await send({"type": "lifespan.startup.failed", "message": _sentence(error)})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        if self._backend is not None:
            await self._backend.close()
        await send({"type": "lifespan.shutdown.complete"})

    def _start(self) -> None:
        from provisioner.serve import logs
        from provisioner.serve.http.app import create_app
        from provisioner.serve.instruments import Instruments
        from provisioner.serve.local import LocalBackend
        from provisioner.serve.settings import parse

        settings = parse(os.environ)
        logs.configure(json=settings.json_log)
        instruments = Instruments()
        self._backend = LocalBackend(settings.role, settings.limits, settings.wait, instruments)
        self._app = create_app(self._backend, settings, instruments)
        threading.Thread(target=_load, args=(settings, self._backend), daemon=True).start()


def _load(settings: Settings, backend: LocalBackend) -> None:
    from provisioner.serve import start

    try:
        start.load(settings, backend)
    except ProvisionError as error:
        _end(error)


def _end(error: ProvisionError) -> NoReturn:
    """Nothing was answered yet, and the server around knows no other way to end with an exit code of ours."""
    print(_sentence(error), file=sys.stderr, flush=True)
    os._exit(error.exit_code)


def _sentence(error: ProvisionError) -> str:
    return f"provision: {error}\n  {error.hint}".rstrip()


app = Application()
