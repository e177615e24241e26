"""`uvicorn provisioner.serve.app:app`: the same HTTP server where uvicorn is started by somebody else.

uvicorn then listens where it is told to, and ends by the signal; only `provision serve` has gRPC.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING, NoReturn

from provisioner.errors import ProvisionError, UsageError

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
        from provisioner.serve import offline
        from provisioner.serve.settings import parse

        settings = parse(os.environ)
        if settings.grpc_port is not None:
            raise UsageError("GRPC_PORT is set, and only `provision serve` has gRPC.", hint="Start that, or unset it.")
        offline.bound(os.environ, settings)
        from provisioner.serve import ending, logs, start
        from provisioner.serve.http.app import create_app
        from provisioner.serve.instruments import Instruments
        from provisioner.serve.local import LocalBackend

        logs.configure(json=settings.json_log)
        start.name_misspelt(os.environ)
        instruments = Instruments()
        self._backend = LocalBackend(settings.role, settings.limits, settings.wait, instruments)
        self._app = created = create_app(self._backend, settings, instruments)
        ending.drain_first(created.gate, self._backend, settings)
        threading.Thread(target=_load, args=(settings, self._backend), daemon=True).start()


def _load(settings: Settings, backend: LocalBackend) -> None:
    from provisioner.serve import logs, start

    try:
        start.load(settings, backend)
    except ProvisionError as error:
        _end(_sentence(error), error.exit_code)
    except BaseException as error:  # whatever it is: a server that never gets ready helps nobody
        _end("\n".join(logs.trace(error)), 1)
    start.say_ready(settings)


def _end(text: str, code: int) -> NoReturn:
    """Nothing was answered yet, and the server around knows no other way to end with an exit code of ours."""
    print(text, file=sys.stderr, flush=True)
    os._exit(code)


def _sentence(error: ProvisionError) -> str:
    return f"provision: {error}\n  {error.hint}".rstrip()


app = Application()
