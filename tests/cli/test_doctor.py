"""`provision doctor` on real targets: what it finds, how it exits, and that nothing of it stays."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from provisioner.ops.doctor import examination, examine
from provisioner.report.health import Health, Outcome, Probe
from tests.support.azure_backend import SHARE, AzureFilesBackend
from tests.support.azure_files import FULL, AzureFiles
from tests.support.azure_files import Fault as AzureFault
from tests.support.faults_process import SOMEBODY, provision, started, weak
from tests.support.locks import MemorySource, document, small
from tests.support.mounts import exfat, mounted_here, rclone, read_only
from tests.support.object_backend import ObjectBackend, environment, object_backend
from tests.support.patience import PATIENCE, until
from tests.support.s3_fault_actions import Action, Headers, IgnoreConditions, Stall, access_denied, clock_skewed
from tests.support.s3_faults import Fault, FaultyS3
from tests.support.seaweed import cannot_serve
from tests.support.stores import DirectoryBackend, files_below, transfer

TRUST = ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")
OK, WARNING, FAILED, SKIPPED = Outcome.OK, Outcome.WARNING, Outcome.FAILED, Outcome.SKIPPED


def rows(health: Health) -> dict[str, Probe]:
    return {probe.name: probe for probe in health.probes}


def failed(health: Health) -> list[str]:
    return [probe.name for probe in health.probes if probe.outcome is FAILED]


# Folders


def test_a_good_folder(tmp_path: Path) -> None:
    store = tmp_path / "store"
    release = transfer(document(small()), DirectoryBackend(store).open(), MemorySource(small())).report.release
    DirectoryBackend(store).open().activate(release)
    before = files_below(store)
    done = provision("doctor", "--at", store, "--json", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert (done.json["target"], done.json["ok"], done.json["exit_code"]) == (str(store), True, 0)
    found = {probe["name"]: probe for probe in done.json["probes"]}
    assert {probe["outcome"] for probe in found.values()} <= {"ok", "warning"}
    assert found["releases"]["detail"] == f"1, active: {release}"
    assert found["folder rename"]["outcome"] == found["cleanup"]["outcome"] == "ok"
    assert f"uid {os.getuid()}" in found["owner"]["detail"]
    assert files_below(store) == before
    assert os.listdir(store / "staging") == []


def test_the_table(tmp_path: Path) -> None:
    done = provision("doctor", "--at", tmp_path / "new", cwd=tmp_path)
    assert done.code == 0
    assert "is not there yet" in done.out
    assert done.out.splitlines()[-1].startswith("OK: ")
    assert list(tmp_path.iterdir()) == []


def test_a_read_only_mount_is_called_that(tmp_path: Path) -> None:
    source, point = tmp_path / "source", tmp_path / "point"
    source.mkdir()
    point.mkdir()
    with mounted_here(point, read_only(point, source)):
        done = provision("doctor", "--at", point, "--json", cwd=tmp_path)
    assert done.code == 8
    found = {probe["name"]: probe for probe in done.json["probes"]}
    assert found["mount"]["outcome"] == found["write"]["outcome"] == "failed"
    assert found["mount"]["detail"].startswith("Mounted read-only")
    assert (found["read"]["outcome"], found["read"]["detail"]) == ("skipped", "needs write")


def test_a_file_system_without_links_modes_and_case(tmp_path: Path) -> None:
    point = tmp_path / "point"
    point.mkdir()
    with mounted_here(point, exfat(point, tmp_path)):
        health = examine(examination(str(point)))
        assert os.listdir(point) == []
    found = rows(health)
    assert health.ok
    assert [found[name].outcome for name in ("hard links", "chmod", "case")] == [WARNING] * 3
    assert "none" in found["symlinks"].detail


def test_a_mount_that_renames_over_full_folders(tmp_path: Path) -> None:
    point = tmp_path / "point"
    point.mkdir()
    with rclone(point, tmp_path):
        found = rows(examine(examination(str(point))))
        assert os.listdir(point) == []
    assert found["folder rename"].outcome is WARNING
    assert "one mirror" in found["folder rename"].advice
    assert "fuse.rclone" in found["mount"].detail


def test_a_full_volume(mounted: Callable[..., Path]) -> None:
    point = mounted(size="1m")
    with open(point / "ballast", "wb") as file, pytest.raises(OSError):
        while True:
            os.write(file.fileno(), bytes(4096))
    health = examine(examination(str(point)))
    assert (failed(health), health.exit_code) == (["write"], 8)
    assert rows(health)["space"].outcome is WARNING
    assert os.listdir(point) == ["ballast"]


def test_somebody_elses_folder(open_folder: Path) -> None:
    who = weak()
    if who.reason:
        pytest.skip(who.reason)
    folder = open_folder / "store"
    folder.mkdir(mode=0o755)
    os.chown(folder, SOMEBODY, SOMEBODY)
    done = who.provision("doctor", "--at", folder, "--json", cwd=open_folder)
    assert done.code == 8
    found = {probe["name"]: probe for probe in done.json["probes"]}
    assert f"of uid {SOMEBODY}" in found["owner"]["detail"]
    assert found["write"]["outcome"] == "failed"
    assert "fsGroup" in found["write"]["advice"]


def test_a_volume_that_is_not_mounted(tmp_path: Path) -> None:
    done = provision("doctor", "--at", "pvc", cwd=tmp_path, PROVISION_PVC_DIR=str(tmp_path / "absent"))
    assert done.code == 7
    assert "There is no volume mounted at" in done.out
    assert "Traceback" not in done.err


def test_leftovers_are_named(tmp_path: Path) -> None:
    for name, age in (("7f3c9a1b2d4e.dead", 3600), ("provision-doctor.0123", 3600), ("b21d0c44e9f0.young", 0)):
        folder = tmp_path / "staging" / name
        folder.mkdir(parents=True)
        os.utime(folder, (time.time() - age,) * 2)
    found = rows(examine(examination(str(tmp_path))))
    assert found["leftovers"].detail == "1 dead build, 1 interrupted doctor; 1 at work"
    assert f"prune --keep 2 --at {tmp_path}" in found["leftovers"].advice
    assert len(os.listdir(tmp_path / "staging")) == 3
    DirectoryBackend(tmp_path).open().sweep()
    assert os.listdir(tmp_path / "staging") == ["b21d0c44e9f0.young"]


# Buckets


@pytest.fixture
def bucket(request: pytest.FixtureRequest) -> Iterator[ObjectBackend]:
    if reason := cannot_serve():
        pytest.skip(reason)
    with object_backend(getattr(request, "param", "s3")) as backend:
        yield backend


@pytest.fixture
def proxy(bucket: ObjectBackend) -> Iterator[FaultyS3]:
    with FaultyS3(bucket.server.endpoint) as proxy:
        bucket.endpoint = proxy.endpoint
        yield proxy


@pytest.fixture
def visit(bucket: ObjectBackend, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Health]:
    """Examines the bucket, and sees that nothing stays there."""

    for name in TRUST:
        monkeypatch.delenv(name, raising=False)

    def run(address: str = "", **variables: str) -> Health:
        for name, value in (environment(bucket.server, bucket.endpoint) | variables).items():
            monkeypatch.setenv(name, value)
        before = bucket.keys()
        health = examine(examination(address or bucket.address))
        assert (bucket.keys(), bucket.uploads()) == (before, [])
        return health

    return run


@pytest.mark.parametrize("bucket", ["s3", "minio"], indirect=True)
def test_a_good_bucket(bucket: ObjectBackend, visit: Callable[..., Health]) -> None:
    transfer(document(small()), bucket.open(), MemorySource(small()))
    health = visit()
    assert health.target == bucket.address
    assert {probe.name: probe.outcome for probe in health.probes if probe.outcome is not OK} == {
        "proxy": SKIPPED,
        "tls": SKIPPED,
    }
    found = rows(health)
    assert found["releases"].detail.startswith("1, active: ")
    assert "is refused" in found["checksums"].detail
    assert "ACCESS_KEY" in found["credentials"].detail


def test_no_secret_is_printed(bucket: ObjectBackend, tmp_path: Path) -> None:
    given = environment(bucket.server) | {"AWS_SECRET_ACCESS_KEY": "hunter2", "AWS_SESSION_TOKEN": "hunter2"}
    done = provision("doctor", "--at", bucket.address, "-vv", cwd=tmp_path, **given)
    assert done.code == 6
    assert "hunter2" not in done.out + done.err
    assert "Traceback" not in done.err
    assert done.out.splitlines()[-1].startswith("FAILED: 1 probe")


def test_no_credentials(bucket: ObjectBackend, visit: Callable[..., Health], tmp_path: Path) -> None:
    absent = str(tmp_path / "absent")
    given = dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "")
    health = visit(**given, AWS_SHARED_CREDENTIALS_FILE=absent, AWS_CONFIG_FILE=absent)
    assert (failed(health), health.exit_code) == (["credentials"], 6)
    assert rows(health)["tcp"].outcome is OK


def test_no_bucket(visit: Callable[..., Health]) -> None:
    health = visit("s3://no-such-bucket-of-ours/x")
    assert (failed(health), health.exit_code) == (["bucket"], 7)


@pytest.mark.parametrize("bucket", ["s3", "minio"], indirect=True)
def test_a_server_behind_a_private_ca(bucket: ObjectBackend, visit: Callable[..., Health], tmp_path: Path) -> None:
    if not bucket.server.tls_endpoint:
        pytest.skip("the server given has no second endpoint with TLS")
    bucket.endpoint = bucket.server.tls_endpoint
    health = visit()
    assert (failed(health), health.exit_code) == (["tls"], 5)
    advice = rows(health)["tls"].advice
    assert ("AWS_CA_BUNDLE" if bucket.scheme == "s3" else "SSL_CERT_FILE") in advice
    variable = "AWS_CA_BUNDLE" if bucket.scheme == "s3" else "SSL_CERT_FILE"
    health = visit(**{variable: str(bucket.server.ca_file)})
    assert health.ok
    assert f"trusted by {variable} ({bucket.server.ca_file}), valid until 2" in rows(health)["tls"].detail


def test_nobody_listens(bucket: ObjectBackend, visit: Callable[..., Health]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and no listen
        health = visit(AWS_ENDPOINT_URL=f"http://127.0.0.1:{taken.getsockname()[1]}")
    assert (failed(health), health.exit_code) == (["tcp"], 5)
    assert rows(health)["bucket"].detail == "needs tls"


def test_a_name_that_nobody_knows(bucket: ObjectBackend, visit: Callable[..., Health]) -> None:
    health = visit(AWS_ENDPOINT_URL="http://no-such-host.invalid:9000")
    assert (failed(health), health.exit_code) == (["dns"], 5)


def test_a_proxy_is_named_and_only_reached(bucket: ObjectBackend, visit: Callable[..., Health]) -> None:
    through = {"HTTP_PROXY": "http://me:hunter2@127.0.0.1:9", "NO_PROXY": "", "no_proxy": ""}
    through["http_proxy"] = through["HTTP_PROXY"]
    health = visit(AWS_ENDPOINT_URL="http://s3.example", **through)
    assert failed(health) == ["tcp"]
    assert "127.0.0.1:9" in rows(health)["proxy"].detail
    assert "hunter2" not in repr(health)


class Ahead(Action):
    """The server's clock is so many seconds ahead, at every answer."""

    def __init__(self, seconds: int) -> None:
        self._seconds = timedelta(seconds=seconds)

    def response_headers(self, headers: Headers) -> Headers:
        date = format_datetime(datetime.now(UTC) + self._seconds, usegmt=True)
        return [*(header for header in headers if header[0].lower() != "date"), ("Date", date)]


