"""Digests, commits, repositories and revisions are checked once, when they are made."""

from __future__ import annotations

import pytest

from provisioner.model import Commit, Digest, GitSha1, RelPath, RepoId, Revision, collisions


@pytest.mark.parametrize(("kind", "length"), [(Digest, 64), (GitSha1, 40), (Commit, 40)])
def test_hex_names_are_exact(kind: type[str], length: int) -> None:
    good = "0123456789abcdef" * 4
    assert kind(good[:length]) == good[:length]
    for bad in ("", good[: length - 1], good[:length] + "0", good[: length - 1] + "G", good[:length].upper()):
        with pytest.raises(ValueError, match="hex"):
            kind(bad)
    for trick in (good[:length] + "\n", " " + good[: length - 1], "٠" * length):
        with pytest.raises(ValueError, match="hex"):
            kind(trick)


@pytest.mark.parametrize("text", ["org/name", "bert-base-uncased", "a/b", "Org_1/Na.me-2", "0x/1"])
def test_repositories(text: str) -> None:
    repo = RepoId(text)
    assert repo == text
    assert repo.name == text.split("/")[-1]
    assert repo.cache_folder == "models--" + text.replace("/", "--")
    assert RelPath(repo.cache_folder) == repo.cache_folder


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "a/",
        "/a",
        "a/b/c",
        "../a",
        "a/..",
        ".a/b",
        "-a/b",
        "a/b.git",
        "a--b/c",
        "a/b.",
        "a/b-",
        "a b/c",
        "a/b\n",
        "x" * 98 + "/y",
        "https://h/a/b",
        "a/b@main",
        "ä/b",
    ],
)
def test_what_is_no_repository(text: str) -> None:
    with pytest.raises(ValueError, match="repository"):
        RepoId(text)


@pytest.mark.parametrize("text", ["main", "v1.0", "refs/pr/12", "feature/x", "a" * 40, "1.0+cu12"])
def test_revisions(text: str) -> None:
    assert Revision(text) == text


@pytest.mark.parametrize(
    "text", ["", "-x", "a..b/../c", "../x", "a/../b", "a b", "x.lock", "x/", "/x", "a\n", "a//b", "nul"]
)
def test_what_is_no_revision(text: str) -> None:
    with pytest.raises(ValueError, match=r"revision|path"):
        Revision(text)


def test_collisions_are_named_in_pairs() -> None:
    paths = tuple(map(RelPath, ["README.md", "readme.md", "onnx", "onnx/model.onnx", "é", "e\u0301", "alone"]))
    assert collisions(paths) == (
        ("README.md", "readme.md"),
        ("é", "e\u0301"),
        ("onnx", "onnx/model.onnx"),
    )


def test_folders_that_differ_only_in_case_collide_once() -> None:
    """SMB would make one folder of the two."""
    paths = tuple(map(RelPath, ["Onnx/sub/a", "onnx/sub/b", "onnx/sub/c", "onnxy/a"]))
    assert collisions(paths) == (("Onnx/sub/a", "onnx/sub/b"), ("Onnx/sub/a", "onnx/sub/c"))
