"""`provision access`: what it prints, and what it does to a MinIO server."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from provisioner.emit.access.policies import Place, reader, same, writer
from tests.support import seaweed
from tests.support.faults_process import Done, provision
from tests.support.minio_admin import ADMIN, SECRET, AdminApi, Refused, admin_api


@pytest.fixture
def api() -> Iterator[AdminApi]:
    with admin_api() as api:
        yield api


def apply(api: AdminApi, place: Path, *more: str, secret: str = SECRET, access: str = ADMIN) -> Done:
    keys = {"MINIO_ENDPOINT": api.url, "MINIO_ACCESS_KEY": access, "MINIO_SECRET_KEY": secret}
    return applied(place, *more, **keys)


def applied(place: Path, *more: str, **variables: str) -> Done:
    return provision("access", "minio", "--bucket", "models", "--apply", *more, cwd=place, **variables)


def done_before(api: AdminApi) -> None:
    """As an earlier run left the server; each call costs an Argon2 hash on both sides."""
    place = Place.of("models", "")
    api.policies = {"models-reader": reader(place), "models-writer": writer(place)}
    for name in api.policies:
        api.users[name] = {"secretKey": f"old-{name}", "status": "enabled", "policies": [name]}


def test_without_apply_the_text_is_a_script(tmp_path: Path) -> None:
    done = provision("access", "minio", "--bucket", "models", "--prefix", "a/b", "--alias", "prod", cwd=tmp_path)
    assert done.code == 0
    (tmp_path / "mc").write_text('#!/bin/sh\necho "$@" >> calls\n')
    (tmp_path / "mc").chmod(0o755)
    subprocess.run(["sh", "-c", f"PATH={tmp_path}:$PATH; {done.out}"], cwd=tmp_path, check=True)
    data = provision("access", "minio", "--bucket", "models", "--prefix", "a/b", "--json", cwd=tmp_path).json
    for role in ("reader", "writer"):
        name = data[role]["name"]
        assert json.loads((tmp_path / f"{name}.json").read_text()) == data[role]["policy"]
        assert f"admin policy create prod {name} {name}.json\n" in (tmp_path / "calls").read_text()
        assert f"admin policy attach prod {name} --user {name}\n" in (tmp_path / "calls").read_text()


def test_apply_creates_both_and_tells_the_secrets_once(api: AdminApi, tmp_path: Path) -> None:
    first = apply(api, tmp_path)
    assert first.code == 0, first.err
    assert set(api.policies) == set(api.users) == {"models-reader", "models-writer"}
    for name, user in api.users.items():
        assert user["policies"] == [name]
        assert user["status"] == "enabled"
        assert len(user["secretKey"]) >= 40
        assert f"MINIO_ENDPOINT={api.url}\nMINIO_ACCESS_KEY={name}\nMINIO_SECRET_KEY={user['secretKey']}\n" in first.out
        assert user["secretKey"] not in first.err
    assert SECRET not in first.out + first.err
    before, secrets = len(api.changes), {name: user["secretKey"] for name, user in api.users.items()}
    second = apply(api, tmp_path, "-vv")
    assert (second.code, second.out, len(api.changes)) == (0, "", before)
    assert {name: user["secretKey"] for name, user in api.users.items()} == secrets
    assert not any(secret in second.err for secret in (*secrets.values(), SECRET))


def test_one_role_alone_is_an_env_file(api: AdminApi, tmp_path: Path) -> None:
    done = apply(api, tmp_path, "--only", "reader")
    lines = [line for line in done.out.splitlines() if not line.startswith("#")]
    assert [line.split("=")[0] for line in lines] == ["MINIO_ENDPOINT", "MINIO_ACCESS_KEY", "MINIO_SECRET_KEY"]
    assert set(api.users) == {"models-reader"}


def test_rotate_gives_new_secrets_and_nothing_else(api: AdminApi, tmp_path: Path) -> None:
    done_before(api)
    new = apply(api, tmp_path, "--rotate", "--only", "writer", "--json").json
    assert (new["writer"]["user"], new["writer"]["policy"], new["writer"]["attachment"]) == (
        "rotated",
        "unchanged",
        "unchanged",
    )
    assert "reader" not in new
    assert api.users["models-writer"]["secretKey"] == new["writer"]["secret_key"] != "old-models-writer"
    assert api.users["models-reader"]["secretKey"] == "old-models-reader"


def test_a_policy_that_was_widened_is_put_right(api: AdminApi, tmp_path: Path) -> None:
    done_before(api)
    right = json.loads(json.dumps(api.policies["models-reader"]))
    api.policies["models-reader"]["Statement"][0]["Action"] = ["s3:*"]
    api.users["models-reader"]["policies"].append("consoleAdmin")
    done = apply(api, tmp_path, "--only", "reader", "--json")
    assert done.json["reader"] == {
        "name": "models-reader",
        "policy": "updated",
        "user": "unchanged",
        "attachment": "unchanged",
    }
    assert same(api.policies["models-reader"], right)
    assert "other policies too: consoleAdmin" in done.err


def test_a_disabled_user_stays_disabled(api: AdminApi, tmp_path: Path) -> None:
    done_before(api)
    api.users["models-reader"]["status"] = "disabled"
    assert apply(api, tmp_path).code == 0
    assert apply(api, tmp_path, "--rotate").code == 2
    assert api.users["models-reader"]["status"] == "disabled"


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_a_secret_that_was_made_is_shown_whatever_fails_then(
    api: AdminApi, tmp_path: Path, form: tuple[str, ...]
) -> None:
    api.refuse["attach"] = Refused(403, "AccessDenied")
    done = apply(api, tmp_path, "--only", "reader", *form)
    assert done.code == 6
    assert api.users["models-reader"]["secretKey"] in done.out
    del api.refuse["attach"]
    assert apply(api, tmp_path, "--only", "reader").code == 0
    assert api.users["models-reader"]["policies"] == ["models-reader"]


@pytest.mark.parametrize(
    ("access", "secret", "code"),
    [(ADMIN, "wrong-secret", "SignatureDoesNotMatch"), ("nobody", SECRET, "InvalidAccess")],
)
def test_keys_that_may_not_administer(api: AdminApi, tmp_path: Path, access: str, secret: str, code: str) -> None:
    done = apply(api, tmp_path, access=access, secret=secret)
    assert (done.code, done.out, api.changes) == (6, "", [])
    assert code in done.err
    assert "Traceback" not in done.err
    assert secret not in done.err


@pytest.mark.parametrize(
    ("refused", "code", "word"),
    [
        (Refused(403, "AccessDenied"), 6, "does not let"),
        (Refused(403, "RequestTimeTooSkewed"), 6, "clock"),
        (Refused(503, "XMinioServerNotInitialized"), 5, "answered 503"),
        (Refused(400, "XMinioAdminInvalidArgument"), 5, "XMinioAdminInvalidArgument"),
    ],
)
def test_what_the_server_refuses(api: AdminApi, tmp_path: Path, refused: Refused, code: int, word: str) -> None:
    api.refuse["info-canned-policy"] = refused
    done = apply(api, tmp_path)
    assert (done.code, done.out) == (code, "")
    assert "Traceback" not in done.err
    assert word in done.err
    assert "urllib3" not in done.err


def test_nobody_there(tmp_path: Path) -> None:
    done = apply(AdminApi("http://127.0.0.1:1"), tmp_path)
    assert (done.code, done.out) == (5, "")
    assert "127.0.0.1:1 refuses connections" in done.err
    assert not any(word in done.err for word in ("Traceback", "urllib3", "WARNING", SECRET))


def test_an_answer_that_is_lost_is_asked_for_again(api: AdminApi, tmp_path: Path) -> None:
    api.lose = {"attach", "info-canned-policy"}
    done = apply(api, tmp_path, "--only", "reader")
    assert (done.code, api.lose) == (0, set()), done.err
    assert api.users["models-reader"]["policies"] == ["models-reader"]
    assert api.changes.count("attach") == 2
    assert "urllib3" not in done.err


def test_the_settings_that_the_store_knows(api: AdminApi, tmp_path: Path) -> None:
    host = api.url.removeprefix("http://")
    keys = {"MINIO_ROOT_USER": ADMIN, "MINIO_ROOT_PASSWORD": SECRET, "MINIO_SESSION_TOKEN": "for-a-while"}
    done = applied(tmp_path, "--endpoint", host, "--only", "reader", "--json", MINIO_SECURE="false", **keys)
    assert (done.code, done.json["endpoint"]) == (0, api.url), done.err
    assert set(api.tokens) == {"for-a-while"}
    (tmp_path / "mc").mkdir()
    entry = {"url": f"{api.url}/", "accessKey": ADMIN, "secretKey": SECRET, "sessionToken": "of-the-alias"}
    (tmp_path / "mc" / "config.json").write_text(json.dumps({"aliases": {"house": entry}}))
    done = applied(tmp_path, "--alias", "house", "--only", "reader", MC_CONFIG_DIR=str(tmp_path / "mc"))
    assert (done.code, api.tokens[-1]) == (0, "of-the-alias"), done.err
    done = applied(tmp_path, "--endpoint", api.url)
    assert (done.code, "MINIO_ACCESS_KEY" in done.err) == (2, True)


@pytest.mark.parametrize(
    ("more", "settings"),
    [
        ((), {"MINIO_ENDPOINT": "https://minio.example:9000"}),
        (("--alias", "house"), {"MC_HOST_house": f"https://{ADMIN}:{SECRET}@minio.example:9000"}),
    ],
)
def test_keys_go_to_no_other_server(
    api: AdminApi, tmp_path: Path, more: tuple[str, ...], settings: dict[str, str]
) -> None:
    keys = {"MINIO_ACCESS_KEY": ADMIN, "MINIO_SECRET_KEY": SECRET}
    done = applied(tmp_path, "--endpoint", api.url, *more, **keys, **settings)
    assert (done.code, done.out, api.tokens) == (6, "", [])
    assert "minio.example:9000" in done.err and SECRET not in done.err


def test_the_way_goes_through_the_proxy(api: AdminApi, tmp_path: Path) -> None:
    keys = {"MINIO_ENDPOINT": api.url, "MINIO_ACCESS_KEY": ADMIN, "MINIO_SECRET_KEY": SECRET}
    proxy = "http://somebody:proxy-secret@127.0.0.1:1"
    done = applied(tmp_path, HTTP_PROXY=proxy, **keys)
    assert (done.code, api.tokens) == (5, [])
    assert f"The proxy on the way to {api.url.removeprefix('http://')}" in done.err
    assert "proxy-secret" not in done.err and "urllib3" not in done.err
    assert applied(tmp_path, HTTP_PROXY=proxy, NO_PROXY="127.0.0.1", **keys).code == 0


@pytest.mark.skipif(bool(seaweed.cannot_serve()), reason=seaweed.cannot_serve() or "there is one")
def test_a_private_ca(tmp_path: Path) -> None:
    server = seaweed.server()
    if not (server.tls_endpoint and server.ca_file):
        pytest.skip("only for the server that the tests start")
    keys = {"MINIO_ACCESS_KEY": server.access_key, "MINIO_SECRET_KEY": server.secret_key}
    done = applied(tmp_path, MINIO_ENDPOINT=server.tls_endpoint, **keys)
    assert (done.code, "certificate" in done.err, "urllib3" in done.err) == (5, True, False)
    done = applied(tmp_path, MINIO_ENDPOINT=server.tls_endpoint, SSL_CERT_FILE=str(server.ca_file), **keys)
    assert "certificate" not in done.err
    assert "admin" in done.err and done.code in (6, 7)  # it is no MinIO


@pytest.mark.parametrize(
    "arguments", [("minio", "--bucket", "models", "--rotate"), ("minio",), ("s3", "--bucket", "M"), ("azurefiles",)]
)
def test_usage(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = provision("access", *arguments, cwd=tmp_path)
    assert (done.code, done.out) == (2, "")


def test_s3_prints_documents(tmp_path: Path) -> None:
    key = "arn:aws-cn:kms:cn-north-1:123456789012:key/0a1b"
    arguments = ("access", "s3", "--bucket", "models", "--partition", "aws-cn", "--kms-key", key, "--tls-only")
    data = provision(*arguments, "--json", cwd=tmp_path).json
    assert data["bucket-policy"]["policy"]["Statement"][0]["Effect"] == "Deny"
    assert key in json.dumps(data["reader"]["policy"]) and key in json.dumps(data["writer"]["policy"])
    subprocess.run(["sh", "-c", f"aws() {{ :; }}\n{provision(*arguments, cwd=tmp_path).out}"], cwd=tmp_path, check=True)
    for role in ("reader", "writer", "bucket-policy"):
        assert json.loads((tmp_path / f"models-{role}.json").read_text()) == data[role]["policy"]


def test_azurefiles_prints_commands_that_a_shell_reads(tmp_path: Path) -> None:
    done = provision("access", "azurefiles", "--account", "acme", "--share", "models", "--path", "ml", cwd=tmp_path)
    script = 'az() { printf "%s\\n" "$*"; }\nSUBSCRIPTION=s RESOURCE_GROUP=g CLIENT_ID=c\n' + done.out
    lines = subprocess.run(["sh", "-eu", "-c", script], capture_output=True, text=True, check=True).stdout.splitlines()
    assert len(lines) == 6
    assert "sig=" not in done.out
