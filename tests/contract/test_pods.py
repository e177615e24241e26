"""The pods that `provision emit` writes, really run: command, variables, user, groups, volumes, read-only root."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.deployment import FS_GROUP, USER, Deployment, of_kind, summary
from tests.support.faults import FaultyHub
from tests.support.faults_process import provision
from tests.support.hub_fixture import make
from tests.support.locks import small, snapshot
from tests.support.manifests import load
from tests.support.mounts import tmpfs, unmount
from tests.support.object_backend import ObjectBackend, object_backend
from tests.support.patience import until
from tests.support.pod_volumes import CannotStart, Claim, Object
from tests.support.pods import ANY_UID, action, pod, run_job
from tests.support.seaweed import cannot_serve

MADE = small()
PARTS = {f"onnx/part-{number:02}.onnx": bytes([number]) * 2**18 for number in range(12)}
MANY = make("org/many", {"config.json": b"{}", **PARTS})


@pytest.fixture
def hub() -> Iterator[FaultyHub]:
    with FaultyHub(MADE, MANY) as server:
        yield server


@pytest.fixture
def deployment(open_folder: Path) -> Deployment:
    return Deployment(open_folder, MADE)


# The mirror Job


def test_the_job_fills_the_volume(deployment: Deployment, hub: FaultyHub) -> None:
    job = deployment.job(hub)
    ended = deployment.run(job)
    assert ended.code == 0, ended.err
    assert deployment.findings() == {}
    assert json.loads(ended.out)["release"] == deployment.release
    said = summary(ended)
    assert (said["command"], said["release"]) == ("mirror", deployment.release)
    there = {path: path.stat() for path in deployment.volume.rglob("*")}
    assert {found.st_uid for found in there.values()} == {USER}
    assert all(found.st_mode & 0o444 == 0o444 for found in there.values()), "whoever mounts it may read it"
    assert {path.stat().st_gid for path in deployment.volume.iterdir()} == {FS_GROUP}


def test_the_same_job_again_asks_for_nothing(deployment: Deployment, hub: FaultyHub) -> None:
    job = deployment.job(hub)
    assert deployment.run(job).code == 0
    before = len(hub.requests)
    ended = deployment.run(job)
    assert (ended.code, len(hub.requests)) == (0, before), ended.err
    assert deployment.findings() == {}


def test_the_job_reads_everything_again_where_that_is_asked(deployment: Deployment, hub: FaultyHub) -> None:
    ended = deployment.run(deployment.job(hub, "--set", "job.verify=full"))
    assert ended.code == 0, ended.err
    assert json.loads(ended.out)["verify"]["evidence"] == "rehashed"


def test_the_job_runs_as_whatever_uid_openshift_chooses(deployment: Deployment, hub: FaultyHub) -> None:
    job = deployment.job(hub, "--set", "openshift=true")
    context = job["spec"]["template"]["spec"]["securityContext"]
    assert "runAsUser" not in context and "fsGroup" not in context
    context |= {"runAsUser": ANY_UID, "fsGroup": ANY_UID}  # as its admission does
    ended = deployment.run(job)
    assert ended.code == 0, ended.err
    assert deployment.findings() == {}
    assert (deployment.volume / "current").stat().st_uid == ANY_UID


def test_a_job_on_a_volume_without_fs_group_says_whom_it_must_let_write(deployment: Deployment, hub: FaultyHub) -> None:
    deployment.cluster.claims["models"] = Claim(deployment.volume, fs_group=False)  # NFS
    job = deployment.job(hub)
    ended = deployment.run(job)
    assert (ended.code, action(job, ended.code)) == (8, "FailJob"), ended.err
    assert str(USER) in summary(ended)["error"] + summary(ended)["hint"]
    assert list(deployment.volume.iterdir()) == []
    deployment.volume.chmod(0o775)  # root:root, and the Job's group is root's
    assert deployment.run(job).code == 0
    assert deployment.findings() == {}


def test_three_pods_share_the_work_and_publish_once(open_folder: Path, hub: FaultyHub) -> None:
    deployment = Deployment(open_folder, MANY)
    claim = ("--set", "targets.nas.kind=storage-class", "--set", "targets.nas.claim=models")
    job = deployment.job(hub, "--to", "nas", "--completions", "3", *claim)
    ended = run_job(job, deployment.cluster)
    assert [one.code for one in ended] == [0, 0, 0], [one.err for one in ended]
    assert deployment.findings() == {}
    asked = [request.path for request in hub.requests]
    assert sorted(asked) == sorted(MANY.content), "each file was brought once"
    assert {summary(one)["command"] for one in ended} == {"mirror"}


# Where bytes come from


@pytest.fixture
def bucket() -> Iterator[ObjectBackend]:
    if reason := cannot_serve():
        pytest.skip(reason)
    with object_backend("s3") as found:
        yield found


def stocked(deployment: Deployment, bucket: ObjectBackend, hub: FaultyHub, scheme: str) -> tuple[str, tuple[str, ...]]:
    """A bucket that holds the release, its address, and the settings with which a Job reads it."""
    server = bucket.server
    deployment.cluster.secrets["keys"] = {"id": server.access_key, "key": server.secret_key}
    names = {"s3": ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "minio": ("MINIO_ACCESS_KEY", "MINIO_SECRET_KEY")}
    host = server.endpoint.partition("://")[2]
    address = {"s3": f"s3://{bucket.bucket}/house", "minio": f"minio://{host}/{bucket.bucket}/house"}[scheme]
    plain = {"s3": {"AWS_ENDPOINT_URL": server.endpoint, "AWS_REGION": server.region}, "minio": {"MINIO_SECURE": "0"}}
    keys = dict(zip(names[scheme], ("keys/id", "keys/key"), strict=True))
    given = [f"job.env.{name}='{value}'" for name, value in plain[scheme].items()]
    given += [f"job.secrets.{name}={value}" for name, value in keys.items()]
    done = provision(
        *("mirror", "--to", address, "--from", "hub", "--endpoint", hub.url),
        cwd=deployment.folder,
        **{name: deployment.cluster.secrets["keys"][ref.partition("/")[2]] for name, ref in keys.items()},
        **plain[scheme],
    )
    assert done.code == 0, done.err
    hub.requests.clear()
    return address, tuple(part for one in given for part in ("--set", one))


@pytest.mark.parametrize("scheme", ["s3", "minio"])
def test_the_job_reads_a_bucket_before_the_hub(
    scheme: str, deployment: Deployment, hub: FaultyHub, bucket: ObjectBackend
) -> None:
    address, settings = stocked(deployment, bucket, hub, scheme)
    job = deployment.job(hub, "--from", address, "--from", "hub", *settings)
    ended = deployment.run(job)
    assert ended.code == 0, ended.err
    assert (deployment.findings(), hub.requests) == ({}, [])
    assert bucket.server.secret_key not in ended.out + ended.err + ended.message + json.dumps(job)


def test_what_the_bucket_lacks_comes_from_the_hub(
    deployment: Deployment, hub: FaultyHub, bucket: ObjectBackend
) -> None:
    address, settings = stocked(deployment, bucket, hub, "s3")
    path = f"house/releases/{deployment.release}/{snapshot(MADE, 'tokenizer.json')}"
    bucket.client.delete_object(Bucket=bucket.bucket, Key=path)
    ended = deployment.run(deployment.job(hub, "--from", address, "--from", "hub", *settings))
    assert ended.code == 0, ended.err
    assert deployment.findings() == {}
    assert {request.path for request in hub.requests} == {"tokenizer.json"}


# What goes wrong


def test_a_pod_without_its_secret_does_not_start(deployment: Deployment, hub: FaultyHub) -> None:
    job = deployment.job(hub, "--set", "job.secrets.HF_TOKEN=hf-token/token")
    with pytest.raises(CannotStart, match="hf-token/token not found"):
        deployment.run(job)
    deployment.cluster.secrets["hf-token"] = {"token": "hf_secret"}
    ended = deployment.run(job)
    assert ended.code == 0, ended.err
    assert {request.headers["authorization"] for request in hub.requests} == {"Bearer hf_secret"}
    assert "hf_secret" not in ended.out + ended.err + ended.message


def test_a_hub_that_refuses_ends_the_job(deployment: Deployment, hub: FaultyHub) -> None:
    hub.fault("tokenizer.json", lambda request: request.answer(403, x_error_code="GatedRepo"))
    job = deployment.job(hub)
    ended = deployment.run(job)
    assert (ended.code, action(job, ended.code)) == (6, "FailJob"), ended.err
    assert "org/small" in summary(ended)["error"]
    assert not (deployment.volume / "releases" / deployment.release).exists()


def test_a_hub_out_of_reach_is_tried_again_by_another_pod(deployment: Deployment, hub: FaultyHub) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and no listen
        job = deployment.job(f"http://127.0.0.1:{taken.getsockname()[1]}")
        ended = deployment.run(job)
    assert (ended.code, action(job, ended.code)) == (5, "Count"), ended.err
    assert summary(ended)["retryable"] is True
    assert deployment.run(deployment.job(hub)).code == 0, "the next pod goes on in the same volume"
    assert deployment.findings() == {}


def test_a_hub_with_other_bytes_publishes_nothing(deployment: Deployment, hub: FaultyHub) -> None:
    wrong = b"\7" * len(MADE.content["tokenizer.json"])
    hub.fault("tokenizer.json", lambda request: request.answer(200, wrong))
    job = deployment.job(hub)
    ended = deployment.run(job)
    assert (ended.code, action(job, ended.code)) == (3, "FailJob"), ended.err
    assert not (deployment.volume / "releases" / deployment.release).exists()


def test_a_changed_lock_ends_the_job(deployment: Deployment, hub: FaultyHub) -> None:
    job = deployment.job(hub)
    (data,) = deployment.cluster.config_maps.values()
    data["models.lock"] = data["models.lock"].replace("sha256", "sha257")
    ended = deployment.run(job)
    assert (ended.code, action(job, ended.code)) == (4, "FailJob"), ended.err
    assert hub.requests == []


def test_a_full_volume_ends_the_job(open_folder: Path, hub: FaultyHub) -> None:
    deployment = Deployment(open_folder, MANY)
    if problem := tmpfs(deployment.volume, size="1m"):
        pytest.skip(problem)
    try:
        job = deployment.job(hub)
        ended = deployment.run(job)
        assert (ended.code, action(job, ended.code)) == (8, "FailJob"), ended.err
        assert not list(deployment.volume.glob("releases/*"))
    finally:
        unmount(deployment.volume)


def test_a_stopped_pod_says_so_and_another_goes_on(open_folder: Path, hub: FaultyHub) -> None:
    """SIGTERM to process 1, which has no default action there: a pod that did not listen would be killed at last."""
    deployment = Deployment(open_folder, MANY)
    job = deployment.job(hub)
    go = hub.hold("onnx/part-00.onnx", 2**17)
    with pod(job["spec"]["template"], deployment.cluster) as one, one.container("mirror") as running:
        until(lambda: running.ended is not None or hub.sent("onnx/part-00.onnx") >= 2**17)
        running.terminate()
        ended = running.wait()
    assert (ended.code, action(job, ended.code)) == (130, "Count"), ended.err
    assert summary(ended)["command"] == "mirror"
    assert not (deployment.volume / "releases" / deployment.release).exists()
    go.set()
    assert deployment.run(job).code == 0
    assert deployment.findings() == {}


# Who reads


@pytest.fixture
def filled(deployment: Deployment, hub: FaultyHub) -> Deployment:
    ended = deployment.run(deployment.job(hub))
    assert ended.code == 0, ended.err
    return deployment


def test_the_cron_job_reads_every_byte_again(filled: Deployment) -> None:
    job = of_kind("CronJob", filled.emit("verify"))["spec"]["jobTemplate"]
    ended = filled.run(job)
    assert ended.code == 0, ended.err
    assert json.loads(ended.out)["evidence"] == "rehashed"
    path = filled.file(MADE, "model.safetensors")
    times = path.stat()
    path.write_bytes(bytes(len(MADE.content["model.safetensors"])))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    ended = filled.run(job)
    assert (ended.code, action(job, ended.code)) == (3, "FailJob"), ended.err
    assert "model.safetensors" in ended.message
    assert filled.release in summary(ended)["error"]


def test_readers_can_change_nothing(filled: Deployment) -> None:
    job = of_kind("Job", filled.emit("inspector"))
    before = sorted(filled.volume.rglob("*"))
    with pod(job["spec"]["template"], filled.cluster) as one, one.container("inspector") as running:
        for target in ("/mnt/models/new", "/mnt/models/current", "/etc/provision/models.lock", "/usr/new", "/new"):
            done = running.exec("sh", "-c", f"echo x >{target}")
            assert (done.returncode, "Read-only file system" in done.stderr) == (2, True), (target, done.stderr)
        assert running.exec("sh", "-c", "echo x >$TMPDIR/new && cat $HOME/new").stdout == "x\n"
        limits = running.exec("cat", "/proc/self/status").stdout
        assert {line for line in limits.splitlines() if line.startswith(("CapEff", "CapBnd", "NoNewPrivs"))} == {
            f"CapEff:\t{0:016x}",
            f"CapBnd:\t{0:016x}",
            "NoNewPrivs:\t1",
        }
    assert sorted(filled.volume.rglob("*")) == before


def test_the_inspector_answers(filled: Deployment) -> None:
    job = of_kind("Job", filled.emit("inspector"))
    with pod(job["spec"]["template"], filled.cluster) as one, one.container("inspector") as running:
        done = running.exec("provision", "status", "--at", "pvc", "--check", "--json")
        assert done.returncode == 0, done.stderr
        done = running.exec("provision", "releases", "list", "--at", "pvc")
        assert (done.returncode, filled.release in done.stdout) == (0, True), done.stderr
        filled.file(MADE, "config.json").unlink()
        assert running.exec("provision", "status", "--at", "pvc", "--check").returncode == 3


# Who waits for a release, and then reads it

CONSUMER = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: api
spec:
  selector:
    matchLabels: {app: api}
  template:
    metadata:
      labels: {app: api}
    spec:
      securityContext: {runAsUser: 12345, runAsGroup: 12345}
      containers:
        - name: api
          image: example.com/api:1
          command: [python, -c, "from huggingface_hub import snapshot_download; print(snapshot_download('org/small'))"]
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: {drop: [ALL]}
"""


