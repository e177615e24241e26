"""What a site sets for S3 reaches both the control calls and the bytes: real boto3, a real server."""

from __future__ import annotations

import hashlib
import os
import stat
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from provisioner.errors import AccessDenied, ProvisionError, Unavailable, Unusable
from provisioner.model import Digest
from provisioner.stores.objects.s3 import S3Bucket
from provisioner.stores.objects.s3_client import Connection, _region
from provisioner.stores.targets import open_store
from tests.support import seaweed
from tests.support.faults_process import Done, provision
from tests.support.locks import MemorySource, document, small
from tests.support.object_backend import environment
from tests.support.s3_faults import Fault, FaultyS3
from tests.support.s3_stand_ins import Gate, Said, answering, desk, forward
from tests.support.seaweed import S3Server, cannot_serve
from tests.support.stores import findings, transfer

pytestmark = pytest.mark.skipif(bool(cannot_serve()), reason=cannot_serve() or "there is one")
SETTINGS = ("AWS_", "MINIO_", "MC_", "PROVISION_S3")
SSE, KMS_KEY = "x-amz-server-side-encryption", "x-amz-server-side-encryption-aws-kms-key-id"
LARGE = 2**23 + 1  # what boto3 copies in parts
Patch = pytest.MonkeyPatch


@pytest.fixture(scope="module")
def server() -> S3Server:
    found = seaweed.server()
    if found.data_dir is None:
        pytest.skip("only for the server that the tests start")
    return found


