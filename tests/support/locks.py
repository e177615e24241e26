"""Locked models whose bytes are known, and sources that hold them in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from provisioner import lockfile
from provisioner.errors import NotFound
from provisioner.layout import tree_of
from provisioner.model import Digest, Layout, Lock, LockedFile, Tree
from provisioner.ops.documents import LockDocument
from tests.support.hub_fixture import Made, make

SMALL = {
    "config.json": b'{"hidden_size": 4}',
    "model.safetensors": bytes(range(256)) * 40,
    "tokenizer.json": b'{"version": "1.0"}',
}


def small(repo: str = "org/small", **changed: bytes) -> Made:
    """A model of three files; keywords replace a file's bytes (`tokenizer=b"..."`)."""
    content = dict(SMALL)
    for name, data in changed.items():
        (path,) = (path for path in content if path.startswith(name))
        content[path] = data
    return make(repo, content, salt=hashlib.sha256(repr(sorted(content.items())).encode()).hexdigest())


def lock_of(*made: Made) -> Lock:
    return Lock(tuple(sorted((one.model for one in made), key=lambda model: model.repo.lower())))


def document(*made: Made) -> LockDocument:
    """The lock of some models as a transfer wants it."""
    text = lockfile.dump(lock_of(*made))
    return LockDocument(lockfile.parse(text), text)


def write(folder: Path, *made: Made) -> Path:
    """The lock of some models as a file."""
    path = folder / "models.lock"
    path.write_bytes(document(*made).text)
    return path


def tree(*made: Made) -> Tree:
    return tree_of(lock_of(*made))


def snapshot(made: Made, path: str, root: str = "hub") -> str:
    """Where a file is inside a release, in the hub layout."""
    return f"{root}/{made.model.repo.cache_folder}/snapshots/{made.model.commit}/{path}"


def with_layouts(made: Made, *layouts: Layout) -> Made:
    return make(made.model.repo, made.content, layouts=layouts)


class MemorySource:
    """Bytes by digest; `asked` says for which files, with their ranges."""

    is_remote = False

    def __init__(self, *made: Made, name: str = "memory") -> None:
        self.name = name
        self.content = {Digest(hashlib.sha256(data).hexdigest()): data for one in made for data in one.content.values()}
        self.asked: list[tuple[str, int, int]] = []

    def has(self, file: LockedFile) -> bool:
        return file.file.sha256 in self.content

    @contextmanager
    def open(self, file: LockedFile, start: int, stop: int) -> Iterator[_Bytes]:
        if file.file.sha256 not in self.content:
            raise NotFound(f"{self.name} does not hold {file.file.path}.")
        self.asked.append((str(file.file.path), start, stop))
        yield _Bytes(self.content[file.file.sha256][start:stop])


class _Bytes:
    def __init__(self, data: bytes) -> None:
        self._left = memoryview(data)

    def readinto(self, buffer: memoryview, /) -> int:
        count = min(len(buffer), len(self._left))
        buffer[:count] = self._left[:count]
        self._left = self._left[count:]
        return count