def consumer(deployment: Deployment, *arguments: object) -> Object:
    """The pod template of a manifest that `provision emit mount --write` changed."""
    file = deployment.folder / "api.yaml"
    file.write_text(CONSUMER)
    done = provision("emit", "mount", "--write", file, *arguments, cwd=deployment.folder)
    assert done.code == 0, done.err
    (found,) = load(file.read_text())
    template: Object = found["spec"]["template"]
    return template


def test_a_consumer_waits_for_its_release_and_finds_it(deployment: Deployment, hub: FaultyHub) -> None:
    template = consumer(deployment, "--wait", 1000)
    (init,) = template["spec"]["initContainers"]
    with pod(template, deployment.cluster) as one:
        with one.container(init["name"]) as waiting:
            assert waiting.exec("ls", "/mnt/models").stdout == "", "it runs, and there is nothing yet"
            assert deployment.run(deployment.job(hub)).code == 0
            ended = waiting.wait()
        assert ended.code == 0, ended.err
        ended = one.run_container("api")
    assert ended.code == 0, ended.err
    assert ended.out == f"/models/{snapshot(MADE, '').rstrip('/')}\n"


def test_a_consumer_never_starts_without_its_release(deployment: Deployment) -> None:
    template = consumer(deployment, "--wait", 1)
    with pod(template, deployment.cluster) as one:
        ended = one.run()
        assert ended.code != 0
        assert deployment.release in ended.err
        with pytest.raises(CannotStart, match="subPath"):
            one.run_container("api")
    assert list(deployment.volume.iterdir()) == [], "no empty folder was made where a release would be"
