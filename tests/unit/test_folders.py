"""A folder of generated text: whole, exactly what was emitted, and nobody else's files touched."""

from __future__ import annotations

from pathlib import Path

import pytest

from provisioner.errors import StoreError, UsageError
from provisioner.ops.folders import LIST, write_file, write_folder

COMMAND = "provision emit job"


def content(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir() if path.name != LIST}


def test_what_an_earlier_run_wrote_and_this_one_does_not_goes(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "base"
    assert write_folder(str(folder), {"a.yaml": "1\n", "b.yaml": "2\n"}, COMMAND) == ()
    (folder / "mine.txt").write_text("kept")
    assert write_folder(str(folder), {"b.yaml": "3\n", "c.yaml": "4\n"}, COMMAND) == ("a.yaml",)
    assert content(folder) == {"b.yaml": "3\n", "c.yaml": "4\n", "mine.txt": "kept"}


def test_a_file_of_somebody_else_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "kustomization.yaml").write_text("theirs")
    with pytest.raises(UsageError, match=r"kustomization\.yaml"):
        write_folder(str(tmp_path), {"a.yaml": "1\n", "kustomization.yaml": "ours"}, COMMAND)
    assert content(tmp_path) == {"kustomization.yaml": "theirs"}


def test_a_list_that_was_tampered_with_deletes_nothing_outside(tmp_path: Path) -> None:
    outside = tmp_path / "outside.txt"
    outside.write_text("kept")
    folder = tmp_path / "base"
    write_folder(str(folder), {"a.yaml": "1\n"}, COMMAND)
    (folder / LIST).write_text("# provision emit job\n../outside.txt\n..\n.\n/etc/hostname\na.yaml\n")
    assert write_folder(str(folder), {"b.yaml": "1\n"}, COMMAND) == ("a.yaml",)
    assert outside.read_text() == "kept"


def test_a_file_keeps_its_mode_and_its_link(tmp_path: Path) -> None:
    target, link = tmp_path / "real.yaml", tmp_path / "link.yaml"
    target.write_text("before")
    target.chmod(0o600)
    link.symlink_to(target)
    write_file(str(link), "after")
    assert link.is_symlink()
    assert target.read_text() == "after"
    assert target.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.yaml", "real.yaml"]


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="file"):
        write_folder(str(tmp_path / "file" / "base"), {"a": ""}, COMMAND)
    with pytest.raises(StoreError, match="file"):
        write_file(str(tmp_path / "file" / "x.yaml"), "")


def test_a_folder_of_another_command_is_left_alone(tmp_path: Path) -> None:
    write_folder(str(tmp_path), {"a.yaml": "1\n"}, COMMAND)
    with pytest.raises(UsageError, match="was written by provision emit job, and this is provision emit volume"):
        write_folder(str(tmp_path), {"b.yaml": "1\n"}, "provision emit volume")
    assert content(tmp_path) == {"a.yaml": "1\n"}
