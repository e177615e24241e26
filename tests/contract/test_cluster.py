"""The client of the API server: logins, answers that are none, and what a message must not hold."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from provisioner.cluster import client
from provisioner.cluster.client import Cluster
from provisioner.cluster.errors import Conflict, Refused
from provisioner.cluster.lines import lines
from provisioner.errors import AccessDenied, InvalidInput, ProvisionError, Unavailable, Unusable
from tests.support.api_cluster import NAMESPACE, claim
from tests.support.api_server import ApiServer
from tests.support.job_process import JOB, Site

SECRET = "S3CRET"


@pytest.fixture
def api(tmp_path: Path) -> Iterator[ApiServer]:
    with ApiServer(tmp_path / "tls").running() as server:
        claim(server)
        yield server


@pytest.fixture
def cluster(api: ApiServer, tmp_path: Path) -> Iterator[Cluster]:
    found = Cluster.connect(str(api.kubeconfig(tmp_path)), None, None)
    yield found
    found.close()


@pytest.fixture
def site(api: ApiServer, tmp_path: Path) -> Iterator[Site]:
    found = Site(api, tmp_path)
    yield found
    found.close()


def plugin(script: str) -> dict[str, Any]:
    words = {"command": "sh", "args": ["-c", script, SECRET], "env": [{"name": "A", "value": SECRET}]}
    return {"exec": {"apiVersion": "client.authentication.k8s.io/v1"} | words}


def credential(token: str) -> str:
    return json.dumps({"kind": "ExecCredential", "status": {"token": token}})


def kubeconfig(api: ApiServer, folder: Path, user: dict[str, Any] | None, **where: Any) -> str:
    path = api.kubeconfig(folder)
    whole = json.loads(path.read_text())
    whole["clusters"][0]["cluster"] |= where
    whole["users"][0]["user"] = user or whole["users"][0]["user"]
    path.write_text(json.dumps(whole))
    return str(path)


@contextmanager
def connected(api: ApiServer, folder: Path, user: dict[str, Any] | None, **where: Any) -> Iterator[Cluster]:
    found = Cluster.connect(kubeconfig(api, folder, user, **where), None, None)
    try:
        yield found
    finally:
        found.close()


DOWN = "127.0.0.1:1"


@pytest.mark.parametrize(
    ("user", "where", "kind", "words"),
    [
        (None, {"server": f"https://u:{SECRET}@{DOWN}"}, Unavailable, f"The API server https://{DOWN} does not answer"),
        (None, {"server": f"https://u:a/{SECRET}@{DOWN}"}, ProvisionError, DOWN),
        (None, {"server": f"ftp://u:{SECRET}@host"}, InvalidInput, "ftp://host is no address of HTTP"),
        (None, {"server": f"https://u:{SECRET}@[::1"}, InvalidInput, "is no address"),
        (None, {"proxy-url": f"socks5://u:{SECRET}@{DOWN}"}, ProvisionError, "socks"),
        (None, {"proxy-url": f"foo://u:{SECRET}@{DOWN}"}, InvalidInput, "proxy-url of context test"),
        (None, {"proxy-url": f"http://u:{SECRET}@{DOWN}"}, Unavailable, "does not answer"),
        ({"token": f"{SECRET}\n"}, {}, AccessDenied, "The token of context test cannot be sent"),
        ({"token": f"{SECRET}é"}, {}, AccessDenied, "The token of context test cannot be sent"),
        ({"auth-provider": {"name": "oidc", "config": {"id-token": SECRET}}}, {}, InvalidInput, "cannot be used"),
        (plugin(f"echo {SECRET} >&2; echo {SECRET}; exit 3"), {}, AccessDenied, "ended with exit code 3"),
        (plugin(f"echo {SECRET}"), {}, AccessDenied, "its answer holds no token"),
        (plugin(f"printf %s '{credential(SECRET + chr(10))}'"), {}, AccessDenied, "cannot be sent"),
        (plugin(f"echo '{credential(SECRET)}'"), {}, AccessDenied, "does not accept the login"),
        (
            {"exec": plugin("")["exec"] | {"command": "/bin/none-such"}},
            {},
            AccessDenied,
            "plugin none-such of context test failed: No such file",
        ),
        ({"exec": plugin("")["exec"] | {"apiVersion": "v9"}}, {}, InvalidInput, "apiVersion v9"),
    ],
)
def test_what_is_wrong_with_a_login_is_said_without_its_secrets(
    api: ApiServer, tmp_path: Path, user: dict[str, Any] | None, where: dict[str, Any], kind: type[Any], words: str
) -> None:
    with pytest.raises(kind) as caught, connected(api, tmp_path, user, **where) as found:
        found.list("Job")
    text = f"{caught.value} {caught.value.hint}"
    assert words.lower() in text.lower()
    assert SECRET not in text
    assert "VPN" not in text or caught.type is Unavailable


def test_a_certificate_that_is_none_is_not_shown(site: Site) -> None:
    broken = {"client-certificate-data": f"{SECRET}!!", "client-key-data": SECRET}
    kubeconfig(site.api, site.folder, broken)
    done = site.do("status")
    assert done.code == 4 and "context test cannot be used" in done.err
    assert SECRET not in done.err


def test_a_token_that_is_not_taken_any_more_is_asked_for_again(api: ApiServer, tmp_path: Path) -> None:
    count = tmp_path / "count"
    script = (
        f"echo >> {count}; test $(wc -l < {count}) = 1 && echo '{credential('old')}' || echo '{credential('t0ken')}'"
    )
    with connected(api, tmp_path, plugin(script)) as found:
        assert found.list("Job") == found.list("Job") == []
    assert len(count.read_text().splitlines()) == 2


@pytest.mark.parametrize("tokens", [("1", "1"), ("1", "2", "3")])
def test_a_list_without_an_end_is_left(
    cluster: Cluster, api: ApiServer, monkeypatch: pytest.MonkeyPatch, tokens: tuple[str, ...]
) -> None:
    monkeypatch.setattr(client, "_PAGES", 3)
    page, left = api.list, list(tokens)
    api.list = lambda *a: page(*a) | {"metadata": {"continue": left.pop(0)}}  # type: ignore[method-assign]
    with pytest.raises(Unusable, match="its list has no end"):
        cluster.list("Namespace")


@pytest.mark.parametrize(
    "shape",
    [
        {},
        {"metadata": None},
        {"metadata": {"name": JOB}, "spec": None},
        {"metadata": {"name": JOB}, "spec": {"template": {"spec": {"containers": []}}}, "status": {"conditions": [5]}},
    ],
)
def test_an_object_that_is_none_is_one_sentence(site: Site, shape: dict[str, Any]) -> None:
    assert site.do("run", "--detach").code == 0
    one = site.api.objects["jobs", NAMESPACE, JOB]
    labels = one["metadata"]["labels"]
    one.clear()
    one |= shape
    if one.get("metadata"):
        one["metadata"]["labels"] = labels
    done = site.do("run")
    assert (done.code, "Traceback" in done.err) == (5, False)
    assert f"answers strangely to read Job {JOB} (with something that is no Job)" in done.err


def test_a_dry_replace_is_checked_and_not_kept(cluster: Cluster, api: ApiServer) -> None:
    api.put("deployments", NAMESPACE, "server", {"spec": pods() | {"replicas": 1}})
    read = cluster.get("Deployment", "server")
    assert read is not None
    wanted = {"kind": "Deployment", "apiVersion": "apps/v1"} | read | {"spec": read["spec"] | {"replicas": 2}}
    assert cluster.replace(wanted, dry_run=True)["spec"]["replicas"] == 2
    assert api.objects["deployments", NAMESPACE, "server"]["spec"]["replicas"] == 1
    cluster.replace(wanted)
    assert api.objects["deployments", NAMESPACE, "server"]["spec"]["replicas"] == 2
    with pytest.raises(Conflict, match="somebody changed it meanwhile") as caught:
        cluster.replace(wanted, dry_run=True)
    assert "--force-conflicts" not in caught.value.hint


def pods() -> dict[str, Any]:
    return {"template": {"spec": {"containers": [{"name": "x"}]}}}


def test_workloads_of_every_kind_are_listed(cluster: Cluster, api: ApiServer) -> None:
    api.put("replicasets", NAMESPACE, "r", {"spec": pods()})
    api.put("cronjobs", NAMESPACE, "c", {"spec": {"jobTemplate": {"spec": pods()}}})
    found = {kind: [one["metadata"]["name"] for one in cluster.list(kind)] for kind in ("ReplicaSet", "CronJob")}
    assert found == {"ReplicaSet": ["r"], "CronJob": ["c"]}
    paths = [path for _, path, _ in api.requests]
    assert paths == ["/apis/apps/v1/namespaces/default/replicasets", "/apis/batch/v1/namespaces/default/cronjobs"]


def test_hints_are_for_the_command_that_asks(cluster: Cluster, api: ApiServer) -> None:
    api.put("deployments", NAMESPACE, "server", {"spec": pods()})
    read = {"kind": "Deployment"} | (cluster.get("Deployment", "server") or {})
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"}, "spec": pods()}
    api.forbidden = {("PUT", "deployments"), ("GET", "deployments"), ("GET", "jobs")}
    for ask, words in (
        (lambda: cluster.replace(read), "docs/update.md"),
        (lambda: cluster.list("Deployment"), "docs/update.md"),
        (lambda: cluster.list("Job"), "docs/job-run.md"),
    ):
        with pytest.raises(AccessDenied) as denied:
            ask()
        assert words in denied.value.hint
    api.forbidden = set()
    for method, kind, ask, words in (
        ("PUT", "deployments", lambda: cluster.replace(read), "docs/update.md"),
        ("PATCH", "jobs", lambda: cluster.apply(job), "provision emit"),
    ):
        api.faults = [(method, kind, 422)]
        with pytest.raises(Refused) as refused:
            ask()
        assert words in refused.value.hint


def test_a_name_stays_in_its_place(cluster: Cluster, api: ApiServer) -> None:
    assert cluster.get("Job", "../pods/x?y") is None
    assert [path for _, path, _ in api.requests] == ["/apis/batch/v1/namespaces/default/jobs/..%2Fpods%2Fx%3Fy"]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_lines_are_those_of_the_text_however_it_arrives(size: int) -> None:
    text = "one\n\ntwo\r\nthr\ree\né\u2028x\nlast"
    data = text.encode()
    chunks = [data[at : at + size] for at in range(0, len(data), size)]
    assert list(lines(chunks)) == ["one", "", "two", "thr\ree", "é\u2028x", "last"]
    assert list(lines([b"a\n"])) == ["a"] and list(lines([])) == []


def test_of_an_endless_line_the_beginning_is_kept() -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(100):
            yield b"x" * 1000
        yield b"\nnext\n"

    first, second = lines(endless(), longest=50)
    assert first == "x" * 50 + " ... (99950 more bytes of this line were left out)"
    assert second == "next"
