"""Trees: their digest, their name, and entries of equal content."""

from __future__ import annotations

import hashlib

from provisioner.model import Digest, RelPath, Tree, TreeEntry


def entry(path: str, content: bytes) -> TreeEntry:
    return TreeEntry.generated(RelPath(path), content)


def test_the_digest_is_that_of_its_lines_in_byte_order() -> None:
    tree = Tree.of([entry("b", b"2"), entry("é", b"3"), entry("a/c", b""), entry("Z", b"4")])
    assert [e.path for e in tree.entries] == ["Z", "a/c", "b", "é"]
    lines = "".join(f"{hashlib.sha256(e.content or b'').hexdigest()} {e.size} {e.path}\n" for e in tree.entries)
    assert tree.digest == hashlib.sha256(lines.encode()).hexdigest()
    assert tree.release_id == tree.digest[:12]


def test_an_empty_tree_has_a_name_too() -> None:
    assert Tree.of([]).release_id == "e3b0c44298fc"
    assert Tree.of([]).size == 0


def test_size_counts_equal_contents_every_time() -> None:
    assert Tree.of([entry("a", b"1234"), entry("b", b"1234")]).size == 8


def test_equal_contents_stand_together_in_the_order_of_their_first_path() -> None:
    tree = Tree.of([entry("c", b"one"), entry("a", b"two"), entry("d", b"two"), entry("b", b"one")])
    groups = [[e.path for e in group] for group in tree.by_digest().values()]
    assert groups == [["a", "d"], ["b", "c"]]
    assert all(key == Digest(group[0].sha256) for key, group in tree.by_digest().items())


def test_where_bytes_come_from_does_not_change_a_tree() -> None:
    made = entry("a", b"x")
    bare = TreeEntry(made.path, made.size, made.sha256)
    assert bare == made
    assert Tree.of([bare]).digest == Tree.of([made]).digest
