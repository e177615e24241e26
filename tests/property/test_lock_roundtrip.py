"""Any lock survives being written and read, always as the same bytes."""

from __future__ import annotations

import string
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from provisioner import lockfile
from provisioner.errors import InvalidDocument
from provisioner.model import (
    Commit,
    Digest,
    FileEntry,
    GitSha1,
    Layout,
    Lock,
    Model,
    RelPath,
    RepoId,
    Revision,
    collisions,
)


def hexes(length: int, kind: Any) -> st.SearchStrategy[Any]:
    return st.text("0123456789abcdef", min_size=length, max_size=length).map(kind)


def accepted(kind: Any, texts: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    """The texts that a validated name accepts."""

    def valid(text: str) -> bool:
        try:
            kind(text)
        except ValueError:
            return False
        return True

    return texts.filter(valid).map(kind)


_NAME = st.text(string.ascii_letters + string.digits + "_-. 'é[]#=", min_size=1, max_size=12)
PATHS = accepted(RelPath, st.lists(_NAME, min_size=1, max_size=4).map("/".join))
_PART = st.text(string.ascii_letters + "09_-.", min_size=1, max_size=9)
REPOS = accepted(RepoId, st.lists(_PART, min_size=1, max_size=2).map("/".join))
REVISIONS = accepted(Revision, st.text(string.ascii_letters + "09_-./", min_size=1, max_size=9))
GLOBS = st.lists(st.text(min_size=1, max_size=9).filter(str.isprintable), max_size=3, unique=True).map(tuple)
FILES = st.builds(FileEntry, PATHS, st.integers(0, 2**53), hexes(64, Digest), st.none() | hexes(40, GitSha1))


def _tidy(files: list[FileEntry]) -> tuple[FileEntry, ...]:
    taken: list[FileEntry] = []
    for file in files:
        if not collisions(tuple(one.path for one in (*taken, file))):
            taken.append(file)
    return tuple(sorted(taken, key=lambda file: file.path.encode()))


MODELS = st.builds(
    Model,
    repo=REPOS,
    revision=REVISIONS,
    commit=hexes(40, Commit),
    layouts=st.sets(st.sampled_from([one for one in Layout if one is not Layout.FLAT]), min_size=1).map(
        lambda chosen: tuple(layout for layout in Layout if layout in chosen)
    ),
    files=st.lists(FILES, min_size=1, max_size=5).map(_tidy),
    include=GLOBS,
    exclude=GLOBS,
    license=st.none() | st.text(max_size=20).filter(lambda text: "\r" not in text),
    allow_pickle=st.booleans(),
    allow_remote_code=st.booleans(),
)
LOCKS = st.lists(MODELS, max_size=3, unique_by=lambda model: model.repo.lower()).map(
    lambda models: Lock(tuple(sorted(models, key=lambda model: model.repo.lower())))
)


@settings(max_examples=30)
@given(LOCKS)
def test_what_is_written_is_what_is_read(lock: Lock) -> None:
    text = lockfile.dump(lock)
    assert lockfile.parse(text) == lock
    assert lockfile.dump(lockfile.parse(text)) == text


@settings(max_examples=30)
@given(LOCKS, st.randoms())
def test_the_order_of_models_and_files_does_not_matter(lock: Lock, random: Any) -> None:
    from dataclasses import replace

    models = [replace(model, files=tuple(random.sample(model.files, len(model.files)))) for model in lock.models]
    random.shuffle(models)
    assert lockfile.dump(Lock(tuple(models))) == lockfile.dump(lock)


@settings(max_examples=30)
@given(LOCKS, LOCKS)
def test_a_diff_is_empty_exactly_when_nothing_changed(before: Lock, after: Lock) -> None:
    assert (lockfile.diff(before, after) == ()) == (before == after)
    assert lockfile.diff(after, after) == ()


@settings(max_examples=30)
@given(LOCKS, st.data())
def test_a_damaged_lock_is_read_as_another_lock_or_refused_but_never_breaks(lock: Lock, data: st.DataObject) -> None:
    text = bytearray(lockfile.dump(lock))
    text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    try:
        lockfile.parse(bytes(text))
    except InvalidDocument as error:
        assert error.problems
