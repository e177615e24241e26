"""Files of format 1, frozen: every later version must go on reading them, and mean the same.

Nothing in `v1/` may ever be regenerated. A new format gets a folder of its own.
"""

from __future__ import annotations

from pathlib import Path

from provisioner import lockfile, record
from provisioner.layout import tree_of
from provisioner.model import Layout
from provisioner.report import Evidence
from tests.support.stores import DirectoryBackend

V1 = Path(__file__).resolve().parent / "v1"
RELEASE = "4edf8e359e03"
TREE = "4edf8e359e03d771f02883994f05662f54371066a9675971f55815aa966fa7e6"


def test_a_lock_of_version_1_is_read() -> None:
    lock = lockfile.parse((V1 / "models.lock").read_bytes())
    assert [model.repo for model in lock.models] == ["bert-like", "Example/Code-Model"]
    bare, full = lock.models
    assert (bare.revision, bare.include, bare.exclude, bare.license) == ("main", (), (), None)
    assert (bare.allow_pickle, bare.allow_remote_code, bare.layouts) == (False, False, (Layout.HUB,))
    assert (full.revision, full.commit) == ("v1.0", "89abcdef0123456789abcdef0123456789abcdef")
    assert full.layouts == tuple(Layout)
    assert full.include == ("*.json", "*.py", "onnx/*")
    assert full.exclude == ("training/*",)
    assert full.license == 'other ("quoted" licence)'
    assert (full.allow_pickle, full.allow_remote_code) == (True, True)
    assert [file.path for file in full.files] == ["config.json", "empty.txt", "onnx/modèle.onnx", "pytorch_model.bin"]
    config = full.files[0]
    assert (config.size, config.git_sha1) == (2, "9e26dfeeb6e641a33dae4961196235bdb965b21b")
    assert config.sha256 == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    assert full.files[2].git_sha1 is None


def test_it_is_written_as_it_was() -> None:
    text = (V1 / "models.lock").read_bytes()
    assert lockfile.dump(lockfile.parse(text)) == text


def test_it_means_the_same_release() -> None:
    """A release's name follows from the lock: were it to change, every store would be filled again."""
    tree = tree_of(lockfile.parse((V1 / "models.lock").read_bytes()))
    assert (tree.digest, tree.release_id) == (TREE, RELEASE)


def test_a_record_of_format_1_is_read() -> None:
    found = record.parse((V1 / "release.json").read_bytes())
    assert (found.release, found.tree.digest) == (RELEASE, TREE)
    assert found.created == "2026-01-02T03:04:05Z"
    assert found.tool == "model-provisioner 0.1.0"
    assert found.tree == tree_of(lockfile.parse((V1 / "models.lock").read_bytes()))


def test_a_store_with_such_a_release_is_served(tmp_path: Path) -> None:
    """Record and lock of then, bytes of now: every expected file is missing, and said to be so by its name."""
    release = tmp_path / "releases" / RELEASE
    release.mkdir(parents=True)
    for name in ("models.lock", "release.json"):
        (release / name).write_bytes((V1 / name).read_bytes())
    (tmp_path / "current").write_bytes(f"{RELEASE}\n".encode())
    store = DirectoryBackend(tmp_path).open()
    assert store.active() == RELEASE
    assert store.releases() == (RELEASE,)
    found = list(store.check(store.record(RELEASE), Evidence.SIZE_ONLY, lambda _: None))
    assert {str(finding.kind) for finding in found} == {"missing"}
    assert {finding.path for finding in found} == {str(entry.path) for entry in store.record(RELEASE).tree.entries}
