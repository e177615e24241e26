"""Connection pools for many threads."""

from __future__ import annotations

from collections import deque
from queue import Empty, Full
from typing import Any

import urllib3


class Stack:
    """What urllib3 needs of a LifoQueue, without its locks.

    The steps of a deque are atomic. Thirty threads that take and return a connection for every small file wait for the
    queue's lock a quarter of their time.
    """

    def __init__(self, maxsize: int) -> None:
        self._maxsize = maxsize
        self._items: deque[Any] = deque()

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Keep a connection. Raises Full."""
        if len(self._items) >= self._maxsize:
            raise Full
        self._items.append(item)

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """The connection that was used last. Raises Empty."""
        try:
            return self._items.pop()
        except IndexError:
            raise Empty from None

    def qsize(self) -> int:
        """How many connections there are."""
        return len(self._items)


class HTTPPool(urllib3.HTTPConnectionPool):
    """Connections to one host."""

    QueueCls = Stack  # type: ignore[assignment]  # urllib3 asks no more of it


class HTTPSPool(urllib3.HTTPSConnectionPool):
    """Connections to one host, with TLS."""

    QueueCls = Stack  # type: ignore[assignment]  # urllib3 asks no more of it


CLASSES = {"http": HTTPPool, "https": HTTPSPool}
