"""Random locks: executing a plan leaves nothing to do, and a store that verifies."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from provisioner import lockfile
from provisioner.layout import tree_of
from provisioner.model import Layout, Lock, RelPath, Tree, collisions
from provisioner.ops.transfer import prepare
from provisioner.ports.store import Modes
from tests.support.hub_fixture import Made, make
from tests.support.locks import MemorySource, document, lock_of, tree
from tests.support.stores import DirectoryBackend, findings, transfer

SEGMENTS = st.sampled_from(["a", "b", "config.json", "onnx", "model.onnx", "with space", "ünïcode", ".hidden"])
PATHS = st.lists(SEGMENTS, min_size=1, max_size=4).map("/".join)
BYTES = st.one_of(st.just(b""), st.binary(max_size=40), st.sampled_from([b"same", b"x" * 5000]))
LAYOUTS = st.sets(st.sampled_from(list(Layout)), min_size=1).map(lambda found: tuple(x for x in Layout if x in found))


def possible(content: dict[str, bytes]) -> bool:
    return not collisions(tuple(RelPath(path) for path in content))


CONTENT = st.dictionaries(PATHS, BYTES, min_size=1, max_size=6).filter(possible)


@st.composite
def models(draw: st.DrawFn) -> tuple[Made, ...]:
    names = draw(st.sets(st.sampled_from(["org/one", "org/two", "single"]), min_size=1))
    return tuple(
        make(name, draw(CONTENT), layouts=draw(LAYOUTS), revision=draw(st.sampled_from(["main", "v1.0", "refs/pr/3"])))
        for name in sorted(names)
    )


@given(models(), models())
@settings(max_examples=25, deadline=None)
def test_executing_a_plan_leaves_an_empty_plan_and_a_whole_store(
    first: tuple[Made, ...], second: tuple[Made, ...]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        backend = DirectoryBackend(Path(folder, "store"))
        for made in (first, second, first):
            source = MemorySource(*made)
            run = transfer(document(*made), backend.open(), source)
            work = prepare(document(*made), backend.open())
            assert work.is_empty
            assert (work.bytes_to_move, work.bytes_needed, work.bytes_shared) == (0, 0, 0)
            assert findings(backend.open(), run.report.release) == {}
            assert run.report.release == tree(*made).release_id
            assert backend.unfinished() == []
        assert set(backend.open().releases()) == {tree(*first).release_id, tree(*second).release_id}


@given(models(), st.integers(0, 6), st.sampled_from([Modes(), Modes(0o600, 0o700)]))
@settings(max_examples=25, deadline=None)
def test_a_transfer_that_stops_anywhere_can_be_continued(made: tuple[Made, ...], stop: int, modes: Modes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        backend = DirectoryBackend(Path(folder, "store"))
        partly = MemorySource(*made)
        for digest in list(partly.content)[stop:]:
            del partly.content[digest]
        try:
            transfer(document(*made), backend.open(), partly, jobs=1)
        except Exception:
            assert backend.open().releases() == ()
        rest = MemorySource(*made)
        run = transfer(document(*made), backend.open(modes), rest)
        assert findings(backend.open(), tree(*made).release_id) == {}
        assert backend.unfinished() == []
        assert run.report.release == tree(*made).release_id


@given(models(), st.randoms(use_true_random=False))
@settings(max_examples=60)
def test_a_tree_does_not_depend_on_the_order_of_anything(made: tuple[Made, ...], chance: random.Random) -> None:
    lock = lock_of(*made)
    expected = tree_of(lock)
    entries = list(expected.entries)
    chance.shuffle(entries)
    assert Tree.of(entries) == expected
    assert Tree.of(entries).digest == expected.digest
    shuffled = list(lock.models)
    chance.shuffle(shuffled)
    assert tree_of(Lock(tuple(shuffled))).digest == expected.digest
    assert lockfile.dump(Lock(tuple(shuffled))) == lockfile.dump(lock)
    assert tree_of(lockfile.parse(lockfile.dump(lock))).digest == expected.digest


@given(models())
@settings(max_examples=60)
def test_another_byte_is_another_release(made: tuple[Made, ...]) -> None:
    first = made[0]
    path = next(iter(first.content))
    other = make(first.model.repo, first.content | {path: first.content[path] + b"!"}, layouts=first.model.layouts)
    same = make(first.model.repo, first.content, layouts=first.model.layouts)
    assert tree(other).release_id != tree(same).release_id
