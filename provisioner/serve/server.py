"""The server as a process: one event loop for HTTP and gRPC, the models loaded beside it, SIGTERM drained."""

from __future__ import annotations

import asyncio
import errno
import logging
import math
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import uvicorn
import uvloop

from provisioner import __version__
from provisioner.errors import ProvisionError, UsageError
from provisioner.serve import logs, start
from provisioner.serve.ending import LAST_ANSWERS_S, LOADING, leave_if_computing
from provisioner.serve.http.app import Application, create_app
from provisioner.serve.http.protocol import bounded
from provisioner.serve.instruments import Instruments
from provisioner.serve.local import LocalBackend
from provisioner.serve.logs import fields
from provisioner.serve.settings import EVERYWHERE, Settings

if TYPE_CHECKING:
    from provisioner.serve.grpc.running import Running

log = logging.getLogger(__name__)

# Clients and proxies keep connections for a minute; a request on one that is just closing would be lost.
_KEEP_ALIVE_S = 75


class _Http(uvicorn.Server):
    """uvicorn, which leaves signals to us: it stops listening at once, and raises the signal again at the end."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Nothing."""
        yield


class Server:
    """One run of the server.

    Attributes:
        failure: why it ended by itself, or None.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._instruments = Instruments()
        self._backend = LocalBackend(settings.role, settings.limits, settings.wait, self._instruments)
        self._app = create_app(self._backend, settings, self._instruments)
        self._http = _Http(_config(self._app, settings))
        self._grpc: Running | None = None
        self._signals = 0
        self.failure: BaseException | None = None

    async def run(self, listener: socket.socket) -> None:
        """Serve until SIGTERM or SIGINT, or until the start fails."""
        loop = asyncio.get_running_loop()
        self._ending = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled)
        await self._start_grpc()
        serving = asyncio.create_task(self._http.serve(sockets=[listener]))
        serving.add_done_callback(lambda _: self._ending.set())  # if it ends by itself, everything does
        threading.Thread(target=self._load, args=(loop,), name=LOADING, daemon=True).start()
        await self._ending.wait()
        if self.failure is None:
            await self._drain()
        self._http.should_exit = True
        refusing = asyncio.create_task(self._refuse_the_rest(self._settings.drain))
        await serving
        refusing.cancel()
        await self._backend.close()

    def _load(self, loop: asyncio.AbstractEventLoop) -> None:
        """In a thread, so that `/health` answers meanwhile."""
        try:
            start.load(self._settings, self._backend)
        except BaseException as error:  # whatever it is, the process ends with it
            loop.call_soon_threadsafe(self._failed, error)
        else:
            loop.call_soon_threadsafe(self._loaded)

    def _loaded(self) -> None:
        if self._ending.is_set():
            return
        if self._grpc:
            self._grpc.set_ready(True)
        start.say_ready(self._settings)

    def _failed(self, error: BaseException) -> None:
        self.failure = error
        known = isinstance(error, ProvisionError)
        self._backend.failed(str(error) if known else "The start failed.")
        code = error.exit_code if isinstance(error, ProvisionError) else 1
        log.error(str(error) if known else "the start failed", extra=fields(event="failed", exit_code=code))
        self._ending.set()

    def _signalled(self) -> None:
        """The first signal drains, a second one refuses what is still at work."""
        self._signals += 1
        if self._signals == 2:
            self._hurry = asyncio.ensure_future(self._refuse_the_rest(0))  # kept, or the loop forgets it
            if self._grpc:
                self._grpc_hurry = asyncio.ensure_future(self._grpc.stop(0))
        self._ending.set()

    async def _refuse_the_rest(self, seconds: float) -> None:
        """After so many seconds: what waits gets its 503, and what is left after that is cut off."""
        await asyncio.sleep(seconds)
        await self._backend.close()
        await asyncio.sleep(LAST_ANSWERS_S)
        self._http.force_exit = True

    async def _drain(self) -> None:
        """Say that the server is ending while connections are still taken: whoever sends requests here learns of it a
        little later, and none of theirs is lost."""
        log.info("draining", extra=fields(event="draining", seconds=self._settings.drain_delay))
        self._app.gate.drain()
        if self._grpc:
            self._grpc.set_ready(False)
        until = time.monotonic() + self._settings.drain_delay
        while time.monotonic() < until and self._signals < 2:
            await asyncio.sleep(min(0.1, self._settings.drain_delay))
        self._http.should_exit = True
        if self._grpc:
            await self._grpc.stop(self._settings.drain)

    def leave(self) -> None:
        """Once everything has ended that can."""
        leave_if_computing(self._app.tracing)

    async def _start_grpc(self) -> None:
        if self._settings.grpc_port is not None:
            from provisioner.serve.grpc.server import start as start_grpc

            self._grpc = await start_grpc(
                self._backend, self._settings, self._instruments, self._app.gate, self._app.tracing
            )
            address = f"{self._settings.host}:{self._grpc.port}"
            log.info("listening", extra=fields(event="listening_grpc", address=address))


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises whatever the start failed with (NotFound, VerificationFailed, InvalidInput, MissingExtra), and UsageError
    where the address cannot be taken.
    """
    logs.configure(json=settings.json_log)
    start.name_misspelt(os.environ)
    server = Server(settings)
    with _listen(settings.host, settings.port) as listener:
        log.info("listening", extra=fields(event="listening", url=_url(settings.host, listener), version=__version__))
        uvloop.run(server.run(listener))
    if server.failure is not None:
        raise server.failure
    log.info("ended", extra=fields(event="ended"))
    server.leave()


def _config(app: Application, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=bounded(settings.limits.body_seconds, app.instruments),
        lifespan="off",
        ws="none",
        access_log=False,
        proxy_headers=False,  # whoever can connect from this host could write any text as their address
        log_config=None,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=math.ceil(settings.drain) + 2 * LAST_ANSWERS_S,
    )


def _listen(host: str, port: int) -> socket.socket:
    both = host == EVERYWHERE and socket.has_dualstack_ipv6()
    place = "0.0.0.0" if host == EVERYWHERE and not both else host
    family = socket.AF_INET6 if ":" in place else socket.AF_INET
    try:
        return socket.create_server((place, port), family=family, backlog=2048, dualstack_ipv6=both)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UsageError(f"{_bracketed(host)}:{port} is in use.", hint="Choose another --port.") from None
        raise UsageError(
            f"Cannot listen on {_bracketed(host)}:{port}: {error.strerror}.", hint="Check --host and --port."
        ) from None


def _url(host: str, listener: socket.socket) -> str:
    return f"http://{_bracketed(host)}:{listener.getsockname()[1]}"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