@pytest.mark.parametrize(("seconds", "outcome"), [(150, WARNING), (3600, FAILED)])
def test_clocks_that_differ(
    bucket: ObjectBackend, proxy: FaultyS3, visit: Callable[..., Health], seconds: int, outcome: Outcome
) -> None:
    proxy.faults.append(Fault(Ahead(seconds), times=None))
    if outcome is FAILED:
        proxy.faults.append(Fault(clock_skewed(), key=bucket.bucket, times=None))
    health = visit()
    assert rows(health)["clock"].outcome is outcome
    assert "s behind the server's" in rows(health)["clock"].detail
    assert health.exit_code == (6 if outcome is FAILED else 0)


@pytest.mark.parametrize(
    ("faults", "row", "outcome"),
    [
        ([Fault(IgnoreConditions(), "PUT", "/once", times=None)], "conditional write", WARNING),
        ([Fault(access_denied(), "PUT", "provision-doctor", times=None)], "write", FAILED),
        ([Fault(access_denied(), "GET", query="uploads", times=None)], "multipart", WARNING),
    ],
    ids=["no conditions", "readers only", "no listing of uploads"],
)
def test_what_a_store_or_policy_lacks(
    proxy: FaultyS3, visit: Callable[..., Health], faults: list[Any], row: str, outcome: Outcome
) -> None:
    proxy.faults += faults
    health = visit()
    assert rows(health)[row].outcome is outcome
    assert health.exit_code == (6 if outcome is FAILED else 0)


