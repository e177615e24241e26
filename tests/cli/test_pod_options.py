"""What pods need of the commands: a part of the work, a second look, waiting, and a line for whoever started them."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from provisioner.errors import NotFound
from provisioner.ops import waiting
from provisioner.stores.targets import open_store
from tests.support.faults import FaultyHub
from tests.support.faults_process import Done, command, environment, provision, started
from tests.support.locks import MemorySource, document, small, snapshot, tree, write
from tests.support.patience import PATIENCE, until
from tests.support.stores import DirectoryBackend, transfer

MADE = small()
RELEASE = tree(MADE).release_id
BYTES = tree(MADE).size
FILES = len(tree(MADE).entries)
WEIGHTS = snapshot(MADE, "model.safetensors")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a lock."""
    write(tmp_path, MADE)
    return tmp_path


@pytest.fixture
def hub() -> Iterator[FaultyHub]:
    with FaultyHub(MADE) as hub:
        yield hub


@pytest.fixture
def backend(place: Path) -> DirectoryBackend:
    """A store with the release, not active."""
    made = DirectoryBackend(place / "store")
    transfer(document(MADE), made.open(), MemorySource(MADE))
    return made


def mirror(place: Path, *more: object, hub: FaultyHub | None = None, **variables: str) -> Done:
    endpoint = ("--endpoint", hub.url if hub else "http://127.0.0.1:9")
    return provision("mirror", "--to", place / "store", "--from", "hub", *endpoint, *more, cwd=place, **variables)


def damage(backend: DirectoryBackend) -> None:
    """Another byte in the weights; the size stays."""
    backend.overwrite(RELEASE, WEIGHTS, b"\xff" + MADE.content["model.safetensors"][1:])


# mirror --shard


@pytest.mark.parametrize(
    "shard", ["", "1", "1/", "/4", "4/4", "-1/4", "1/0", "0/1001", "a/b", "٣/4", "1/4/2", "$(X)/4"]
)
def test_a_shard_is_a_number_of_how_many(place: Path, shard: str) -> None:
    done = mirror(place, "--shard", shard)
    assert done.code == 2
    assert "--shard" in done.err and "Traceback" not in done.err


@pytest.mark.parametrize("to", ["s3://models/llm", "minio://127.0.0.1:9/models", "azurefiles://account/share"])
def test_shards_are_for_mounted_volumes(place: Path, to: str) -> None:
    done = provision("mirror", "--to", to, "--shard", "0/2", cwd=place)
    assert (done.code, "cannot be filled by shards" in done.err) == (2, True)


def test_shards_do_not_repair(place: Path) -> None:
    done = mirror(place, "--shard", "0/2", "--repair")
    assert (done.code, "--repair" in done.err) == (2, True)


def test_a_dry_run_of_a_shard_shows_its_part_and_writes_nothing(place: Path, hub: FaultyHub) -> None:
    plans = [mirror(place, "--shard", f"{index}/2", "--dry-run", "--json", hub=hub).json for index in range(2)]
    assert sum(plan["files_to_move"] for plan in plans) == 3
    assert sum(plan["bytes_to_move"] for plan in plans) == sum(map(len, MADE.content.values()))
    assert [plan["shard"] for plan in plans] == [{"index": index, "count": 2} for index in range(2)]
    assert not (place / "store").exists()
    assert mirror(place, "--shard", "1/2", hub=hub).code == 0
    again = mirror(place, "--shard", "1/2", "--dry-run", hub=hub)
    assert "holds its part" in again.out
    assert (
        mirror(place, "--shard", "1/2", "--dry-run", "--json", hub=hub).json["empty"] is False
    )  # nothing is published


def test_the_only_shard_is_an_ordinary_mirror(place: Path, hub: FaultyHub) -> None:
    done = mirror(place, "--shard", "0/1", "--json", hub=hub)
    assert (done.json["changed"], done.json["resumed"], "shard" in done.json) == (True, 0, False)


def test_with_the_release_there_every_shard_has_nothing_to_do_and_number_0_activates(
    place: Path, backend: DirectoryBackend
) -> None:
    for index in (1, 0):
        done = mirror(place, "--shard", f"{index}/2", "--verify", "full")  # its Hub does not answer
        assert (done.code, done.out.startswith("Nothing to do")) == (0, True), done.err
        assert backend.open().active() == (None if index else RELEASE)


# mirror --verify, fetch --verify


