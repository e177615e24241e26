"""`provision lock` as it is typed: results, exit codes, and what is on disk."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from provisioner import lockfile
from provisioner.cli.main import cli
from provisioner.errors import InvalidDocument, NotFound, PolicyRefused
from tests.support.tiny_hub import Reply, TinyHub

PLAIN: dict[str, Any] = {"config.json": {}, "model.safetensors": b"weights", "tokenizer.json": {}, "logo.png": b"x"}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TinyHub]:
    monkeypatch.chdir(tmp_path)
    with TinyHub() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        server.add("org/plain", PLAIN, card={"license": "mit"})
        yield server


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / "models.lock"


def run(*words: str) -> None:
    cli.main(["lock", *words], prog_name="provision", standalone_mode=False)


def result(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    capsys.readouterr()
    run(*words, "--json")
    return json.loads(capsys.readouterr().out)


def test_add_list_check_remove(hub: TinyHub, lock: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("add", "org/plain", "--layout", "flat")
    assert "Locked org/plain" in capsys.readouterr().out
    assert lockfile.dump(lockfile.parse(lock.read_bytes())) == lock.read_bytes()
    run("list")
    listed = capsys.readouterr().out
    assert all(word in listed for word in ("org/plain", "mit", "flat", hub.repos["org/plain"].commit[:12]))
    run("check")
    assert "1 model, 3 files" in capsys.readouterr().out
    run("remove", "plain")
    assert lockfile.parse(lock.read_bytes()).models == ()


def test_json_results(hub: TinyHub, lock: Path, capsys: pytest.CaptureFixture[str]) -> None:
    added = result(capsys, "add", "org/plain")
    assert added["changed"] is True
    assert added["models"][0]["left_out"] == [{"path": "logo.png", "reason": "a picture, sound or document for people"}]
    assert [model["repo"] for model in result(capsys, "list")] == ["org/plain"]
    assert result(capsys, "check")["ok"] is True
    assert result(capsys, "diff") == []
    hub.repos["org/plain"].content["config.json"] = b'{"a": 1}'
    (change,) = result(capsys, "diff")
    assert [(f["path"], f["before"]["size"], f["after"]["size"]) for f in change["files"]] == [("config.json", 2, 8)]
    assert result(capsys, "update", "plain")["models"] == [change]
    assert result(capsys, "remove", "plain")["removed"] == ["org/plain"]


def test_a_dry_run_and_a_diff_write_nothing(hub: TinyHub, lock: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("add", "org/plain", "--dry-run")
    shown = capsys.readouterr().out
    assert "logo.png" in shown
    assert "model.safetensors" in shown
    assert os.listdir() == []
    run("add", "org/plain")
    before = lock.read_bytes()
    hub.repos["org/plain"].content["config.json"] = b'{"a": 1}'
    run("diff")
    assert lock.read_bytes() == before


def test_a_file_name_is_no_markup(hub: TinyHub, capsys: pytest.CaptureFixture[str]) -> None:
    hub.repos["org/plain"].content["[red]name[bold].txt"] = b""
    run("add", "org/plain", "--dry-run")
    assert "[red]name[bold].txt" in capsys.readouterr().out


def test_the_same_lock_is_not_written_again(hub: TinyHub, lock: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("add", "org/plain")
    first = lock.stat()
    run("update")
    assert "up to date" in capsys.readouterr().out
    assert (lock.stat().st_ino, lock.stat().st_mtime_ns) == (first.st_ino, first.st_mtime_ns)


def test_a_failure_leaves_the_lock_as_it_was(hub: TinyHub, lock: Path) -> None:
    run("add", "org/plain")
    before = lock.read_bytes()
    hub.add("org/pickle", {"config.json": {}, "pytorch_model.bin": b"p"})
    with pytest.raises(PolicyRefused):
        run("add", "org/plain@main", "org/pickle", "--layout", "flat")
    assert lock.read_bytes() == before
    assert os.listdir() == ["models.lock"]


def test_models_that_cannot_stand_beside_each_other_are_not_written(hub: TinyHub, lock: Path) -> None:
    hub.add("other/plain", PLAIN)
    run("add", "org/plain", "--layout", "flat")
    before = lock.read_bytes()
    with pytest.raises(InvalidDocument, match="collides"):
        run("add", "other/plain", "--layout", "flat")
    assert lock.read_bytes() == before


@pytest.mark.parametrize("words", [("list",), ("check",), ("diff",), ("update",), ("remove", "x")])
def test_without_a_lock(hub: TinyHub, words: tuple[str, ...]) -> None:
    with pytest.raises(NotFound, match="no lock"):
        run(*words)
    assert hub.asked == []


def test_check_names_every_problem_and_asks_nobody(hub: TinyHub, lock: Path) -> None:
    hub.add("org/pickle", {"config.json": {}, "pytorch_model.bin": b"p"})
    run("add", "org/pickle", "--allow-pickle")
    lock.write_text(lock.read_text().replace("allow_pickle = true\n", "").replace("config.json", "other.json"))
    hub.asked.clear()
    with pytest.raises(InvalidDocument) as caught:
        run("check")
    assert [str(problem).split(":")[1].strip() for problem in caught.value.problems] == [
        "org/pickle/pytorch_model.bin",
        "org/pickle/config.json",
    ]
    assert hub.asked == []


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("add", "org/plain"), 0),
        (("add",), 2),
        (("add", "a/b/c"), 4),
        (("add", "no/such"), 7),
        (("add", "--preset", "none"), 7),
        (("add", "org/plain", "--layout", "shelf"), 2),
        (("add", "org/strange"), 5),
        (("add", "org/gated"), 6),
    ],
)
def test_exit_codes(hub: TinyHub, words: tuple[str, ...], code: int) -> None:
    hub.always("org/strange", Reply(418))
    hub.always("org/gated", Reply(403, headers={"X-Error-Code": "GatedRepo"}))
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-m", "provisioner", "lock", *words],
        env=os.environ | {"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["add", "update", "remove", "list", "diff", "check"])
def test_help_teaches_by_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    run(name, "--help")
    shown = capsys.readouterr().out
    assert f"provision lock {name}" in shown.partition("Examples:")[2]
    assert "--json" in shown