def test_stopped_in_the_middle(bucket: ObjectBackend, proxy: FaultyS3, tmp_path: Path) -> None:
    proxy.faults.append(Fault(Stall(PATIENCE), "GET", "/a", times=None))
    given = environment(bucket.server, proxy.endpoint)
    with started("doctor", "--at", bucket.address, cwd=tmp_path, stderr=tmp_path / "err", **given) as process:
        until(lambda: process.poll() is not None or proxy.count("GET", "/a"))
        assert "provision-doctor" in str(bucket.keys()), "something was written"
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 130
    assert bucket.keys() == {}
    assert "Traceback" not in (tmp_path / "err").read_text()


# Azure Files


@pytest.fixture
def azure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AzureFilesBackend]:
    pytest.importorskip("azure.storage.fileshare", reason="azure-storage-file-share is not installed")
    for name in TRUST:
        monkeypatch.delenv(name, raising=False)
    with AzureFiles(tmp_path, tls=True) as server:
        backend = AzureFilesBackend(server)
        for name, value in {**backend.environment, "NO_PROXY": "127.0.0.1"}.items():
            monkeypatch.setenv(name, value)
        yield backend


def below(azure: AzureFilesBackend) -> list[str]:
    """Everything in the share."""
    top = azure.server.path(SHARE)
    return sorted(str(path.relative_to(top)) for path in top.rglob("*"))


