"""Real `provision` processes that fill a bucket: killed, in each other's way, refused; and what they say meanwhile."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from provisioner.stores import owner
from tests.support import s3_fault_actions as act
from tests.support.faults import FaultyHub
from tests.support.faults_process import provision, started
from tests.support.faulty_store import WEIGHTS, Through, through
from tests.support.hub_fixture import make
from tests.support.locks import MemorySource, document, small, tree, write
from tests.support.object_backend import PREFIX, environment
from tests.support.patience import PATIENCE, until
from tests.support.s3_fault_actions import Action
from tests.support.stores import DirectoryBackend, findings, transfer

PART = 8 * 2**20
MADE = make(
    "org/killed",
    {
        "config.json": b"{}",
        "empty.txt": b"",
        WEIGHTS: random.Random(9).randbytes(2 * PART + 5),
        **{f"part-{number}.json": b"%d" % number * 900 for number in range(5)},
    },
)
TOKEN = "session-token-that-nobody-may-see"


@pytest.fixture
def line() -> Iterator[Through]:
    with through() as found:
        yield found


def keys(line: Through, endpoint: str | None = None) -> dict[str, str]:
    return environment(line.direct.server, endpoint or line.proxy.endpoint)


def parts_sent(line: Through, since: int = 0) -> list[int]:
    """The numbers of the parts that were sent, successfully or not."""
    sent = [one.query for one in line.proxy.log[since:] if one.method == "PUT" and "partNumber=" in one.query]
    return sorted(int(query.partition("partNumber=")[2].partition("&")[0]) for query in sent)


def test_a_run_killed_in_the_middle_of_an_upload_is_continued(line: Through, tmp_path: Path) -> None:
    lock = write(tmp_path, MADE)
    with FaultyHub(MADE) as hub:
        go = hub.hold(WEIGHTS, PART + PART // 2)  # the first of three parts can be sent
        arguments = ("mirror", "--lock", lock, "--to", line.direct.address, "--from", "hub", "--endpoint", hub.url)
        with started(*arguments, cwd=tmp_path, **keys(line)) as process:
            until(lambda: line.parts(MADE) or process.poll() is not None)
            assert process.poll() is None
        until(line.proxy.is_idle)
        listed = provision("releases", "list", "--at", line.direct.address, "--json", cwd=tmp_path, **keys(line))
        assert (listed.code, listed.json) == (0, [])
        line.assert_nothing_is_visible()
        there, begin = line.parts(MADE), len(line.proxy.log)
        assert there == {1}
        go.set()
        done = provision(*arguments, "--json", cwd=tmp_path, **keys(line))
    assert done.code == 0, done.err
    assert done.json["changed"] and done.json["active"]
    assert parts_sent(line, begin) == sorted({1, 2, 3} - there)
    line.assert_whole(MADE)


def test_a_run_killed_at_any_moment_leaves_no_release_or_a_whole_one(
    line: Through, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance, lock, kills = random.Random(11), write(tmp_path, MADE), 0
    origin = DirectoryBackend(tmp_path / "origin")
    transfer(document(MADE), origin.open(), MemorySource(MADE))
    release = tree(MADE).release_id
    arguments = ("mirror", "--lock", lock, "--to", line.direct.address, "--from", origin.root)
    for number in range(6):
        stop = act.Stop(carried_out=number % 2 == 0)
        line.fault(stop, nth=chance.randrange(1, 35))  # requests of a run
        with started(*arguments, cwd=tmp_path, **keys(line)) as process:
            until(lambda: stop.reached.is_set() or process.poll() is not None)  # noqa: B023  # used at once
            kills += stop.reached.is_set()
        stop.go.set()
        until(line.proxy.is_idle)
        line.proxy.faults.clear()
        found = line.direct.open().releases()
        assert found in ((), (release,))
        if found:
            assert findings(line.direct.open(), release) == {}
            line.direct.open().remove(release)
    assert kills >= 3
    assert provision(*arguments, cwd=tmp_path, **keys(line)).code == 0
    with monkeypatch.context() as later:  # one killed as it asked the time leaves a key that says nobody's name
        later.setattr(owner, "STALE_SECONDS", -1e9)
        assert all(key.startswith("staging/clock.") for key in line.direct.open().sweep())
    line.assert_whole(MADE)


def test_two_mirrors_at_once_both_end_well(line: Through, tmp_path: Path) -> None:
    lock, origin = write(tmp_path, MADE), DirectoryBackend(tmp_path / "origin")
    transfer(document(MADE), origin.open(), MemorySource(MADE))
    arguments = ("mirror", "--lock", lock, "--to", line.direct.address, "--from", origin.root)
    each = [started(*arguments, cwd=tmp_path, stderr=tmp_path / f"err-{n}", **keys(line)) for n in range(2)]
    with each[0] as first, each[1] as second:
        codes = [run.wait(PATIENCE) for run in (first, second)]
    assert codes == [0, 0], [path.read_text() for path in tmp_path.glob("err-*")]
    assert [one.status for one in line.proxy.requests("PUT", "release.json")].count(200) == 1
    line.assert_whole(MADE)


def test_a_prune_beside_a_mirror_and_after_a_dead_one(line: Through, tmp_path: Path) -> None:
    lock = write(tmp_path, MADE)
    prune = ("releases", "prune", "--keep", 1, "--at", line.direct.address, "--json")
    with FaultyHub(MADE) as hub:
        hub.hold(WEIGHTS, PART // 2)
        arguments = ("mirror", "--lock", lock, "--to", line.direct.address, "--from", "hub", "--endpoint", hub.url)
        with started(*arguments, cwd=tmp_path, **keys(line)) as process:
            until(lambda: process.poll() is not None or (line.direct.uploads() and len(line.direct.keys()) > 2))
            beside = provision(*prune, cwd=tmp_path, **keys(line))
            assert process.poll() is None
    until(line.proxy.is_idle)
    assert (beside.code, beside.json["swept"]) == (0, [])
    after = provision(*prune, cwd=tmp_path, **keys(line))
    assert after.code == 0
    assert len(after.json["swept"]) == 3  # a marker, files, parts
    assert line.direct.unfinished() == []


REFUSED: dict[str, tuple[dict[str, str], list[tuple[Action, dict[str, Any]]], int]] = {
    "no such bucket": ({}, [], 7),
    "wrong key": ({"AWS_SECRET_ACCESS_KEY": "wrong-secret-of-nobody"}, [], 6),
    "nobody there": ({"AWS_ENDPOINT_URL": "http://user:wrong-secret-of-nobody@127.0.0.1:9"}, [], 5),
    "no url": ({"AWS_ENDPOINT_URL": "127.0.0.1:9"}, [], 4),
    "full": ({}, [(act.storage_full(), {"method": "PUT", "key": WEIGHTS, "times": None})], 8),
    "expired": ({}, [(act.expired_token(), {"method": "PUT", "key": WEIGHTS, "times": None})], 6),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_exit_codes_and_no_secret_in_anything_that_is_said(line: Through, tmp_path: Path, kind: str) -> None:
    variables, faults, code = REFUSED[kind]
    for do, which in faults:
        line.fault(do, **which)
    lock, origin = write(tmp_path, small()), DirectoryBackend(tmp_path / "origin")
    transfer(document(small()), origin.open(), MemorySource(small()))
    target = "s3://no-such-bucket-of-ours/x" if kind == "no such bucket" else line.direct.address
    arguments = ("mirror", "--lock", lock, "--to", target, "--from", origin.root, "-vv", "--json")
    done = provision(*arguments, cwd=tmp_path, **(keys(line) | {"AWS_MAX_ATTEMPTS": "2"} | variables))
    assert done.code == code, done.err
    assert '"event": "error"' in done.err.splitlines()[-1]
    assert "Traceback" not in done.err
    assert_no_secrets(line, done.out + done.err)
    line.assert_nothing_is_visible()


def test_no_secret_in_what_a_run_says_or_leaves(line: Through, tmp_path: Path) -> None:
    """A session token too: the server takes it for a wrong one, so this run is refused; the other one goes through."""
    lock, origin = write(tmp_path, small()), DirectoryBackend(tmp_path / "origin")
    transfer(document(small()), origin.open(), MemorySource(small()))
    arguments = ("mirror", "--lock", lock, "--to", line.direct.address, "--from", origin.root, "-vv", "--json")
    for code, more in ((6, {"AWS_SESSION_TOKEN": TOKEN}), (0, {})):
        done = provision(*arguments, cwd=tmp_path, **(keys(line) | more))
        assert done.code == code, done.err
        assert_no_secrets(line, done.out + done.err)
    for key in list(line.direct.keys()):
        content = line.direct.client.get_object(Bucket=line.direct.bucket, Key=f"{PREFIX}/{key}")["Body"].read()
        assert_no_secrets(line, content.decode("latin-1"))
    line.assert_whole(small())


def assert_no_secrets(line: Through, text: str) -> None:
    for secret in (line.direct.server.secret_key, TOKEN, "wrong-secret-of-nobody", "X-Amz-Signature", "Signature="):
        assert secret not in text


def test_verify_status_and_activate_say_what_they_find(line: Through, tmp_path: Path) -> None:
    lock, variables = write(tmp_path, small()), keys(line)
    release = transfer(document(small()), line.direct.open(), MemorySource(small())).report.release
    at = ("--at", line.direct.address)
    assert provision("status", *at, "--lock", lock, "--check", cwd=tmp_path, **variables).code == 3
    assert provision("releases", "activate", release, *at, cwd=tmp_path, **variables).code == 0
    assert provision("status", *at, "--lock", lock, "--check", cwd=tmp_path, **variables).code == 0
    line.direct.overwrite(release, "\x1b]0;owned\x07.txt", b"x")
    done = provision("verify", *at, "--mode", "recorded", cwd=tmp_path, **variables)
    assert done.code == 3
    assert "recorded" in done.out
    assert "\x1b]0;" not in done.out + done.err
    assert "\x07" not in done.out + done.err
    mended = provision(
        "mirror", "--repair", "--to", line.direct.address, "--lock", lock, "--from", line.direct.address,
        cwd=tmp_path, **variables,
    )  # fmt: skip
    assert mended.code == 0, mended.err
    assert findings(line.direct.open(), release) == {}
