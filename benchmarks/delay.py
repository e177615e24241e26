"""A round trip on loopback, without privileges: a TCP relay that holds every byte for half of it in each direction.

`tc netem` is the usual way, but it needs root and a kernel module that small kernels lack. The handshake is delayed
too (a new connection's first bytes leave one round trip later); slow start and loss are not imitated.

Run as a script: `python delay.py PORT UPSTREAM_PORT ROUND_TRIP_SECONDS`.
"""

from __future__ import annotations

import contextlib
import heapq
import select
import socket
import sys
import time
from collections import deque
from collections.abc import Callable
from itertools import count

WINDOW = 8 * 2**20  # bytes one direction may hold, like a TCP window: 8 MiB in 10 ms is 800 MB/s per connection
CHUNK = 2**18


class Loop:
    """Readiness and timers of one thread."""

    def __init__(self) -> None:
        self.epoll = select.epoll()
        self.handlers: dict[int, Callable[[int], None]] = {}
        self.timers: list[tuple[float, int, Callable[[], None]]] = []
        self.order = count()

    def watch(self, sock: socket.socket, handler: Callable[[int], None], events: int) -> None:
        self.handlers[sock.fileno()] = handler
        self.epoll.register(sock, events)

    def at(self, when: float, call: Callable[[], None]) -> None:
        heapq.heappush(self.timers, (when, next(self.order), call))

    def run(self) -> None:
        while True:
            timeout = max(0.0, self.timers[0][0] - time.monotonic()) if self.timers else -1
            for fd, events in self.epoll.poll(timeout):
                if handler := self.handlers.get(fd):
                    handler(events)
            while self.timers and self.timers[0][0] <= time.monotonic():
                heapq.heappop(self.timers)[2]()


class Lane:
    """One direction of a connection: chunks wait until they are due."""

    def __init__(self, loop: Loop, source: socket.socket, sink: socket.socket, delay: float, start: float) -> None:
        self.loop, self.source, self.sink, self.delay, self.start = loop, source, sink, delay, start
        self.waiting: deque[tuple[float, memoryview]] = deque()
        self.held = 0
        self.ended = self.done = False
        self.on_done: Callable[[], None] = lambda: None

    def fill(self) -> None:
        """Take what the source has; it is due one delay later. No bytes: the end."""
        while not self.ended and self.held < WINDOW:
            try:
                chunk = self.source.recv(CHUNK)
            except BlockingIOError:
                return
            except OSError:
                chunk = b""
            due = max(time.monotonic(), self.start) + self.delay
            self.ended = not chunk
            self.held += len(chunk)
            self.waiting.append((due, memoryview(chunk)))
            self.loop.at(due, self.drain)

    def drain(self) -> None:
        """Send what is due, then take more, since there is room again."""
        while not self.done and self.waiting and self.waiting[0][0] <= time.monotonic():
            due, chunk = self.waiting.popleft()
            if not chunk:
                return self.finish()
            try:
                sent = self.sink.send(chunk)
            except BlockingIOError:
                sent = 0
            except OSError:
                return self.finish()
            self.held -= sent
            if sent < len(chunk):  # the sink is full; its EPOLLOUT comes back here
                self.waiting.appendleft((due, chunk[sent:]))
                break
        return self.fill()

    def finish(self) -> None:
        if not self.done:
            self.done = self.ended = True
            with contextlib.suppress(OSError):
                self.sink.shutdown(socket.SHUT_WR)
            self.on_done()


class Link:
    """A client's connection and its twin to the server."""

    def __init__(self, loop: Loop, client: socket.socket, upstream: int, delay: float) -> None:
        server = socket.create_connection(("127.0.0.1", upstream))
        self.loop, self.sockets = loop, (client, server)
        begin = time.monotonic() + 2 * delay  # SYN and SYN-ACK
        there, back = Lane(loop, client, server, delay, begin), Lane(loop, server, client, delay, begin)
        self.lanes = (there, back)
        for sock, outgoing, incoming in ((client, there, back), (server, back, there)):
            outgoing.on_done = self.close_when_done
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            events = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET
            loop.watch(sock, self.handler(outgoing, incoming), events)

    def handler(self, outgoing: Lane, incoming: Lane) -> Callable[[int], None]:
        def handle(events: int) -> None:
            if events & ~select.EPOLLOUT:
                outgoing.fill()
            if events & select.EPOLLOUT:
                incoming.drain()
            if events & (select.EPOLLERR | select.EPOLLHUP):
                incoming.finish()

        return handle

    def close_when_done(self) -> None:
        if all(lane.done for lane in self.lanes) and self.sockets[0].fileno() >= 0:
            for sock in self.sockets:
                self.loop.handlers.pop(sock.fileno())
                sock.close()


def main() -> None:
    port, upstream, round_trip = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    loop, listener = Loop(), socket.create_server(("127.0.0.1", port), backlog=512)
    listener.setblocking(False)

    def accept(_events: int) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                Link(loop, listener.accept()[0], upstream, round_trip / 2)

    loop.watch(listener, accept, select.EPOLLIN)
    loop.run()


if __name__ == "__main__":
    main()
