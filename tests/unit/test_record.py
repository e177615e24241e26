"""`release.json`: it describes itself, or it is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from provisioner.errors import InvalidDocument
from provisioner.model import Digest
from provisioner.record import ReleaseRecord, dump, is_release_id, parse
from tests.support.hub_fixture import make
from tests.support.locks import tree

TREE = tree(make("org/odd", {"config.json": b"{}", "日本 語.txt": b"x", "empty": b""}))
RECORD = ReleaseRecord(TREE, Digest("a" * 64), "2026-01-02T03:04:05Z", "model-provisioner 9")


def test_it_survives_a_round_trip() -> None:
    assert parse(dump(RECORD)) == RECORD
    assert dump(parse(dump(RECORD))) == dump(RECORD)


def test_it_is_json_with_one_file_a_line() -> None:
    text = dump(RECORD).decode()
    data = json.loads(text)
    assert data["release"] == TREE.release_id
    assert [file["path"] for file in data["files"]] == [e.path for e in TREE.entries]
    assert sum('"sha256"' in line for line in text.splitlines()) == len(TREE.entries)


def test_an_empty_tree_can_be_recorded() -> None:
    from provisioner.model import Tree

    empty = ReleaseRecord(Tree.of([]), Digest("a" * 64))
    assert parse(dump(empty)) == empty


def changed(**values: Any) -> bytes:
    return json.dumps(json.loads(dump(RECORD)) | values).encode()


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"\xff",
        b"[" * 100_000,
        changed(format=2),
        changed(format="1"),
        changed(release="0" * 12),
        changed(tree="0" * 64),
        changed(lock="nothing"),
        changed(files=None),
        changed(files=[]),
        changed(files=[{"path": "../../etc/passwd", "size": 1, "sha256": "0" * 64}]),
        changed(files=[{"path": "a", "size": "many", "sha256": "0" * 64}]),
        *(
            changed(files=[{"path": "a", "size": 0, "sha256": "0" * 64}]).replace(b'"size": 0', b'"size": ' + size)
            for size in (b"1e999", b"NaN", b"true", b"-1", b"1.0", b"1.5", b"null", b"9" * 5000)
        ),
        changed(files=[{"path": "a", "size": 1}]),
        changed(files=json.loads(dump(RECORD))["files"] * 2),
        changed(files=json.loads(dump(RECORD))["files"][1:]),
    ],
)
def test_anything_else_is_refused(text: bytes) -> None:
    with pytest.raises(InvalidDocument) as caught:
        parse(text, "place/release.json")
    assert caught.value.exit_code == 4
    assert str(caught.value).startswith("place/release.json has 1 problem")


def test_release_names() -> None:
    assert is_release_id("0123456789ab")
    for text in ("", "0123456789a", "0123456789abc", "0123456789AB", "0123456789a/", "..", "0123456789a\n"):
        assert not is_release_id(text)