@pytest.fixture(autouse=True)
def home(monkeypatch: Patch, tmp_path: Path) -> Path:
    """Nothing of this machine's settings."""
    for name in os.environ:
        if name.startswith(SETTINGS) or name.upper().endswith(("_PROXY", "CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    return tmp_path


@pytest.fixture(scope="module")
def name(server: S3Server) -> Iterator[str]:
    found = seaweed.new_bucket(server)
    yield found
    seaweed.delete_bucket(server, found)


@pytest.fixture
def keys(server: S3Server, monkeypatch: Patch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", server.secret_key)


@pytest.fixture
def proxy(server: S3Server, monkeypatch: Patch) -> Iterator[FaultyS3]:
    with FaultyS3(server.endpoint) as found:
        monkeypatch.setenv("AWS_ENDPOINT_URL", found.endpoint)
        yield found


def sha(content: bytes) -> Digest:
    return Digest(hashlib.sha256(content).hexdigest())


def both_ways(name: str, key: str = "key") -> S3Bucket:
    """Control calls by boto3 and bytes by ourselves."""
    bucket = S3Bucket(name)
    assert bucket.write(key, b"content", sha(b"content"))
    assert (bucket.stat(key).size, bucket.stat(key).sha256) == (7, sha(b"content"))
    assert key in [one.key for one in bucket.list("")]
    buffer = bytearray(16)
    with bucket.read(key, 0, 7) as stream:
        assert buffer[: stream.readinto(memoryview(buffer))] == b"content"
    return bucket


# --- encryption at rest ---


@pytest.mark.parametrize(
    ("settings", "sent"),
    [
        ({}, {}),
        ({"PROVISION_S3_SSE": "AES256"}, {SSE: "AES256"}),
        (
            {"PROVISION_S3_SSE": "aws:kms", "PROVISION_S3_SSE_KMS_KEY_ID": "alias/house"},
            {SSE: "aws:kms", KMS_KEY: "alias/house"},
        ),
    ],
    ids=["the bucket's", "AES256", "KMS"],
)
def test_encryption_is_asked_for_wherever_an_object_is_made(
    settings: dict[str, str],
    sent: dict[str, str],
    server: S3Server,
    name: str,
    keys: None,
    proxy: FaultyS3,
    monkeypatch: Patch,
) -> None:
    for variable, value in settings.items():
        monkeypatch.setenv(variable, value)
    gate = Gate(server, {server.access_key: (server.secret_key, "")}, drop=(SSE, KMS_KEY))  # the server has no KMS
    proxy.faults.append(Fault(gate, times=None))
    bucket, large = S3Bucket(name), bytes(LARGE)
    bucket.write("whole", b"content", sha(b"content"))
    bucket.copy("whole", "copy", 7, sha(b"content"))
    upload = bucket.begin("parts", sha(large))
    part = bucket.write_part("parts", upload, 1, memoryview(large))
    bucket.finish("parts", upload, (part,))
    bucket.copy("parts", "copied-in-parts", LARGE, sha(large))
    asked = {(method, target.partition(name)[2]): headers for method, target, headers in gate.seen}
    assert asked["PUT", "/whole"] == sent
    assert asked["PUT", "/copy"] == sent
    assert asked["POST", "/parts?uploads"] == sent
    assert asked["POST", "/copied-in-parts?uploads"] == sent
    parts = [headers for (_, target), headers in asked.items() if "partNumber" in target]
    assert len(parts) >= 2 and not any(parts)  # S3 refuses it there
    assert bucket.stat("copied-in-parts").sha256 == sha(large)


# --- profiles and addresses ---


def configure(home: Path, monkeypatch: Patch, text: str) -> None:
    (home / "elsewhere").write_text(text)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(home / "elsewhere"))


@pytest.mark.parametrize(
    "form", ["endpoint_url = {url}", "services = ours\n[services ours]\ns3 =\n  endpoint_url = {url}"]
)
def test_a_profile_of_another_file_holds_everything(
    form: str, home: Path, server: S3Server, name: str, monkeypatch: Patch
) -> None:
    keys = f"aws_access_key_id = {server.access_key}\naws_secret_access_key = {server.secret_key}"
    text = f"[profile house]\nregion = {server.region}\n{keys}\n{form.format(url=server.endpoint)}\n"
    configure(home, monkeypatch, text + "[default]\naws_access_key_id = wrong\naws_secret_access_key = wrong\n")
    monkeypatch.delenv("AWS_REGION")
    monkeypatch.setenv("AWS_PROFILE", "house")
    both_ways(name, "by-profile")


@pytest.mark.parametrize("where", ["variable", "profile"])
def test_buckets_as_host_names(
    where: str, home: Path, server: S3Server, name: str, keys: None, monkeypatch: Patch
) -> None:
    if where == "variable":
        monkeypatch.setenv("PROVISION_S3_ADDRESSING_STYLE", "virtual")
    else:
        configure(home, monkeypatch, "[default]\ns3 =\n  addressing_style = virtual\n")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://s3.house.test:8333")
    with forward(server, domain="s3.house.test:8333") as way:
        monkeypatch.setenv("HTTP_PROXY", way.url)
        both_ways(name, "a folder/ü+key")
        assert way.targets and all(target.startswith(f"http://{name}.s3.house.test:8333/") for _, target in way.targets)


def test_the_variable_is_stronger_than_the_profile(
    home: Path, server: S3Server, name: str, keys: None, proxy: FaultyS3, monkeypatch: Patch
) -> None:
    configure(home, monkeypatch, "[default]\ns3 =\n  addressing_style = virtual\n")
    monkeypatch.setenv("PROVISION_S3_ADDRESSING_STYLE", "path")
    both_ways(name)
    assert all(exchange.path.startswith(f"/{name}") for exchange in proxy.log)


# --- credentials ---


DESKS = {
    "web identity": {
        "AWS_ENDPOINT_URL_STS": "{url}",
        "AWS_ROLE_ARN": "arn:aws:iam::1:role/r",
        "AWS_WEB_IDENTITY_TOKEN_FILE": "{home}/token",
    },
    "instance": {"AWS_EC2_METADATA_SERVICE_ENDPOINT": "{url}/", "AWS_EC2_METADATA_DISABLED": "false"},
    "container": {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": "{url}/container",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": "of-the-pod",
    },
}


def sit(kind: str, url: str, home: Path, monkeypatch: Patch) -> None:
    (home / "token").write_text("identity-of-the-pod")
    for variable, value in DESKS[kind].items():
        monkeypatch.setenv(variable, value.format(url=url, home=home))


@pytest.mark.parametrize("kind", DESKS)
def test_credentials_that_a_pod_or_a_machine_is_given(
    kind: str, home: Path, server: S3Server, name: str, proxy: FaultyS3, monkeypatch: Patch
) -> None:
    with desk() as found:
        sit(kind, found.url, home, monkeypatch)
        gate = Gate(server, found.given)
        proxy.faults.append(Fault(gate, times=None))
        both_ways(name)
    assert set(gate.users) == {"given-1"} and len(gate.users) >= 4
    assert list(found.given) == ["given-1"]


@pytest.mark.parametrize("kind", ["web identity", "container"])
def test_credentials_that_expire_are_renewed(
    kind: str, home: Path, server: S3Server, name: str, proxy: FaultyS3, monkeypatch: Patch
) -> None:
    with desk(seconds=60) as found:  # less than boto3 thinks is safe
        sit(kind, found.url, home, monkeypatch)
        gate = Gate(server, found.given)
        proxy.faults.append(Fault(gate, times=None))
        bucket = both_ways(name)
        before = set(gate.users)
        found.seconds = 3600
        bucket.write("later", b"content", sha(b"content"))
        assert bucket.stat("later").size == 7
        last = list(found.given)[-1]
        bucket.write("last", b"content", sha(b"content"))
    assert len(before) > 1
    assert set(gate.users[-3:]) == {last}


@pytest.mark.parametrize("kind", ["web identity", "container"])
def test_credentials_that_are_too_old_when_they_are_given(
    kind: str, home: Path, name: str, proxy: FaultyS3, monkeypatch: Patch
) -> None:
    with desk(seconds=-60) as found:
        sit(kind, found.url, home, monkeypatch)
        with pytest.raises(AccessDenied):
            S3Bucket(name).stat("key")
    assert proxy.log == []


def test_a_desk_that_goes_away(home: Path, server: S3Server, name: str, proxy: FaultyS3, monkeypatch: Patch) -> None:
    with desk(seconds=60) as found:
        sit("web identity", found.url, home, monkeypatch)
        proxy.faults.append(Fault(Gate(server, found.given), times=None))
        bucket = both_ways(name)
    (home / "token").unlink()
    for call in (lambda: bucket.stat("key"), lambda: bucket.write("other", b"content", sha(b"content"))):
        with pytest.raises(AccessDenied) as caught:
            call()
        assert caught.value.hint


def process(home: Path, monkeypatch: Patch, script: str) -> None:
    program = home / "program"
    program.write_text(f"#!{sys.executable}\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    configure(home, monkeypatch, f"[default]\ncredential_process = {program}\n")


def listed(name: str, home: Path, **more: str) -> Done:
    kept = {key: value for key, value in os.environ.items() if key.startswith(("AWS_", "HOME"))}
    return provision("releases", "list", "--at", f"s3://{name}/models", cwd=home, **{**kept, **more})


def test_a_credential_process(home: Path, server: S3Server, name: str, monkeypatch: Patch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
    until = datetime.now(UTC) + timedelta(hours=1)
    given = {"Version": 1, "AccessKeyId": server.access_key, "SecretAccessKey": server.secret_key}
    given["Expiration"] = until.isoformat()
    process(home, monkeypatch, f"import json, sys; print('SECRET', file=sys.stderr); print(json.dumps({given!r}))")
    both_ways(name)
    done = listed(name, home)
    assert (done.code, "SECRET" in done.out + done.err) == (7, False), done.err  # let in, and nothing is there


@pytest.mark.parametrize(
    "script",
    [
        "import sys; sys.exit('SECRET')",
        "print('SECRET')",
        "print('[\"SECRET\"]')",
        'print(\'{"Version": 2, "SecretAccessKey": "SECRET"}\')',
        'print(\'{"Version": 1, "SecretAccessKey": "SECRET"}\')',
        'print(\'{"Version": 1, "AccessKeyId": "a", "SecretAccessKey": "SECRET", "Expiration": "SECRET"}\')',
        None,
    ],
    ids=["fails", "no JSON", "no object", "version", "half", "no date", "missing"],
)
def test_a_credential_process_that_fails_tells_no_secret(
    script: str | None, home: Path, server: S3Server, name: str, monkeypatch: Patch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
    process(home, monkeypatch, script or "")
    if script is None:
        (home / "program").unlink()
    with pytest.raises(AccessDenied) as caught:
        S3Bucket(name).stat("key")
    assert "SECRET" not in f"{caught.value} {caught.value.hint}"


def test_what_the_terminal_shows_of_a_credential_process(
    home: Path, server: S3Server, name: str, monkeypatch: Patch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
    process(home, monkeypatch, "import sys; print('SECRET'); sys.exit('SECRET')")
    done = listed(name, home)
    assert (done.code, done.out, "SECRET" in done.err, "Traceback" in done.err) == (6, "", False, False), done.err


def test_what_the_terminal_shows_of_a_web_identity(home: Path, server: S3Server, name: str, monkeypatch: Patch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
    with answering(lambda _: Said(403, b"identity-of-the-pod")) as (url, asked):
        sit("web identity", url, home, monkeypatch)
        refused = listed(name, home)
        (home / "token").unlink()
        missing = listed(name, home)
    assert len(asked) == 1
    for done in (refused, missing):
        assert (done.code, done.out) == (6, ""), done.err
        assert not any(word in done.err for word in ("Traceback", "identity-of-the-pod"))


@pytest.mark.parametrize(
    ("settings", "code"),
    [({}, 6), ({"AWS_PROFILE": "nobody's"}, 2), ({"AWS_ACCESS_KEY_ID": "half"}, 6)],
    ids=["no credentials", "unknown profile", "half a key"],
)
def test_exit_codes(settings: dict[str, str], code: int, home: Path, server: S3Server, name: str) -> None:
    done = listed(name, home, AWS_ENDPOINT_URL=server.endpoint, **settings)
    assert (done.code, done.out, "Traceback" in done.err) == (code, "", False), done.err


# --- TLS and proxies ---


def test_a_private_ca_is_trusted_for_both(server: S3Server, name: str, keys: None, monkeypatch: Patch) -> None:
    assert server.tls_endpoint and server.ca_file
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.tls_endpoint)
    bucket = S3Bucket(name)
    for call in (lambda: bucket.stat("key"), lambda: bucket.write("key", b"content", sha(b"content"))):
        with pytest.raises(Unusable) as caught:
            call()
        assert "certificate" in str(caught.value)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(server.ca_file))
    both_ways(name)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_is_used_for_both(scheme: str, server: S3Server, name: str, keys: None, monkeypatch: Patch) -> None:
    endpoint = server.tls_endpoint if scheme == "https" else server.endpoint
    assert endpoint
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(server.ca_file))
    with forward(server) as way:
        monkeypatch.setenv(f"{scheme.upper()}_PROXY", way.url)
        bucket = S3Bucket(name)
        list(bucket.list(""))
        control = len(way.targets)
        bucket.write("key", b"content", sha(b"content"))
        assert len(way.targets) > control > 0
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        way.targets.clear()
        both_ways(name)
        assert way.targets == []


def test_a_proxy_that_is_not_there(server: S3Server, name: str, keys: None, monkeypatch: Patch) -> None:
    assert server.tls_endpoint
    monkeypatch.setattr("provisioner.stores.objects.wire.BASE_SECONDS", 0.001)
    monkeypatch.setattr("provisioner.stores.objects.wire.CAP_SECONDS", 0.001)
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.tls_endpoint)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(server.ca_file))
    monkeypatch.setenv("HTTPS_PROXY", "http://somebody:SECRET@127.0.0.1:1")
    with pytest.raises(Unavailable) as caught:
        S3Bucket(name).write("key", b"content", sha(b"content"))
    assert "proxy" in str(caught.value) and "SECRET" not in f"{caught.value} {caught.value.hint}"


# --- regions ---


def client(url: str) -> Any:
    config = Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1})
    keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b"}
    return boto3.client("s3", endpoint_url=url, region_name="us-east-1", config=config, **keys)


