"""The canonical text of a lock, byte for byte, and the strictness of its reader.

A change of `models-v1.lock` is a change of the format: docs/lock-format.md says what that means.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from provisioner import lockfile
from provisioner.errors import InvalidDocument
from provisioner.model import Commit, Digest, FileEntry, GitSha1, Layout, Lock, Model, RelPath, RepoId, Revision

GOLDEN = Path(__file__).with_name("models-v1.lock")
LOCK = Lock(
    (
        Model(
            RepoId("nomic-ai/nomic-bert-2048"),
            Revision("main"),
            Commit("1" * 40),
            (Layout.HUB,),
            (FileEntry(RelPath("modeling.py"), 0, Digest("2" * 64), GitSha1("3" * 40)),),
            include=("*.py", "config.json"),
            exclude=('say "no".txt',),
            allow_remote_code=True,
        ),
        Model(
            RepoId("org/Ubung"),
            Revision("refs/pr/7"),
            Commit("4" * 40),
            (Layout.HUB, Layout.FLAT, Layout.SENTENCE_TRANSFORMERS),
            (
                FileEntry(RelPath("1_Pooling/config.json"), 190, Digest("5" * 64), GitSha1("6" * 40)),
                FileEntry(RelPath("pytorch_model.bin"), 90868376, Digest("7" * 64)),
                FileEntry(RelPath("über.txt"), 1, Digest("8" * 64), GitSha1("9" * 40)),
            ),
            license="apache-2.0",
            allow_pickle=True,
        ),
    )
)


def test_the_text() -> None:
    assert lockfile.dump(LOCK) == GOLDEN.read_bytes()


def test_a_lock_of_every_released_version_is_read() -> None:
    assert lockfile.parse(GOLDEN.read_bytes()) == LOCK


@pytest.mark.parametrize(
    ("before", "after", "place"),
    [
        ("version = 1", "version = 2", "version"),
        ("version = 1", "version = 1\ncolour = 1", "colour"),
        ("allow_pickle = true", "allow_pickles = true", "models[1].allow_pickles"),
        ("allow_pickle = true", 'allow_pickle = "yes"', "models[1].allow_pickle"),
        ("7" * 64, "7" * 63, "models[1].files[1].sha256"),
        ("6" * 40, "G" * 40, "models[1].files[0].git_sha1"),
        ('"pytorch_model.bin"', '"../x"', "models[1].files[1].path"),
        ('"pytorch_model.bin"', '"1_pooling/config.json"', "models[1].files"),
        ("size = 190", "size = -1", "models[1].files[0].size"),
        ("size = 190", "size = 1.5", "models[1].files[0].size"),
        ("size = 190, ", "", "models[1].files[0].size"),
        ("4" * 40, "main", "models[1].commit"),
        ('"refs/pr/7"', '"refs/../7"', "models[1].revision"),
        ('"nomic-ai/nomic-bert-2048"', '"ORG/Ubung"', "models[1].repo"),
        ('"flat"', '"shelf"', "models[1].layouts[1]"),
        ("[[models]]", "[[models", ""),
    ],
)
def test_strictness_names_the_place(before: str, after: str, place: str) -> None:
    text = GOLDEN.read_text()
    assert before in text
    with pytest.raises(InvalidDocument) as caught:
        lockfile.parse(text.replace(before, after, 1).encode())
    assert place in [problem.place for problem in caught.value.problems]
    assert caught.value.exit_code == 4


def test_all_problems_at_once() -> None:
    text = GOLDEN.read_text().replace("5" * 64, "x").replace("size = 1,", "size = -1,").replace("main", "..")
    with pytest.raises(InvalidDocument) as caught:
        lockfile.parse(text.encode())
    assert {problem.place for problem in caught.value.problems} == {
        "models[0].revision",
        "models[1].files[0].sha256",
        "models[1].files[2].size",
    }
