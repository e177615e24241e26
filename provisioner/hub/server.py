"""Running the endpoint: for good, or while a block of code needs it."""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from provisioner.errors import MissingExtra, UsageError
from provisioner.hub.shelf import CHECK_EVERY, Served, Shelf

if TYPE_CHECKING:
    from uvicorn import Server

# Clients keep connections for longer than uvicorn's 5 s, and a request on one that is just closing fails.
_KEEP_ALIVE_S = 75
_STOP_S = 30


def serve(store: Served, host: str, port: int, announce: Callable[[str], None] = lambda url: None) -> None:
    """Serve until SIGINT or SIGTERM; running downloads get 10 s to end.

    `announce` is told the URL once connections are accepted; port 0 takes a free one. Returns after SIGINT, and after
    SIGTERM where the process turns that into KeyboardInterrupt.
    Raises MissingExtra, and UsageError where the address cannot be taken.
    """
    server = _server(store, CHECK_EVERY, grace=10)
    # uvicorn raises the signal again once it has stopped.
    with _listen(host, port) as listener, suppress(KeyboardInterrupt):
        announce(_url(host, listener))
        server.run(sockets=[listener])


@contextmanager
def running(store: Served, host: str = "127.0.0.1", port: int = 0, check_every: float = CHECK_EVERY) -> Iterator[str]:
    """The endpoint in a thread of its own, as its URL.

    `check_every` is how many seconds a new release may stay unnoticed. Raises as `serve` does.
    """
    server = _server(store, check_every, grace=1)
    with _listen(host, port) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="hub", daemon=True)
        thread.start()
        try:
            yield _url(host, listener)  # connections wait in the listener's queue until the thread is there
        finally:
            server.should_exit = True
            thread.join(_STOP_S)


def _server(store: Served, check_every: float, grace: int) -> Server:
    try:
        import uvicorn

        from provisioner.hub.accesslog import AccessLog
        from provisioner.hub.app import Hub
    except ImportError:
        raise MissingExtra("The Hub endpoint", "hub") from None
    shelf = Shelf(store, check_every)
    shelf.refresh()
    config = uvicorn.Config(
        AccessLog(Hub(shelf)),
        lifespan="off",
        ws="none",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=grace,
    )
    return uvicorn.Server(config)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UsageError(f"{host}:{port} is in use.", hint="Choose another --port.") from None
        raise UsageError(f"Cannot listen on {host}:{port}: {error.strerror}.", hint="Check --host.") from None
    # asyncio does this only for sockets that say IPPROTO_TCP, which these do not, and headers and body are two
    # writes: every small file would wait 40 ms for a delayed acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _url(host: str, listener: socket.socket) -> str:
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{listener.getsockname()[1]}"
