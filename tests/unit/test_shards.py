"""A plan shared out over several processes, and the line that says how each ended."""

from __future__ import annotations

import json
from typing import Any

import pytest

from provisioner.model import Layout
from provisioner.plan import Generate, Move, plan
from provisioner.plan.shards import Shard, contents, part_of, split
from provisioner.ports.store import Capabilities, Held, Observed
from provisioner.render.summary import LIMIT, line
from tests.support.hub_fixture import make
from tests.support.locks import tree

SIZES = {"a": 9, "b": 7, "c": 6, "d": 5, "e": 5, "f": 4}
TREE = tree(make("org/sized", {name: name.encode() * size for name, size in SIZES.items()}))
NAMES = {entry.sha256: entry.path.name for entry in TREE.entries if entry.origin}
DIGESTS = {name: digest for digest, name in NAMES.items()}


def observed(*held: str, partial: dict[str, int] | None = None) -> Observed:
    found = {DIGESTS[name]: Held(DIGESTS[name], SIZES[name], f"releases/x/{name}") for name in held}
    begun = {DIGESTS[name]: size for name, size in (partial or {}).items()}
    return Observed(False, (), found, begun, Capabilities(True, True, 1000))


def moves(*held: str, index: int, count: int = 2, **more: Any) -> dict[str, int]:
    work = part_of(plan(TREE, observed(*held, **more)), Shard(index, count))
    assert all(isinstance(action, Move) and len(action.entries) == 1 for action in work.actions)
    return {NAMES[action.entries[0].sha256]: getattr(action, "resumed", 0) for action in work.actions}


def test_the_largest_goes_to_whoever_has_least() -> None:
    parts = split(TREE, 2)
    found = [{NAMES[digest] for digest in part.digests} for part in parts]
    # 9 | 7, then 6 to the 7, 5 and 5 to the 9 and whoever has least, the last one where 13 are
    assert [part.bytes for part in parts] == [sum(SIZES[name] for name in names) for names in found]
    assert sorted(part.bytes for part in parts) == [18, 18]
    assert found[0] | found[1] == set(SIZES)
    assert "a" in found[0] and {"b", "c"} <= found[1]


def test_one_shard_has_everything_and_most_of_too_many_have_nothing() -> None:
    assert split(TREE, 1)[0].digests == frozenset(contents(TREE))
    parts = split(TREE, 1000)
    assert [len(part.digests) for part in parts[:6]] == [1] * 6
    assert not any(part.digests for part in parts[6:])


def test_a_shard_moves_its_part_but_for_what_the_store_holds() -> None:
    first, second = moves(index=0), moves(index=1)
    assert {*first, *second} == set(SIZES) and not {*first} & {*second}
    assert "a" not in moves("a", index=0)
    assert moves(index=0, partial={"a": 4})["a"] == 4
    assert moves(*SIZES, index=1) == {}


def test_generated_files_are_left_to_the_publisher_and_equal_contents_move_once() -> None:
    twice = tree(make("org/sized", {"x": b"same", "y": b"same"}, layouts=(Layout.HUB, Layout.FLAT)))
    work = plan(twice, observed())
    assert any(isinstance(action, Generate) for action in work.actions)
    (part,) = (part for part in split(twice, 3) if part.digests)
    assert part.bytes == 4
    (action,) = (action for index in range(3) for action in part_of(work, Shard(index, 3)).actions)
    assert len(action.entries) == 1


def read(facts: dict[str, Any]) -> dict[str, Any]:
    encoded = line(facts)
    assert len(encoded) <= LIMIT
    assert encoded.count(b"\n") == 1 and encoded.endswith(b"\n")
    found: dict[str, Any] = json.loads(encoded)
    return found


def test_a_short_line_says_everything() -> None:
    facts = {"command": "mirror", "exit_code": 0, "release": "7f3c9a1b2d4e", "bytes": 12, "changed": True}
    assert read(facts) == facts


@pytest.mark.parametrize(
    "text", ["word " * 5000, "\0" * 5000, "模型" * 5000, "\U0001f600" * 5000, "\ud800" * 5000, '"' * 9999]
)
def test_long_texts_lose_their_end_and_the_line_stays_json(text: str) -> None:
    text *= 10_000
    found = read({"command": "mirror", "exit_code": 6, "error": text, "hint": text, "retryable": False})
    assert (found["exit_code"], found["retryable"]) == (6, False)
    assert found["error"].endswith("…")
    assert text.startswith(found["error"][:-1]) and len(found["error"]) >= 100


def test_as_many_findings_as_fit() -> None:
    first = [{"kind": "digest", "path": f"hub/{number}/" + "x" * 100, "detail": "y" * 200} for number in range(500)]
    verify = {"ok": False, "evidence": "rehashed", "findings": 500, "first": first}
    found = read({"command": "verify", "exit_code": 3, "verify": verify})
    assert found["verify"]["findings"] == 500
    kept = found["verify"]["first"]
    assert 5 < len(kept) < 40
    assert kept == first[: len(kept)]


def test_one_finding_that_is_too_long_alone_is_shortened() -> None:
    first = [{"kind": "record", "path": "release.json", "detail": "z" * 100_000}]
    found = read({"command": "verify", "exit_code": 3, "verify": {"ok": False, "findings": 1, "first": first}})
    assert found["verify"]["first"][0]["path"] == "release.json"
    assert found["verify"]["first"][0]["detail"].startswith("zzz")
