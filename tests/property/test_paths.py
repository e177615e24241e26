"""Paths: whatever is accepted stays below the root and can be written and read back."""

from __future__ import annotations

import os
import tempfile
import unicodedata
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from provisioner.model import RelPath, Revision, collisions

PIECES = st.sampled_from(
    [
        *'abcXYZ019._- ~+@/\\:*?"<>|\x00\x1f\n\t',
        "..",
        ".",
        "//",
        "con",
        "NUL.txt",
        "com1",
        "é",
        "e\u0301",
        "日",
        "\ud800",
        "ß",
    ]
)
# One of five is a path: to `assume` that it is would fail hypothesis's own check of strategies, with bad luck.
TEXTS = st.one_of(st.text(max_size=60), st.lists(PIECES, max_size=14).map("".join))
RESERVED = {"con", "prn", "aux", "nul", *(f"{name}{digit}" for name in ("com", "lpt") for digit in range(10))}


def accepted(text: str) -> RelPath | None:
    try:
        return RelPath(text)
    except ValueError:
        return None


@given(TEXTS)
@example("a/../../etc/passwd")
@example("/etc/passwd")
@example("a\n")
@example("a/" * 400 + "a")
@example("x" * 256)
@settings(max_examples=3000)
def test_an_accepted_path_stays_below_its_root(text: str) -> None:
    path = accepted(text)
    if path is None:
        return
    assert str(path) == text
    joined = os.path.join("/srv/root", path)
    assert os.path.normpath(joined) == joined
    assert joined.startswith("/srv/root/")
    parts = path.split("/")
    assert "/".join(parts) == path
    for part in parts:
        assert part not in ("", ".", "..")
        assert part.partition(".")[0].lower() not in RESERVED
        assert part == part.strip(" ") and not part.endswith(".")
        assert len(part.encode()) <= 255
        assert not any(ord(c) < 32 or ord(c) == 127 or c in '\\:*?"<>|' for c in part)


@given(TEXTS)
@settings(max_examples=1000)
def test_an_accepted_path_survives_a_round_trip_on_disk(text: str) -> None:
    path = accepted(text)
    if path is None:
        return
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(b"content")
        found = [str(child.relative_to(folder)) for child in Path(folder).rglob("*") if child.is_file()]
        assert found == [text]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "/a",
        "a/",
        "a//b",
        ".",
        "..",
        "../a",
        "a/..",
        "a/./b",
        "a/../b",
        "a\\b",
        "C:/a",
        "a\x00b",
        "a\nb",
        "\x7f",
        " a",
        "a ",
        "a/ b",
        "a.",
        "a./b",
        "con",
        "CON.txt",
        "a/nul",
        "aux.tar.gz",
        "LPT9",
        "a:b",
        "a*",
        "a?",
        '"',
        "a|b",
        "x" * 256,
        "é" * 128,
        "a/" * 450 + "b",
        "\ud800",
    ],
)
def test_what_not_every_store_can_hold_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"path"):
        RelPath(text)


@pytest.mark.parametrize(
    "text",
    [
        ".gitattributes",
        "a/b/c.json",
        "1_Pooling/config.json",
        "a b/c d.txt",
        "naïve/日本語.bin",
        "console",
        "nullify/con_",
        "com10",
        "x" * 255,
        "a-b_c+d@e~f.g",
        "...a",
        "a..b",
    ],
)
def test_what_every_store_can_hold_is_accepted(text: str) -> None:
    assert RelPath(text) == text


@given(TEXTS)
@settings(max_examples=1000)
def test_parents_lead_to_the_path(text: str) -> None:
    path = accepted(text)
    if path is None:
        return
    assert "/".join(filter(None, (path.folder, path.name))) == path
    assert len(path.parents) == path.count("/")
    assert all(path.startswith(parent + "/") for parent in path.parents)
    assert list(path.parents) == sorted(path.parents, key=len)


@given(TEXTS)
@settings(max_examples=300)
def test_a_revision_is_a_path_too(text: str) -> None:
    try:
        revision = Revision(text)
    except ValueError:
        return
    assert RelPath(f"refs/{revision}") == f"refs/{text}"


NAMES = st.text("aAbBéÉ", min_size=1, max_size=3)


@given(st.lists(st.lists(NAMES, min_size=1, max_size=3).map("/".join), unique=True, max_size=8))
def test_paths_without_collisions_can_stand_beside_each_other(texts: list[str]) -> None:
    paths = tuple(RelPath(text) for text in texts)
    folders = {parent for path in paths for parent in path.parents}
    clash = (
        len({fold(path) for path in paths}) != len(paths)
        or len({fold(folder) for folder in folders}) != len(folders)
        or not {fold(path) for path in paths}.isdisjoint(map(fold, folders))
    )
    assert bool(collisions(paths)) is clash


def fold(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()
