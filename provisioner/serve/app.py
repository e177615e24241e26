"""`uvicorn provisioner.serve.app:app`: the same HTTP server where uvicorn is started by somebody else.

uvicorn then listens where it is told to, and ends by the signal. Only `provision serve` has gRPC.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import sys
import threading
from typing import TYPE_CHECKING, NoReturn

from provisioner.errors import ProvisionError, UsageError
from provisioner.serve import extra, logs

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from provisioner.serve.ending import Ending
    from provisioner.serve.http import app as http
    from provisioner.serve.local import LocalBackend
    from provisioner.serve.settings import Settings

_WORKER_FAILED = 3  # of `uvicorn --workers`: it starts one that ends with another code again, without end


class Application:
    """Built from the environment when the server around it starts, so that importing it does nothing."""

    def __init__(self) -> None:
        self._app: http.Application | None = None
        self._backend: LocalBackend | None = None
        self._ending: Ending | None = None

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
        except Exception as error:  # uvicorn would go on without the application, or make its own 3 of every code
            _fail(error)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._stop()
        await send({"type": "lifespan.shutdown.complete"})

    def _start(self) -> None:
        from provisioner.serve import offline
        from provisioner.serve.settings import parse, with_options

        settings = parse(with_options(os.environ))
        if settings.grpc_port is not None:
            raise UsageError("GRPC_PORT is set, and only `provision serve` has gRPC.", hint="Start that, or unset it.")
        offline.bound(os.environ, settings)
        self._build(settings)

    def _build(self, settings: Settings) -> None:
        from provisioner.serve import start
        from provisioner.serve.ending import LOADING, Ending, at_exit, await_computing
        from provisioner.serve.http.app import create_app
        from provisioner.serve.instruments import Instruments
        from provisioner.serve.local import LocalBackend

        logs.configure(json=settings.json_log)
        start.name_misspelt(os.environ)
        instruments = Instruments()
        self._backend = backend = LocalBackend(settings.role, settings.limits, settings.wait, instruments)
        self._app = app = create_app(backend, settings, instruments)
        self._ending = ending = Ending(app.gate, backend, app.tracing, settings)
        ending.watch()
        at_exit(await_computing, backend)
        threading.Thread(target=_load, args=(settings, ending, backend), name=LOADING, daemon=True).start()

    async def _stop(self) -> None:
        if self._ending is not None:
            self._ending.over()
        if self._backend is not None:
            await self._backend.close()
        if self._app is not None and self._app.tracing:
            await asyncio.to_thread(self._app.tracing.close)


def _load(settings: Settings, ending: Ending, backend: LocalBackend) -> None:
    from provisioner.serve import start

    try:
        start.load(settings, backend)
    except BaseException as error:  # whatever it is: a server that never gets ready helps nobody
        if ending.done:
            return
        _fail(error)
    if not (ending.begun or ending.done):
        start.say_ready(settings)


def _fail(error: BaseException) -> NoReturn:
    """Nothing was answered yet, and the server around knows no other way to end with an exit code of ours."""
    if isinstance(error, ImportError):
        error = extra.missing(error) or error
    if isinstance(error, ProvisionError):
        text, code = _sentence(error), error.exit_code
    else:
        text, code = "\n".join(logs.trace(error)), 1
    print(text, file=sys.stderr, flush=True)
    os._exit(_WORKER_FAILED if multiprocessing.parent_process() else code)


def _sentence(error: ProvisionError) -> str:
    return f"provision: {error}\n  {error.hint}".rstrip()


app = Application()
