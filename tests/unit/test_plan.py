"""From a tree and what was observed to a plan."""

from __future__ import annotations

from provisioner.model import Digest, TreeEntry
from provisioner.plan import Generate, Move, Share, plan
from provisioner.ports.store import Capabilities, Held, Observed
from tests.support.hub_fixture import make
from tests.support.locks import small, tree

LINKS = Capabilities(True, True, 1000)
NO_LINKS = Capabilities(False, False, None)
MADE = small()
TREE = tree(MADE)
LOCKED = {e.path.name: e for e in TREE.entries if e.origin}
SIZE = sum(len(data) for data in MADE.content.values())
GENERATED = sum(e.size for e in TREE.entries if e.origin is None)


def observed(
    *held: Held, partial: dict[Digest, int] | None = None, can: Capabilities = LINKS, published: bool = False
) -> Observed:
    return Observed(published, (), {one.digest: one for one in held}, partial or {}, can)


def held(entry: TreeEntry, *, movable: bool = False) -> Held:
    return Held(entry.sha256, entry.size, f"releases/x/{entry.path}", movable)


def test_an_empty_store_gets_everything_largest_first() -> None:
    work = plan(TREE, observed())
    sizes = [action.entries[0].size for action in work.actions]
    assert sizes == sorted(sizes, reverse=True)
    assert (work.files_to_move, work.bytes_to_move) == (3, SIZE)
    assert work.bytes_needed == SIZE + GENERATED
    assert {e for action in work.actions for e in action.entries} == set(TREE.entries)
    assert work.free == 1000


def test_a_published_release_is_no_work() -> None:
    work = plan(TREE, observed(published=True))
    assert work.is_empty
    assert work.bytes_needed == 0


def test_what_the_store_has_is_shared_and_takes_no_room_where_it_can_be_linked() -> None:
    work = plan(TREE, observed(held(LOCKED["model.safetensors"])))
    (share,) = (action for action in work.actions if isinstance(action, Share))
    assert share.entries == (LOCKED["model.safetensors"],)
    size = LOCKED["model.safetensors"].size
    assert (work.bytes_shared, work.bytes_to_move) == (size, SIZE - size)
    assert work.bytes_needed == SIZE - size + GENERATED
    copied = plan(TREE, observed(held(LOCKED["model.safetensors"]), can=NO_LINKS))
    assert copied.bytes_needed == SIZE + GENERATED


def test_what_an_interrupted_run_verified_is_moved_over_without_room() -> None:
    work = plan(TREE, observed(held(LOCKED["model.safetensors"], movable=True), can=NO_LINKS))
    size = LOCKED["model.safetensors"].size
    assert (work.bytes_resumed, work.bytes_shared, work.bytes_to_move) == (size, 0, SIZE - size)
    assert work.bytes_needed == SIZE - size + GENERATED


def test_what_an_interrupted_run_left_of_a_file_is_not_moved_again() -> None:
    weights = LOCKED["model.safetensors"]
    work = plan(TREE, observed(partial={weights.sha256: 1000}))
    assert (work.bytes_to_move, work.bytes_resumed) == (SIZE - 1000, 1000)
    assert work.bytes_needed == SIZE - 1000 + GENERATED


def test_equal_contents_are_one_action() -> None:
    twins = tree(make("org/twins", {"a.bin": b"1234", "b.bin": b"1234", "c.bin": b""}))
    for can, room in ((LINKS, 4), (NO_LINKS, 8)):
        work = plan(twins, observed(can=can))
        (move,) = (action for action in work.actions if isinstance(action, Move) and action.entries[0].size)
        assert [e.path.name for e in move.entries] == ["a.bin", "b.bin"]
        generated = sum(e.size for e in twins.entries if e.origin is None)
        assert work.bytes_needed == room + generated
        assert work.bytes_to_move == 4


def test_a_locked_file_that_equals_a_generated_one_is_generated() -> None:
    commit = make("org/same", {"x": b""}).model.commit
    made = make("org/same", {"copy-of-refs-main": commit.encode()})
    assert made.model.commit == commit
    (action,) = (a for a in plan(tree(made), observed()).actions if len(a.entries) == 2)
    assert isinstance(action, Generate)
    assert {e.path.name for e in action.entries} == {"main", "copy-of-refs-main"}
