"""Where each layout puts a model."""

from __future__ import annotations

import json

import pytest

from provisioner.errors import InvalidDocument
from provisioner.layout import ROOTS, tree_of
from provisioner.model import Layout, Lock, RelPath
from tests.support.hub_fixture import make
from tests.support.locks import lock_of
from tests.support.models import model

CONTENT = {"config.json": b"{}", "onnx/model.onnx": b"weights"}


def paths(*layouts: Layout, revision: str = "main") -> dict[str, bytes | None]:
    made = make("org/name", CONTENT, layouts=layouts, revision=revision)
    commit = made.model.commit
    return {str(e.path).replace(commit, "COMMIT"): e.content for e in tree_of(lock_of(made)).entries}


def test_flat_is_the_files_under_the_models_name() -> None:
    assert set(paths(Layout.FLAT)) == {"models/name/config.json", "models/name/onnx/model.onnx"}


@pytest.mark.parametrize("layout", [layout for layout in Layout if layout is not Layout.FLAT])
def test_every_other_layout_is_a_hub_cache(layout: Layout) -> None:
    folder = f"{ROOTS[layout]}/models--org--name"
    assert set(paths(layout)) == {
        f"{folder}/refs/main",
        f"{folder}/snapshots/COMMIT/config.json",
        f"{folder}/snapshots/COMMIT/onnx/model.onnx",
        f"{folder}/trees/COMMIT.json",
    }


def test_refs_hold_the_commit_alone() -> None:
    commit = make("org/name", CONTENT).model.commit
    found = paths(Layout.HUB, revision="v1.0")
    assert found["hub/models--org--name/refs/main"] == commit.encode()
    assert found["hub/models--org--name/refs/v1.0"] == commit.encode()


def test_a_commit_as_revision_gets_no_ref_of_its_name() -> None:
    commit = make("org/name", CONTENT).model.commit
    refs = [path for path in paths(Layout.HUB, revision=str(commit)) if "/refs/" in path]
    assert refs == ["hub/models--org--name/refs/main"]


def test_the_listing_names_the_locked_files_only() -> None:
    made = make("org/name", CONTENT)
    (entry,) = (e for e in tree_of(lock_of(made)).entries if "/trees/" in e.path)
    assert entry.content is not None
    files = json.loads(entry.content)["files"]
    assert set(files) == set(CONTENT)
    assert files["onnx/model.onnx"]["lfs_size"] == 7
    assert "lfs_sha256" not in files["config.json"]


def test_layouts_stand_beside_each_other() -> None:
    everything = paths(*Layout)
    for root in ROOTS.values():
        assert any(path.startswith(f"{root}/") for path in everything)


def test_a_path_too_long_below_its_layout_is_a_problem_of_the_lock() -> None:
    long = "/".join(["d" * 99] * 8 + ["f" * 60])
    assert RelPath(long)
    lock = Lock((model("fine.json", repo="org/fine"), model("config.json", long, repo="org/long")))
    with pytest.raises(InvalidDocument, match=r"models\[1\]\.files: in its layout a path longer than") as caught:
        tree_of(lock)
    assert caught.value.exit_code == 4
    flat = Lock((model("config.json", long, repo="org/long", layouts=(Layout.FLAT,)),))
    assert len(tree_of(flat).entries) == 2