@pytest.mark.parametrize(("mode", "evidence"), [("recorded", "recorded"), ("full", "rehashed")])
def test_what_was_mirrored_is_read_again(place: Path, hub: FaultyHub, mode: str, evidence: str) -> None:
    done = mirror(place, "--verify", mode, "--json", hub=hub)
    assert done.code == 0, done.err
    verify = done.json["verify"]
    assert (verify["ok"], verify["evidence"], verify["files"], verify["bytes"]) == (True, evidence, FILES, BYTES)
    alone = provision("verify", "--at", place / "store", "--json", cwd=place).json
    assert set(verify) == set(alone)
    shown = mirror(place, "--verify", mode)
    assert "Nothing to do" in shown.out and f"OK  {RELEASE}" in shown.out
    fetched = provision("fetch", "--store", place / "store", "--verify", mode, "--json", cwd=place)
    assert fetched.json["verify"]["evidence"] == evidence


def test_a_release_that_fails_is_not_activated(place: Path, backend: DirectoryBackend) -> None:
    damage(backend)
    done = mirror(place, "--verify", "full", "--json")
    assert done.code == 3
    assert [one["path"] for one in done.json["verify"]["findings"]] == [WEIGHTS]
    assert (done.json["verify"]["ok"], done.json["active"]) == (False, False)
    assert backend.open().active() is None
    shown = mirror(place, "--verify", "full")
    assert (shown.code, "FAILED" in shown.out, WEIGHTS in shown.out) == (3, True, True)
    assert backend.open().active() is None
    assert mirror(place, "--verify", "recorded").code == 0  # which does not read the bytes
    assert backend.open().active() == RELEASE


# verify --wait


def wait(place: Path, seconds: int, *more: object) -> Done:
    return provision("verify", "--at", place / "store", "--wait", seconds, *more, cwd=place)


@pytest.mark.parametrize("more", [(), ("--release", RELEASE)], ids=["lock", "release"])
def test_a_release_that_does_not_come_is_not_found(place: Path, more: tuple[str, ...]) -> None:
    for seconds in (0, 1):
        done = wait(place, seconds, *more)
        assert (done.code, done.out) == (7, "")
        assert f"release {RELEASE} within {seconds} s" in done.err


def test_another_release_is_not_what_was_waited_for(place: Path) -> None:
    other = small(tokenizer=b"other")
    made = DirectoryBackend(place / "store")
    made.open().activate(transfer(document(other), made.open(), MemorySource(other)).report.release)
    assert wait(place, 0).code == 7
    (place / "models.lock").unlink()
    assert wait(place, 0).code == 0  # any active one


@pytest.mark.parametrize("lock", [True, False])
def test_it_is_verified_as_soon_as_it_is_there(place: Path, lock: bool) -> None:
    if not lock:
        (place / "models.lock").unlink()
    log = place / "err"
    with started("verify", "--at", place / "store", "--wait", 3600, cwd=place, stderr=log) as process:
        until(lambda: "Waiting for" in log.read_text() or process.poll() is not None)
        assert process.poll() is None
        made = DirectoryBackend(place / "store")
        transfer(document(MADE), made.open(), MemorySource(MADE))
        made.open().activate(RELEASE)
        assert process.wait(PATIENCE) == 0, log.read_text()


def test_what_came_is_really_verified(place: Path, backend: DirectoryBackend) -> None:
    damage(backend)
    done = wait(place, 30, "--json")
    assert (done.code, len(done.json["findings"])) == (3, 1)


def test_a_volume_that_is_not_mounted_yet_is_waited_for(place: Path) -> None:
    done = provision("verify", "--at", "pvc", "--wait", 0, cwd=place, PROVISION_PVC_DIR=str(place / "absent"))
    assert (done.code, f"pvc has not got release {RELEASE}" in done.err) == (7, True)


@pytest.mark.parametrize("name", ["../../etc", RELEASE.upper(), "main"])
def test_what_can_be_no_release_is_not_waited_for(place: Path, name: str) -> None:
    log = place / "err"
    arguments = ("verify", "--at", place / "store", "--release", name)
    with started(*arguments, "--wait", 3600, cwd=place, stderr=log) as process:
        assert process.wait(PATIENCE) == 7
    assert log.read_text() == provision(*arguments, cwd=place).err
    assert f"{name!r} is not the name of a release" in log.read_text()