def test_a_share(azure: AzureFilesBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    health = examine(examination(azure.address))
    assert (failed(health), health.exit_code) == (["tls"], 5)
    monkeypatch.setenv("SSL_CERT_FILE", str(azure.server.ca_file))
    health = examine(examination(azure.address))
    assert (health.exit_code, below(azure)) == (0, [])
    found = {probe.name: probe.outcome for probe in health.probes if probe.outcome is not OK}
    assert found.pop("tls", OK) in (OK, WARNING)  # a certificate made for the test may end soon
    assert found == {"proxy": SKIPPED, "share": WARNING}
    assert rows(health)["credentials"].detail == "an account key from AZURE_STORAGE_CONNECTION_STRING"
    assert azure.server.key not in repr(health)
    transfer(document(small()), azure.open(), MemorySource(small()))
    before = below(azure)
    health = examine(examination(azure.address))
    assert (health.exit_code, rows(health)["releases"].detail) == (0, "1, active: none")
    assert (rows(health)["share"].outcome, below(azure)) == (OK, before)


@pytest.mark.parametrize(
    ("change", "row", "code"), [("key", "share", 6), ("share", "share", 7), ("clock", "clock", 6), ("full", "write", 8)]
)
def test_a_share_that_does_not_work(
    azure: AzureFilesBackend, monkeypatch: pytest.MonkeyPatch, change: str, row: str, code: int
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(azure.server.ca_file))
    address = azure.address
    if change == "key":
        string = azure.server.connection_string.replace(azure.server.key, "aHVudGVyMg==")
        monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", string)
    if change == "share":
        address = address.replace(SHARE, "nothing")
    if change == "clock":
        azure.server.skew = 3600.0
    if change == "full":
        azure.server.faults.append(AzureFault(FULL, "PUT range", times=99))
    health = examine(examination(address))
    assert failed(health)[0] == row
    assert (health.exit_code, below(azure)) == (code, [])
    assert "aHVudGVyMg" not in repr(health)


# All of them


def test_a_missing_extra_is_a_row(tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    for name in ("boto3", "minio", "azure"):
        (blocked / f"{name}.py").write_text("raise ImportError")
    path = f"{blocked}:{Path(__file__).parent.parent.parent}"
    for address, extra in (("s3://b/x", "s3"), ("minio://h:1/b", "minio"), ("azurefiles://acct/share", "azure")):
        done = provision("doctor", "--at", address, cwd=tmp_path, PYTHONPATH=path)
        assert (done.code, "Traceback" in done.err) == (2, False)
        assert f"[{extra}]" in done.out
