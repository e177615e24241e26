"""The Azure Files store, by the real SDK, against a service that misbehaves and writers that die."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from provisioner.errors import (
    AccessDenied,
    InvalidInput,
    NotFound,
    ProvisionError,
    StoreFull,
    Unavailable,
    Unusable,
    VerificationFailed,
)
from provisioner.model import Digest, RelPath, Tree, TreeEntry
from provisioner.ops.pull import PatientPull
from provisioner.ports.events import silent
from provisioner.record import ReleaseRecord
from provisioner.report import Evidence
from provisioner.stores.azurefiles import AzureFilesStore
from provisioner.stores.azurefiles.address import parse_address
from provisioner.stores.azurefiles.client import CA_VARIABLES, connect
from provisioner.stores.azurefiles.login import Login
from provisioner.stores.azurefiles.share import RANGE, Share
from tests.support.azure_backend import QUICK, SHARE, AzureFilesBackend
from tests.support.azure_files import (
    BUSY,
    EXPIRED,
    FULL,
    Action,
    Answer,
    Asked,
    AzureFiles,
    CutDownload,
    CutUpload,
    Fault,
    FlipBit,
    Hold,
    Late,
    Lie,
    Logged,
    LoseAnswer,
)
from tests.support.faults import FaultyHub
from tests.support.faults_process import provision, start
from tests.support.hub_fixture import Made, make
from tests.support.locks import MemorySource, document, small, snapshot, tree, write
from tests.support.patience import PATIENCE, until
from tests.support.stores import QUICK as QUICK_PULL
from tests.support.stores import DirectoryBackend, Run, findings, transfer

ALWAYS = 10**6
WEIGHTS = bytes(range(251)) * 18_000  # 4.5 MB: two ranges
BEGINNING = 4_400_000  # ends in the second range, within a sector
LARGE = make("org/large", {"config.json": b"{}", "model.safetensors": WEIGHTS})
AFTER = make("org/large", {**LARGE.content, "config.json": b"{ }"}, salt="2")  # shares its weights


@pytest.fixture
def server(tmp_path: Path) -> Iterator[AzureFiles]:
    with AzureFiles(tmp_path / "server") as running:
        yield running


@pytest.fixture
def backend(server: AzureFiles) -> AzureFilesBackend:
    return AzureFilesBackend(server)


def mirror(backend: AzureFilesBackend, made: Made = LARGE, source: MemorySource | None = None) -> str:
    return transfer(document(made), backend.open(), source or MemorySource(made)).report.release


def assert_whole(backend: AzureFilesBackend, made: Made = LARGE) -> None:
    release = tree(made).release_id
    assert findings(backend.open(), release) == {}
    for path, data in made.content.items():
        assert backend.read(release, snapshot(made, path)) == data
    assert backend.unfinished() == []


@pytest.mark.parametrize(
    "fault",
    [
        Fault(CutUpload(100_000), "PUT range", "partial", times=2),
        Fault(BUSY, "PUT range", times=3),
        Fault(Answer(500, "InternalError"), "PUT", times=3),
        Fault(Lie({"Content-MD5": "AAAAAAAAAAAAAAAAAAAAAA=="}), "PUT range", "partial"),
        Fault(Answer(400, "Md5Mismatch"), "PUT range", "partial"),
        Fault(LoseAnswer(), "PUT range", "partial", times=2),
        Fault(LoseAnswer(), "PUT rename"),
        Fault(LoseAnswer(), "PUT directory rename", "staging"),
        Fault(LoseAnswer(), "PUT directory rename", "releases/"),
        Fault(LoseAnswer(), "PUT directory", times=2),
        Fault(LoseAnswer(), "DELETE", times=2),
        Fault(BUSY, "GET directory list", times=2),
    ],
    ids=str,
)
def test_what_passes_is_tried_again(server: AzureFiles, backend: AzureFilesBackend, fault: Fault) -> None:
    fault = Fault(fault.action, fault.operation, fault.path, fault.times)
    server.faults.append(fault)
    mirror(backend)
    assert fault.hits >= fault.times
    assert_whole(backend)


def test_a_service_that_stays_busy_says_when_to_come_back(server: AzureFiles, backend: AzureFilesBackend) -> None:
    server.faults.append(Fault(BUSY, "PUT range", times=ALWAYS))
    with pytest.raises(Unavailable, match="503 ServerBusy") as failed:
        mirror(backend)
    assert failed.value.retry_after == 1.0
    assert backend.open().releases() == ()


def test_bytes_that_are_changed_on_every_way_in_are_never_published(
    server: AzureFiles, backend: AzureFilesBackend
) -> None:
    server.faults.append(Fault(Answer(400, "Md5Mismatch"), "PUT range", "partial", times=ALWAYS))
    with pytest.raises(Unavailable, match="did not arrive whole"):
        mirror(backend)
    assert backend.open().releases() == ()


def test_a_credential_that_expires_in_the_middle_ends_it_and_the_next_run_continues(
    server: AzureFiles, backend: AzureFilesBackend
) -> None:
    server.faults.append(Fault(EXPIRED, "PUT range", "partial", times=ALWAYS, after=1))
    with pytest.raises(AccessDenied, match="AuthenticationFailed") as failed:
        mirror(backend)
    assert "expired" in failed.value.hint
    server.faults.clear()
    assert backend.open().releases() == ()
    source = MemorySource(LARGE)
    mirror(backend, source=source)
    starts = [start for path, start, _ in source.asked if path == "model.safetensors"]
    assert len(starts) == 1
    assert starts[0] % RANGE == 0
    assert_whole(backend)


def test_a_full_share_is_said_to_be_full_and_what_was_verified_is_kept(
    server: AzureFiles, backend: AzureFilesBackend
) -> None:
    def full(asked: Asked) -> Action | None:
        second = asked.operation == "PUT range" and not asked.headers["x-ms-range"].startswith("bytes=0-")
        return FULL if second else None

    server.faults.append(full)
    with pytest.raises(StoreFull) as failed:
        mirror(backend)
    assert failed.value.exit_code == 8
    assert backend.open().releases() == ()
    server.faults.clear()
    source = MemorySource(LARGE)
    mirror(backend, source=source)
    assert all(start for path, start, _ in source.asked if path == "model.safetensors")
    assert_whole(backend)


def test_a_quota_that_is_too_small_is_seen_before_the_first_byte(server: AzureFiles) -> None:
    server.create_share(SHARE, quota=1)
    backend = AzureFilesBackend(server)
    (server.path(SHARE) / "filler").write_bytes(b"")
    os.truncate(server.path(SHARE) / "filler", 2**30 - 2**20)
    source = MemorySource(LARGE)
    with pytest.raises(StoreFull) as failed:
        mirror(backend, source=source)
    assert (failed.value.missing or 0) > 3 * 2**20
    assert source.asked == []


def test_without_the_right_to_ask_for_the_quota_free_space_is_unknown(
    server: AzureFiles, backend: AzureFilesBackend
) -> None:
    server.faults.append(Fault(Answer(403, "AuthorizationFailure"), "GET share", times=ALWAYS))
    assert backend.open().observe(tree(LARGE)).capabilities.free is None
    mirror(backend)
    assert_whole(backend)


def test_a_flipped_bit_at_rest_is_found_and_never_shared(backend: AzureFilesBackend) -> None:
    first = mirror(backend)
    path = snapshot(LARGE, "model.safetensors")
    with open(backend.path(first, path), "r+b") as file:
        file.seek(BEGINNING)
        file.write(b"\xff")
    assert findings(backend.open(), first, Evidence.REHASHED) == {path: "digest"}
    assert findings(backend.open(), first, Evidence.RECORDED) == {}
    after = AFTER
    run = transfer(document(after), backend.open(), MemorySource(after))
    assert any("source instead" in notice for notice in run.notices)
    assert_whole(backend, after)


def test_recorded_evidence_asks_for_no_bytes_and_misses_no_foreign_file(
    server: AzureFiles, backend: AzureFilesBackend
) -> None:
    release = mirror(backend)
    server.log.clear()
    store = backend.open()
    record = store.record(release)
    server.log.clear()
    assert list(store.check(record, Evidence.RECORDED, lambda _: None)) == []
    assert server.asked_for("GET") == []
    assert len(server.asked_for("HEAD")) == len(tree(LARGE).entries)
    place = f"{backend.root}/releases/{release}/{snapshot(LARGE, 'config.json')}"
    share_of(backend).write(place, b"[]")
    assert findings(store, release, Evidence.RECORDED) == {snapshot(LARGE, "config.json"): "digest"}


def share_of(backend: AzureFilesBackend) -> Share:
    return backend.open()._share


def test_listings_follow_every_page(server: AzureFiles, backend: AzureFilesBackend) -> None:
    release = mirror(backend, small())
    for number in range(2_500):
        (backend.path(release) / f"extra-{number:04}").touch()
    server.folders.page = 1_000
    store = backend.open()
    record = store.record(release)
    server.log.clear()
    found = list(store.check(record, Evidence.SIZE_ONLY, lambda _: None))
    assert sorted(one.path for one in found) == [f"extra-{number:04}" for number in range(2_500)]
    assert len(server.asked_for("GET directory list")) < 20


def test_bytes_that_break_off_on_the_way_out_are_asked_for_again(
    server: AzureFiles, backend: AzureFilesBackend, tmp_path: Path
) -> None:
    release = mirror(backend)
    server.faults.append(Fault(CutDownload(1_000_000), "GET", "model.safetensors", times=2))
    target = DirectoryBackend(tmp_path / "target")
    run = transfer(document(LARGE), target.open(), backend.open().as_source())
    assert run.report.release == release
    assert findings(target.open(), release) == {}
    assert len(run.retries) == 2


def test_a_bit_flipped_on_the_way_out_is_never_written_on(
    server: AzureFiles, backend: AzureFilesBackend, tmp_path: Path
) -> None:
    mirror(backend)
    server.faults.append(Fault(FlipBit(1_000), "GET", "model.safetensors"))
    target = DirectoryBackend(tmp_path / "target")
    with pytest.raises(VerificationFailed):
        transfer(document(LARGE), target.open(), backend.open().as_source())
    assert target.open().releases() == ()


def test_copies_that_take_their_time_are_waited_for(server: AzureFiles, backend: AzureFilesBackend) -> None:
    mirror(backend)
    server.files.polls = 2
    after = AFTER
    source = MemorySource(after)
    mirror(backend, after, source)
    assert [path for path, _, _ in source.asked] == ["config.json"]
    assert_whole(backend, after)


def test_where_the_service_will_not_copy_the_bytes_go_through_us(
    server: AzureFiles, backend: AzureFilesBackend
) -> None:
    mirror(backend)

    def refuse(asked: Asked) -> Action | None:
        return Answer(403, "CannotVerifyCopySource") if "x-ms-copy-source" in asked.headers else None

    server.faults.append(refuse)
    after = make("org/large", {**LARGE.content, "config.json": b"{ }", "again.safetensors": WEIGHTS}, salt="2")
    source = MemorySource(after)
    mirror(backend, after, source)
    assert [path for path, _, _ in source.asked] == ["config.json"]
    assert_whole(backend, after)


def abandon(backend: AzureFilesBackend, made: Made = LARGE, count: int = BEGINNING) -> None:
    """A run whose source ended early, for ever."""
    source = MemorySource(made)
    (entry,) = (entry for entry in tree(made).entries if entry.path.endswith("model.safetensors"))
    source.content[entry.sha256] = source.content[entry.sha256][:count]
    with pytest.raises(ProvisionError):
        mirror(backend, made, source)


def foreign(backend: AzureFilesBackend) -> None:
    """Let every build look as if another machine had begun it."""
    for mark in backend.staging.glob("*/owner.json"):
        mark.write_text(json.dumps({"host": "elsewhere", "boot": "b", "space": "s", "pid": 1, "started": "1"}))


def test_a_part_that_somebody_may_still_write_to_is_copied_not_taken(
    server: AzureFiles, backend: AzureFilesBackend
) -> None:
    abandon(backend)
    foreign(backend)
    assert set(backend.open().observe(tree(LARGE)).partial.values()) == {BEGINNING}
    source = MemorySource(LARGE)
    mirror(backend, source=source)
    assert [start for path, start, _ in source.asked if path == "model.safetensors"] == [BEGINNING]
    assert findings(backend.open(), tree(LARGE).release_id) == {}
    assert len(backend.unfinished()) == 1  # it may be alive
    assert len(list(backend.staging.glob("*/partial/*"))) == 1


def test_what_gave_no_sign_for_long_is_swept_by_the_service_s_clock(
    server: AzureFiles, backend: AzureFilesBackend
) -> None:
    abandon(backend)
    foreign(backend)
    (backend.staging / "removed.0123").mkdir()
    (backend.staging / "removed.0123" / "half").write_bytes(b"x")
    store = with_signature(backend, signature(server))  # a key would be refused by a clock that differs so much
    assert store.sweep() == ("staging/removed.0123",)
    server.skew = 20 * 60
    assert len(store.sweep()) == 1
    assert backend.unfinished() == []


def test_several_connections_fill_one_file_in_parallel(backend: AzureFilesBackend) -> None:
    made = make("org/huge", {"model.safetensors": os.urandom(2 * RANGE + 1_000)})
    store, source = backend.open(), MemorySource(made)
    store.observe(tree(made))
    build = store.build(tree(made))
    (entry,) = (entry for entry in tree(made).entries if entry.path.endswith("model.safetensors"))
    assert entry.origin is not None
    build.put(entry, PatientPull(source, entry.origin, QUICK_PULL, silent, threading.Event()), lambda _: None, 4)
    build.close()
    assert sorted(start for _, start, _ in source.asked) == [0, RANGE, 2 * RANGE]
    (held_,) = backend.open().observe(tree(made)).held.values()
    assert (held_.digest, held_.movable) == (entry.sha256, True)
    transfer(document(made), backend.open())
    assert_whole(backend, made)


def test_files_of_many_gigabytes_are_addressed_right(backend: AzureFilesBackend) -> None:
    share, size, path = share_of(backend), 5 * 2**30, f"{backend.root}/staging/large"
    backend.open().create()
    share.create(path, size)
    assert (share.stat(path).size, share.prefix(path)) == (size, 0)
    share.write_range(path, size - 5, b"last!")
    share.write_range(path, 0, b"first")
    assert share.read(path, size - 6, size) == b"\0last!"
    assert share.prefix(path) == 5
    (child,) = share.list(f"{backend.root}/staging")
    assert child.size == size


def test_a_mounted_share_is_the_same_store(backend: AzureFilesBackend, server: AzureFiles) -> None:
    release = mirror(backend)
    backend.open().activate(release)
    mounted = DirectoryBackend(server.path(SHARE, backend.root), hard_links=False, chmod=False)
    assert (mounted.open().releases(), mounted.open().active()) == ((release,), release)
    assert findings(mounted.open(), release) == {}


def test_two_writers_at_once_both_end_well(backend: AzureFilesBackend) -> None:
    ended: list[object] = []

    def run() -> None:
        try:
            ended.append(mirror(backend))
        except BaseException as error:
            ended.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ended == [tree(LARGE).release_id] * 3
    assert_whole(backend)


LENGTH = 18 * 2**20


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_mirror_that_is_ended_is_continued_not_begun_again(
    server: AzureFiles, backend: AzureFilesBackend, tmp_path: Path, number: signal.Signals
) -> None:
    made = make("org/killed", {"config.json": b"{}", "model.safetensors": os.urandom(LENGTH)})
    lock, variables = write(tmp_path, made), cast(dict[str, Any], backend.environment)
    with FaultyHub(made) as hub:
        go = hub.hold("model.safetensors", 3 * RANGE + 1000)  # three of five ranges can be written
        arguments = ("mirror", "--lock", lock, "--to", backend.address, "--endpoint", hub.url)
        process = start(*arguments, cwd=tmp_path, stderr=tmp_path / "err", **variables)
        until(lambda: process.poll() is not None or len(written(server, "/partial/")) >= 3)
        assert process.poll() is None, (tmp_path / "err").read_text()
        process.send_signal(number)
        assert process.wait(PATIENCE) == (130 if number is signal.SIGTERM else -number)
        assert backend.open().releases() == ()
        (kept,) = backend.open().observe(tree(made)).partial.values()
        assert 3 * RANGE <= kept < 4 * RANGE
        since = len(hub.requests)
        go.set()
        done = provision(*arguments, cwd=tmp_path, **variables)
        assert done.code == 0, done.err
        assert 0 < hub.sent("model.safetensors", since) <= LENGTH - kept
    assert_whole(backend, made)


def written(server: AzureFiles, path: str) -> list[Logged]:
    return [line for line in server.asked_for("PUT range") if path in line.path]


def test_the_commands_work_on_a_share(backend: AzureFilesBackend, tmp_path: Path) -> None:
    mirror(backend, small())
    at, variables = ("--at", backend.address), cast(dict[str, Any], backend.environment)
    for arguments in (
        ("releases", "activate", tree(small()).release_id, *at),
        ("verify", *at, "--mode", "full"),
        ("status", *at, "--lock", write(tmp_path, small())),
        ("releases", "prune", "--keep", 1, *at),
    ):
        done = provision(*arguments, cwd=tmp_path, **variables)
        assert done.code == 0, done.err
    assert_whole(backend, small())


class Token:
    """What azure-identity would give."""

    def __init__(self, token: str) -> None:
        self.token = token

    def get_token(self, *scopes: str, **options: Any) -> Any:
        return SimpleNamespace(token=self.token, expires_on=int(time.time()) + 3600)


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"])
def test_a_token_and_a_private_ca_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    for name in CA_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    with AzureFiles(tmp_path, tls=True) as server:
        backend = AzureFilesBackend(server)
        server.keeper.tokens.add("secret-token")
        address, login = parse_address(backend.address), Login(server.url, Token("secret-token"))
        with pytest.raises(Unavailable, match="certificate") as failed:
            AzureFilesStore(Share(connect(address, login, QUICK), "azurefiles"), "store").releases()
        assert not failed.value.retryable
        monkeypatch.setenv(variable, str(server.ca_file))
        intents: set[str | None] = set()

        def listen(asked: Asked) -> None:
            intents.add(asked.headers.get("x-ms-file-request-intent"))

        server.faults.append(listen)
        store = AzureFilesStore(Share(connect(address, login, QUICK), "azurefiles"), "store")
        for made in (LARGE, AFTER) if variable == "SSL_CERT_FILE" else ():
            source = MemorySource(made)
            transfer(document(made), store, source)
            assert findings(store, tree(made).release_id) == {}
        if variable == "SSL_CERT_FILE":
            assert [path for path, _, _ in source.asked] == ["config.json"]
        store.releases()
        assert intents == {"backup"}
        server.keeper.tokens.clear()
        with pytest.raises(AccessDenied):
            store.releases()


def signature(server: AzureFiles, letters: str = "rwdlc") -> str:
    from datetime import UTC, datetime, timedelta

    from azure.storage.fileshare import ShareSasPermissions, generate_share_sas

    token = generate_share_sas(
        server.account,
        SHARE,
        server.key,
        permission=ShareSasPermissions.from_string(letters),
        expiry=datetime.now(UTC) + timedelta(hours=1),
    )
    return str(token)


def with_signature(backend: AzureFilesBackend, token: str) -> AzureFilesStore:
    from provisioner.stores.azurefiles import open_azure_files

    variables = {"AZURE_STORAGE_SAS_TOKEN": f"?{token}", "PROVISION_AZURE_FILE_ENDPOINT": backend.server.url}
    return open_azure_files(backend.address, None, variables, QUICK)


def test_a_signature_for_the_share_is_enough(server: AzureFiles, backend: AzureFilesBackend) -> None:
    store = with_signature(backend, signature(server))
    for made in (LARGE, AFTER):
        source = MemorySource(made)
        transfer(document(made), store, source)
        store.activate(tree(made).release_id)
        assert findings(store, tree(made).release_id) == {}
    assert [path for path, _, _ in source.asked] == ["config.json"]
    store.remove(tree(LARGE).release_id)
    assert backend.unfinished() == []


def test_no_secret_is_in_any_error_or_log(
    server: AzureFiles, backend: AzureFilesBackend, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    logging.getLogger("azure").setLevel(logging.DEBUG)
    token = signature(server)
    secrets = [part.partition("=")[2] for part in token.split("&") if part.startswith("sig=")] + [server.key]
    stores = [with_signature(backend, token), backend.open()]
    told: list[str] = []
    for store in stores:
        for action in (EXPIRED, BUSY, LoseAnswer(), Answer(409, "SharingViolation"), Answer(400, "InvalidUri")):
            server.faults[:] = [Fault(action, times=ALWAYS)]
            with pytest.raises(ProvisionError) as failed:
                store.releases()
            told += [*traceback.format_exception(failed.value), str(failed.value), failed.value.hint]
    server.faults.clear()
    transfer(document(small()), stores[0], MemorySource(small()))
    server.__exit__(None, None, None)
    for store in stores:
        with pytest.raises(Unavailable) as failed:
            store.releases()
        told += [*traceback.format_exception(failed.value), str(failed.value), failed.value.hint]
    told += [record.getMessage() for record in caplog.records]
    assert len(caplog.records) > 10
    assert len(told) > 30
    for secret in secrets:
        assert not [line for line in told if secret in line]
    logging.getLogger("azure").setLevel(logging.NOTSET)


def test_a_wrong_clock_is_named(server: AzureFiles, backend: AzureFilesBackend) -> None:
    server.skew = 3600
    with pytest.raises(AccessDenied, match="clock is 60 minutes behind Azure's") as failed:
        backend.open().releases()
    assert "NTP" in failed.value.hint


def test_a_share_that_is_not_there_is_named(server: AzureFiles) -> None:
    from provisioner.stores.azurefiles import open_azure_files

    variables = {"AZURE_STORAGE_CONNECTION_STRING": server.connection_string}
    store = open_azure_files(f"azurefiles://{server.account}/nowhere/store", None, variables, QUICK)
    calls: tuple[Callable[[], object], ...] = (lambda: mirror_into(store), store.create, store.exists, store.as_source)
    for call in calls:
        with pytest.raises(NotFound, match="file share of azurefiles://devacct/nowhere"):
            call()


def mirror_into(store: AzureFilesStore) -> None:
    transfer(document(LARGE), store, MemorySource(LARGE))


def test_names_that_a_share_cannot_hold_are_refused_before_anything_is_written(
    server: AzureFiles, backend: AzureFilesBackend
) -> None:
    first = small()
    for path in ("a/clock$", "private\ue000use", "MODEL.safetensors"):
        entries = [TreeEntry.generated(RelPath(name), b"x") for name in (path, "model.safetensors")]
        wanted = Tree.of(entries)
        server.log.clear()
        with pytest.raises(InvalidInput, match="Azure Files cannot hold"):
            backend.open().observe(wanted)
        with pytest.raises(InvalidInput, match="Azure Files cannot hold"):
            backend.open().build(wanted)
        assert server.log == []
    mirror(backend, first)


def test_a_build_shows_that_it_lives(
    server: AzureFiles, backend: AzureFilesBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("provisioner.stores.owner.BEAT_SECONDS", 0.02)
    store = backend.open()
    store.observe(tree(LARGE))
    build = store.build(tree(LARGE))
    server.log.clear()
    until(lambda: written(server, "/owner.json"))
    assert store.sweep() == ()
    build.close()
    assert backend.unfinished() == []


def test_a_build_that_is_swept_while_it_works_publishes_nothing(backend: AzureFilesBackend) -> None:
    store = backend.open()
    store.observe(tree(LARGE))
    build = store.build(tree(LARGE))
    for folder in list(backend.staging.iterdir()):
        share_of(backend).move_folder(
            f"{backend.root}/staging/{folder.name}", f"{backend.root}/staging/removed.{folder.name}"
        )
    for entry in tree(LARGE).entries:
        if entry.origin is None:
            with pytest.raises(NotFound):
                build.generate(entry)
    with pytest.raises(NotFound):
        build.publish(ReleaseRecord(tree(LARGE), document(LARGE).digest), document(LARGE).text)
    build.close()
    assert backend.open().releases() == ()


@contextmanager
def held(server: AzureFiles, work: Callable[[], Run], operation: str, path: str) -> Iterator[list[Run]]:
    """What is done while a request is held; the work has ended afterwards. Raises what it raises."""
    hold, ended = Hold(), list[Run]()
    server.faults.append(Fault(hold, operation, path))
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(work)
        try:
            until(lambda: hold.held.is_set() or running.done())
            assert hold.held.is_set(), running.exception()
            yield ended
        finally:
            hold.until.set()
        ended.append(running.result())


@pytest.mark.parametrize("count", [len(WEIGHTS), BEGINNING], ids=["whole", "breaks off"])
def test_a_late_write_of_wrong_bytes_meets_no_file(server: AzureFiles, backend: AzureFilesBackend, count: int) -> None:
    late = Late()
    server.faults.append(Fault(late, "PUT range", "/partial/"))
    wrong, right = MemorySource(LARGE, name="wrong"), MemorySource(LARGE, name="right")
    wrong.content[Digest(hashlib.sha256(WEIGHTS).hexdigest())] = (bytes(RANGE) + WEIGHTS[RANGE:])[:count]
    with held(server, lambda: transfer(document(LARGE), backend.open(), wrong, right), "PUT rename", "/tree/") as ended:
        late.carry_out()
    assert any("next source" in notice for notice in ended[0].notices)
    assert_whole(backend)


def test_a_late_copy_of_wrong_bytes_meets_no_file(server: AzureFiles, backend: AzureFilesBackend) -> None:
    with open(backend.path(mirror(backend), snapshot(LARGE, "model.safetensors")), "r+b") as file:
        file.write(b"\xff")
    late, asked_for = Late(), []

    def first_copy(asked: Asked) -> Action | None:
        asked_for.extend([asked] if "x-ms-copy-source" in asked.headers else [])
        return late if asked_for == [asked] else None

    server.faults.append(first_copy)
    work = lambda: transfer(document(AFTER), backend.open(), MemorySource(AFTER))  # noqa: E731
    with held(server, work, "PUT directory rename", "/sealed") as ended:
        late.carry_out()
    assert any("source instead" in notice for notice in ended[0].notices)
    assert_whole(backend, AFTER)


@pytest.mark.parametrize("path", ["config.json", "/partial/", "release.json"])
def test_a_file_that_is_made_late_and_so_emptied_is_noticed(
    server: AzureFiles, backend: AzureFilesBackend, path: str
) -> None:
    late = Late()
    server.faults.append(Fault(late, "PUT", path))
    end = ("PUT rename", "/tree/") if path == "/partial/" else ("PUT directory rename", "/sealed")
    work = lambda: transfer(document(LARGE), backend.open(), MemorySource(LARGE))  # noqa: E731
    with pytest.raises(Unavailable, match="emptied"), held(server, work, *end):
        late.carry_out()
    assert backend.open().releases() == ()
    mirror(backend)
    assert_whole(backend)


@pytest.mark.parametrize("header", ["x-ms-file-rename-source", "x-ms-copy-source"])
def test_no_redirect_is_followed(server: AzureFiles, backend: AzureFilesBackend, tmp_path: Path, header: str) -> None:
    mirror(backend)
    with AzureFiles(tmp_path / "other") as other:

        def away(asked: Asked) -> Action | None:
            return Answer(307, "", {"Location": f"{other.url}/x"}) if header in asked.headers else None

        server.faults.append(away)
        with pytest.raises(Unusable, match=r"redirect \(307\)"):
            transfer(document(AFTER), with_signature(backend, signature(server)), MemorySource(AFTER))
        assert other.log == []


@pytest.mark.parametrize("action", [LoseAnswer(), Lie({"x-ms-copy-status": "failed"})], ids=["lost", "failed"])
def test_a_copy_that_fails_is_dropped_and_the_bytes_go_through_us(
    server: AzureFiles, backend: AzureFilesBackend, action: Action
) -> None:
    mirror(backend)
    server.files.polls = 5
    asked_for: list[Asked] = []

    def once(asked: Asked) -> Action | None:
        if asked.operation == "HEAD" if isinstance(action, Lie) else "x-ms-copy-source" in asked.headers:
            asked_for.append(asked)
            return action if len(asked_for) == 1 else None
        return None

    server.faults.append(once)
    source = MemorySource(AFTER)
    mirror(backend, AFTER, source)
    assert [path for path, _, _ in source.asked] == ["config.json"]
    assert len(server.asked_for("PUT copy")) == 1  # the one that was pending is aborted
    assert_whole(backend, AFTER)


@pytest.mark.parametrize(
    ("operation", "headers"),
    [
        ("HEAD", {"Last-Modified": ""}),
        ("HEAD", {"Last-Modified": "yesterday"}),
        ("HEAD", {"Date": "yesterday"}),
        ("HEAD", {"Content-Length": ""}),
        ("GET", {"Content-Range": ""}),
        ("GET", {"Content-Range": "bytes x"}),
    ],
    ids=str,
)
def test_what_does_not_answer_as_azure_does_is_said_to_be_unusable(
    server: AzureFiles, backend: AzureFilesBackend, operation: str, headers: dict[str, str]
) -> None:
    share = share_of(backend)
    backend.open().create()
    share.write(f"{backend.root}/file", b"content")
    calls: dict[str, Callable[[], object]] = {
        "HEAD": lambda: share.stat(f"{backend.root}/file").age,
        "GET": lambda: share.read_small(f"{backend.root}/file"),
    }
    calls[operation]()
    server.faults.append(Fault(Lie(headers), operation, times=ALWAYS))
    with pytest.raises(Unusable, match="no file service of Azure's"):
        calls[operation]()


def test_a_prune_that_pauses_in_its_deletes_does_no_harm_to_the_same_release(
    server: AzureFiles, backend: AzureFilesBackend
) -> None:
    release = mirror(backend)
    hold = Hold()
    server.faults.append(Fault(hold, "DELETE", "/removed."))
    pruning = threading.Thread(target=backend.open().remove, args=(release,))
    pruning.start()
    assert hold.held.wait(PATIENCE)
    assert mirror(backend) == release
    hold.until.set()
    pruning.join()
    assert_whole(backend)


def test_a_build_that_wakes_up_while_it_is_swept_publishes_all_of_it(
    server: AzureFiles, backend: AzureFilesBackend
) -> None:
    store = with_signature(backend, signature(server))
    hold = Hold()
    server.faults.append(Fault(hold, "PUT directory rename", "/removed."))
    sweeping: list[threading.Thread] = []

    def asleep(asked: Asked) -> Action | None:
        """As the tree is about to be sealed, another run finds that no sign came for long, and begins to delete."""
        if asked.operation == "PUT directory rename" and "/sealed" in asked.path and not sweeping:
            server.skew = 20 * 60
            sweeping.append(threading.Thread(target=store.sweep))
            sweeping[0].start()
            return Hold(until=hold.held)
        return None

    server.faults.append(asleep)
    transfer(document(LARGE), store, MemorySource(LARGE))
    assert hold.held.is_set()
    hold.until.set()
    sweeping[0].join()
    server.skew = 0.0
    assert_whole(backend)