def test_a_silent_server_does_not_lengthen_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "ANSWER_SECONDS", 0.5)
    for name in ("MINIO_ACCESS_KEY", "MINIO_SECRET_KEY"):
        monkeypatch.setenv(name, "x" * 12)
    monkeypatch.setenv("MINIO_SECURE", "false")
    with socket.create_server(("127.0.0.1", 0)) as silent:  # its connections are made, and nothing is said
        address = f"minio://127.0.0.1:{silent.getsockname()[1]}/models"
        with pytest.raises(NotFound, match=f"release {RELEASE} within 0 s: the store does not answer"):
            waiting.await_release(partial(open_store, address), RELEASE, 0, lambda _: None, address)


# PROVISION_SUMMARY


def summary(path: Path) -> dict[str, Any]:
    text = path.read_bytes()
    assert len(text) <= 4096 and text.count(b"\n") == 1
    found: dict[str, Any] = json.loads(text)
    return found


def test_the_line_of_a_mirror(place: Path, hub: FaultyHub) -> None:
    path = place / "log"
    path.write_text("x" * 10_000)
    inode = path.stat().st_ino
    done = mirror(place, "--verify", "recorded", hub=hub, PROVISION_SUMMARY=str(path))
    assert done.code == 0, done.err
    found = summary(path)
    assert found.pop("seconds") > 0
    assert found == {
        "command": "mirror",
        "exit_code": 0,
        "store": str(place / "store"),
        "release": RELEASE,
        "files": FILES,
        "bytes": BYTES,
        "moved": sum(map(len, MADE.content.values())),
        "shared": 0,
        "resumed": 0,
        "changed": True,
        "verify": {"ok": True, "evidence": "recorded", "findings": 0},
    }
    assert path.stat().st_ino == inode  # a mounted file's place cannot be taken


def test_the_line_of_a_verify_that_fails(place: Path, backend: DirectoryBackend) -> None:
    damage(backend)
    path = place / "log"
    assert provision("verify", "--at", backend.root, cwd=place, PROVISION_SUMMARY=str(path)).code == 3
    found = summary(path)
    assert (found["command"], found["exit_code"], found["release"], found["retryable"]) == ("verify", 3, RELEASE, False)
    assert "1 finding" in found["error"] and "--repair" in found["hint"]
    assert (found["verify"]["ok"], found["verify"]["findings"]) == (False, 1)
    (first,) = found["verify"]["first"]
    assert (first["kind"], first["path"]) == ("digest", WEIGHTS)


@pytest.mark.parametrize("as_json", [True, False])
def test_the_line_of_a_failure(place: Path, as_json: bool) -> None:
    path = place / "log"
    flags = ("--json",) if as_json else ()
    done = provision("verify", "--at", place / "store", *flags, cwd=place, PROVISION_SUMMARY=str(path))
    found = summary(path)
    assert (done.code, found["command"], found["exit_code"], found["retryable"]) == (7, "verify", 7, False)
    assert found["error"] and found["error"] in done.err and found["hint"]