@pytest.mark.parametrize(
    ("status", "region"),  # a 301 always names it; botocore asks for ever where it does not
    [(200, "eu-central-1"), (301, "eu-central-1"), (400, "eu-central-1"), (403, "eu-central-1"), (200, ""), (403, "")],
)
def test_where_a_bucket_is(status: int, region: str) -> None:
    headers = (("x-amz-bucket-region", region),) if region else ()
    with answering(lambda _: Said(status, headers=headers)) as (url, asked):
        assert _region(client(url), "models") == (region or None)
    assert [one.method for one in asked] == ["HEAD"] * len(asked) and asked[0].target == "/models"


@pytest.mark.parametrize("status", [404, 503])
def test_where_a_bucket_is_not_known(status: int) -> None:
    with answering(lambda _: Said(status)) as (url, _), pytest.raises(ClientError):
        _region(client(url), "models")


def test_requests_are_signed_for_the_region_of_the_bucket(
    server: S3Server, name: str, keys: None, monkeypatch: Patch
) -> None:
    domain = "s3.us-east-1.amazonaws.com"
    elsewhere = Said(301, headers=(("x-amz-bucket-region", "eu-central-1"),))
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{domain}")  # Amazon's host name, and none of its addresses
    with forward(server, domain=domain, region="eu-central-1", head_bucket=elsewhere) as way:
        monkeypatch.setenv("HTTP_PROXY", way.url)
        assert Connection(name).client.meta.region_name == "eu-central-1"
        both_ways(name)
    assert ("HEAD", f"http://{name}.{domain}/") in way.targets


def test_a_bucket_that_is_missing_at_amazon(server: S3Server, keys: None, monkeypatch: Patch) -> None:
    domain = "s3.us-east-1.amazonaws.com"
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{domain}")
    with forward(server, domain=domain, head_bucket=Said(404)) as way:
        monkeypatch.setenv("HTTP_PROXY", way.url)
        with pytest.raises(ProvisionError) as caught:
            Connection("missing-models")
    assert caught.value.exit_code == 7


# --- checksums ---


def test_a_store_that_knows_no_checksums_gets_md5_alone(
    server: S3Server, name: str, proxy: FaultyS3, monkeypatch: Patch
) -> None:
    for variable, value in environment(server, proxy.endpoint).items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
    store = open_store(f"s3://{name}/md5")
    release = transfer(document(small()), store, MemorySource(small())).report.release
    assert findings(store, release) == {}
    puts = [one for one in proxy.requests("PUT") if "x-amz-copy-source" not in one.headers]
    deletions = proxy.requests("POST", query="delete")
    assert puts and deletions and all("content-md5" in one.headers for one in (*puts, *deletions))
    named = {header for one in proxy.log for header in one.headers if "checksum" in header}
    assert named == set()
