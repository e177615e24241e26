"""What the endpoint serves while the store changes, and where it is damaged."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3

from provisioner import lockfile
from provisioner.hub import running
from provisioner.model import Layout
from provisioner.record import LOCK_NAME, RECORD_NAME
from tests.support.hub_fixture import Made, make, on_disk, publish, store
from tests.support.patience import PATIENCE

OLD = make("org/model", {"config.json": b"old", "extra.json": b"{}"}, revision="v1", salt="old")
NEW = make("org/model", {"config.json": b"new!"}, salt="new")
OTHER = make("org/other", {"config.json": b"other", "model.safetensors": b"w" * 3_000_000})


@pytest.fixture
def http() -> Iterator[urllib3.PoolManager]:
    with urllib3.PoolManager(retries=False) as manager:
        yield manager


def address(url: str, made: Made, revision: str, path: str = "config.json") -> str:
    return f"{url}/{made.model.repo}/resolve/{revision}/{path}"


def test_an_empty_store_is_served_until_there_is_something(tmp_path: Path, http: urllib3.PoolManager) -> None:
    with running(store(tmp_path), check_every=0) as url:
        assert http.request("GET", f"{url}/api/models").json() == []
        assert b"No release is published yet" in http.request("GET", url).data
        publish(tmp_path, OTHER)
        assert http.request("GET", address(url, OTHER, "main")).data == b"other"


def test_main_follows_the_active_release_and_every_commit_stays(tmp_path: Path, http: urllib3.PoolManager) -> None:
    first = publish(tmp_path, OLD, age=60)
    with running(store(tmp_path), check_every=0) as url:
        assert http.request("GET", address(url, OLD, "main")).data == b"old"
        publish(tmp_path, NEW, OTHER)
        assert http.request("GET", address(url, NEW, "main")).data == b"new!"
        assert http.request("GET", address(url, OLD, OLD.model.commit)).data == b"old"
        assert http.request("GET", address(url, OLD, "v1")).data == b"old"
        store(tmp_path).activate(first)
        assert http.request("GET", address(url, OLD, "main")).data == b"old"
        assert http.request("GET", address(url, NEW, NEW.model.commit)).data == b"new!"
        assert http.request("GET", address(url, OTHER, "main")).data == b"other"


def test_without_an_active_release_the_newest_counts(tmp_path: Path, http: urllib3.PoolManager) -> None:
    publish(tmp_path, NEW, activate=False)
    publish(tmp_path, OLD, age=60, activate=False)
    with running(store(tmp_path)) as url:
        assert http.request("GET", address(url, NEW, "main")).data == b"new!"


def test_one_commit_in_two_releases_is_one_snapshot(tmp_path: Path, http: urllib3.PoolManager) -> None:
    fewer = make("org/model", {"config.json": b"old"}, salt="old")
    publish(tmp_path, OLD, age=60)
    publish(tmp_path, fewer)
    with running(store(tmp_path)) as url:
        info = http.request("GET", f"{url}/api/models/org/model").json()
        assert [file["rfilename"] for file in info["siblings"]] == ["config.json", "extra.json"]
        assert http.request("GET", address(url, OLD, "main", "extra.json")).data == b"{}"


def test_a_removed_release_is_gone(tmp_path: Path, http: urllib3.PoolManager) -> None:
    first = publish(tmp_path, OLD, age=60)
    publish(tmp_path, NEW)
    with running(store(tmp_path), check_every=0) as url:
        assert http.request("GET", address(url, OLD, OLD.model.commit)).status == 200
        store(tmp_path).remove(first)
        gone = http.request("GET", address(url, OLD, OLD.model.commit))
        assert (gone.status, gone.headers["x-error-code"]) == (404, "RevisionNotFound")


def test_only_published_releases_are_served(tmp_path: Path, http: urllib3.PoolManager) -> None:
    release = publish(tmp_path, OTHER, activate=False)
    (tmp_path / "releases" / release).rename(tmp_path / "staging" / release)
    shutil.copytree(tmp_path / "staging" / release, tmp_path / "releases" / f".{release}.partial")
    with running(store(tmp_path)) as url:
        assert http.request("GET", f"{url}/api/models").json() == []
        assert http.request("GET", address(url, OTHER, "main")).status == 404


@pytest.mark.parametrize("layout", list(Layout))
def test_every_layout_can_be_served(tmp_path: Path, http: urllib3.PoolManager, layout: Layout) -> None:
    publish(tmp_path, make("org/model", {"a/b.json": b"1"}, layouts=(layout,)))
    with running(store(tmp_path)) as url:
        assert http.request("GET", f"{url}/org/model/resolve/main/a/b.json").data == b"1"


def damage_size(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"x")


def damage_link(path: Path) -> None:
    path.rename(path.with_suffix(".moved"))
    path.symlink_to(path.with_suffix(".moved"))


def damage_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def damage_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("damage", [damage_size, damage_link, damage_pipe, damage_folder, Path.unlink])
def test_a_file_that_is_not_as_recorded_is_refused(
    tmp_path: Path, http: urllib3.PoolManager, caplog: pytest.LogCaptureFixture, damage: object
) -> None:
    release = publish(tmp_path, OTHER)
    path = on_disk(tmp_path, release, OTHER, "model.safetensors")
    assert callable(damage)
    with running(store(tmp_path)) as url:
        damage(path)
        for method in ("GET", "HEAD"):
            reply = http.request(method, address(url, OTHER, "main", "model.safetensors"))
            assert reply.status == 503
            assert b"w" * 100 not in reply.data
        assert http.request("GET", address(url, OTHER, "main")).data == b"other"
    errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 2
    assert all(str(path) in error for error in errors)


def test_a_file_that_shrinks_while_it_is_read_breaks_the_answer(
    tmp_path: Path, http: urllib3.PoolManager, caplog: pytest.LogCaptureFixture
) -> None:
    big = make("org/big", {"model.safetensors": bytes(64 * 2**20)})
    release = publish(tmp_path, big)
    path = on_disk(tmp_path, release, big, "model.safetensors")
    with running(store(tmp_path)) as url:
        reply = http.request("GET", address(url, big, "main", "model.safetensors"), preload_content=False)
        assert reply.status == 200
        reply.read(1000)
        os.truncate(path, 40 * 2**20)
        with pytest.raises(urllib3.exceptions.HTTPError):
            while reply.read(2**20):
                pass
        reply.close()
    assert f"refused: {path} does not match its record: it ends at {40 * 2**20} bytes" in caplog.text


@pytest.mark.parametrize("part", [RECORD_NAME, LOCK_NAME])
def test_a_damaged_release_is_not_served_and_the_others_are(
    tmp_path: Path, http: urllib3.PoolManager, caplog: pytest.LogCaptureFixture, part: str
) -> None:
    damaged = publish(tmp_path, OLD, age=60)
    publish(tmp_path, OTHER)
    (tmp_path / "releases" / damaged / part).write_bytes(b"version = 1\n")
    with running(store(tmp_path), check_every=0) as url:
        for _ in range(3):
            assert [model["id"] for model in http.request("GET", f"{url}/api/models").json()] == ["org/other"]
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert damaged in warnings[0]


def test_a_lock_that_is_not_the_recorded_one_is_not_believed(tmp_path: Path, http: urllib3.PoolManager) -> None:
    release = publish(tmp_path, OLD)
    path = tmp_path / "releases" / release / LOCK_NAME
    forged = path.read_bytes().replace(b'"v1"', b'"v2"')
    assert lockfile.parse(forged) != lockfile.parse(path.read_bytes())
    path.write_bytes(forged)
    with running(store(tmp_path)) as url:
        assert http.request("GET", address(url, OLD, "v2")).status == 404


def test_a_store_that_cannot_be_read_for_a_while_keeps_its_catalog(
    tmp_path: Path, http: urllib3.PoolManager, caplog: pytest.LogCaptureFixture
) -> None:
    publish(tmp_path, OTHER)
    with running(store(tmp_path), check_every=0) as url:
        assert http.request("GET", address(url, OTHER, "main")).status == 200
        (tmp_path / "current").unlink()
        (tmp_path / "current").mkdir()
        assert http.request("GET", address(url, OTHER, "main")).status == 200
        assert "cannot read the store" in caplog.text


def test_many_clients_while_releases_come_and_go(tmp_path: Path) -> None:
    """Every answer is one release's bytes, whole; none is an error of the server."""
    publish(tmp_path, OLD, OTHER, age=60)
    newer = publish(tmp_path, NEW, OTHER)
    older = next(release for release in store(tmp_path).releases() if release != newer)
    seen: list[tuple[int, bytes]] = []
    with running(store(tmp_path), check_every=0) as url:

        def ask() -> None:
            with urllib3.PoolManager(retries=False) as http:
                for _ in range(60):
                    reply = http.request("GET", address(url, NEW, "main"))
                    seen.append((reply.status, reply.data))

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            for release in (older, newer):
                store(tmp_path).activate(release)
        for thread in threads:
            thread.join()
    assert len(seen) == 480
    assert set(seen) == {(200, b"old"), (200, b"new!")}


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_the_command(tmp_path: Path, http: urllib3.PoolManager, how: signal.Signals) -> None:
    publish(tmp_path, OTHER)
    command = [sys.executable, "-m", "provisioner", "hub", "--at", str(tmp_path), "--port", "0"]
    here = Path(__file__).parents[2]
    with subprocess.Popen(command, cwd=here, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        url = process.stdout.readline().strip()
        assert http.request("GET", address(url, OTHER, "main")).data == b"other"
        process.send_signal(how)
        _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert f"export HF_ENDPOINT={url}" in errors
    assert "'GET /org/other/resolve/main/config.json' 200 5 bytes" in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("arguments", "code"), [(["--at", "./absent"], 7), (["--at", "absent"], 2), (["--port", "65536"], 2)]
)
def test_the_command_says_what_is_wrong(tmp_path: Path, arguments: list[str], code: int) -> None:
    command = [sys.executable, "-m", "provisioner", "hub", *arguments]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