def test_the_line_of_a_wrong_command_line(place: Path) -> None:
    path = place / "log"
    for arguments, name in ((("mirror", "--shard", "4/4", "--to", "x"), "mirror"), (("mirrror",), "")):
        assert provision(*arguments, cwd=place, PROVISION_SUMMARY=str(path)).code == 2
        found = summary(path)
        assert (found["command"], found["exit_code"], bool(found["error"])) == (name, 2, True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_line_of_an_interrupted_command(place: Path, hub: FaultyHub, number: signal.Signals) -> None:
    hub.hold("model.safetensors", 100)
    path = place / "log"
    arguments = ("mirror", "--to", place / "store", "--from", "hub", "--endpoint", hub.url)
    with started(*arguments, cwd=place, PROVISION_SUMMARY=str(path)) as process:
        until(lambda: hub.sent("model.safetensors") or process.poll() is not None)
        process.send_signal(number)
        assert process.wait(PATIENCE) == 130
    found = summary(path)
    assert (found["command"], found["exit_code"], found["error"]) == ("mirror", 130, "Interrupted.")


def test_the_line_of_a_bug_has_its_type_only(place: Path) -> None:
    script = (
        "import sys\n"
        "import provisioner.ops.verify as verify\n"
        "def broken(*_): raise LookupError('hf_secret')\n"
        "verify.chosen_release = broken\n"
        "from provisioner.cli.main import main\n"
        "sys.argv = ['provision', 'verify', '--at', '/nonexistent']\n"
        "main()\n"
    )
    path = place / "log"
    variables = environment(PROVISION_SUMMARY=str(path))
    done = subprocess.run([sys.executable, "-c", script], cwd=place, env=variables, capture_output=True, text=True)
    assert (done.returncode, "Traceback" in done.stderr) == (1, True)
    found = summary(path)
    assert (found["command"], found["exit_code"], found["error"]) == ("verify", 1, "LookupError")
    assert "hf_secret" not in path.read_text()


def test_a_file_that_cannot_be_written_is_a_warning(place: Path, backend: DirectoryBackend) -> None:
    os.mkdir(place / "folder")
    for target in (place / "folder", place / "no" / "such"):
        done = provision("verify", "--at", backend.root, cwd=place, PROVISION_SUMMARY=str(target))
        assert done.code == 0
        assert done.err.count("PROVISION_SUMMARY") == 1
        done = provision("verify", "--at", backend.root, "--json", cwd=place, PROVISION_SUMMARY=str(target))
        assert (done.code, done.json["ok"], done.events[-1]["event"]) == (0, True, "note")


# Streams that are full, closed, or read by nobody


def redirected(place: Path, to: str, *arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    """A command in a shell, its streams redirected, with its line in `log`; NOBODY is a pipe that nobody reads."""
    reader, nobody = os.pipe()
    os.close(reader)
    line = f"{shlex.join(command(*arguments))} {to.replace('NOBODY', str(nobody))}"
    variables = environment(**{"PROVISION_SUMMARY": str(place / "log")} | variables)
    try:
        return subprocess.run(
            ["bash", "-c", line],
            cwd=place,
            env=variables,
            capture_output=True,
            text=True,
            pass_fds=[nobody],
            timeout=PATIENCE,
        )
    finally:
        os.close(nobody)


@pytest.mark.parametrize("flags", [(), ("--json",)], ids=["table", "json"])
@pytest.mark.parametrize(
    ("to", "code", "said"),
    [
        (">/dev/full", 8, "The results cannot be written to stdout: No space left on device."),
        ("1>&-", 8, "The results cannot be written to stdout: Bad file descriptor."),
        ("1>&- 2>&-", 8, ""),
        (">/dev/full 2>&1", 8, ""),
        (">&NOBODY", 141, ""),
        ("2>&-", 0, ""),
        ("2>/dev/full", 0, ""),
    ],
)
def test_the_line_agrees_with_the_exit_code(
    place: Path, backend: DirectoryBackend, to: str, code: int, said: str, flags: tuple[str, ...]
) -> None:
    done = redirected(place, to, "mirror", "--to", place / "new", "--from", backend.root, *flags)
    assert (done.returncode, summary(place / "log")["exit_code"]) == (code, code), done.stderr
    assert DirectoryBackend(place / "new").open().active() == RELEASE  # what was done stays done
    assert "Traceback" not in done.stderr and "Exception" not in done.stderr
    if said:
        (line,) = (line for line in done.stderr.splitlines() if "stdout" in line and "cannot" in line)
        assert said in line
    if not code:
        assert RELEASE in done.stdout and (not flags or json.loads(done.stdout)["active"])


@pytest.mark.parametrize("to", [">/dev/full", "1>&-"])
def test_text_that_click_prints_is_a_result_too(place: Path, backend: DirectoryBackend, to: str) -> None:
    for arguments in (("sums", "--at", backend.root, "--release", RELEASE), ("--version",), ("verify", "--help")):
        done = redirected(place, to, *arguments)
        assert (done.returncode, "cannot be written to stdout" in done.stderr) == (8, True), arguments
        assert summary(place / "log")["exit_code"] == 8


def test_a_command_without_results_needs_no_stdout(place: Path) -> None:
    done = redirected(place, "1>&-", "verify", "--at", place / "nowhere")
    assert (done.returncode, summary(place / "log")["exit_code"]) == (7, 7)


def test_a_warning_never_gets_among_the_results(place: Path, backend: DirectoryBackend) -> None:
    (place / "folder").mkdir()
    variables = {"PROVISION_SUMMARY": str(place / "folder")}  # which cannot be written
    done = redirected(place, "2>&-", "verify", "--at", backend.root, "--json", **variables)
    assert (done.returncode, json.loads(done.stdout)["ok"]) == (0, True)
