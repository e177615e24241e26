"""The emitted pods on a real network mount, which the environment gives; contract/test_real_mounts.py has one."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.deployment import USER, Deployment, of_kind, summary
from tests.support.faults import FaultyHub
from tests.support.hub_fixture import make
from tests.support.locks import small
from tests.support.pod_volumes import Claim
from tests.support.pods import action, pod, run_job
from tests.support.real_mounts import given, share

MADE = small()
MANY = make("org/many", {"config.json": b"{}", **{f"onnx/{n}.onnx": bytes([n]) * 2**18 for n in range(8)}})
SLOW = 300  # seconds; the guest has one processor, and not a quick one
TARGET = ("--set", "targets.nas.kind=storage-class", "--set", "targets.nas.claim=models", "--to", "nas")


@pytest.fixture(params=given())
def volume(request: pytest.FixtureRequest) -> Iterator[Claim]:
    """A folder of the mount that belongs to the Job's user. No kubelet changes a share.

    A folder of the pod's fsGroup would not do: an NFS server with manage-gids, which is Debian's default, looks a
    user's groups up itself and ignores those of the pod.
    """
    with share(str(request.param)) as made:
        if made.chmod:
            os.chown(made.path, USER, 0)
        yield Claim(made.path, fs_group=False)


@pytest.fixture
def hub() -> Iterator[FaultyHub]:
    with FaultyHub(MADE, MANY) as server:
        yield server


def test_the_job_fills_a_share_and_the_cron_job_reads_it(volume: Claim, hub: FaultyHub, open_folder: Path) -> None:
    deployment = Deployment(open_folder, MADE, volume=volume)
    (ended,) = run_job(deployment.job(hub), deployment.cluster, SLOW)
    assert ended.code == 0, ended.err
    assert summary(ended)["release"] == deployment.release
    assert deployment.findings() == {}
    job = of_kind("CronJob", deployment.emit("verify"))["spec"]["jobTemplate"]
    (ended,) = run_job(job, deployment.cluster, SLOW)
    assert (ended.code, json.loads(ended.out)["evidence"]) == (0, "rehashed"), ended.err
    path = deployment.file(MADE, "tokenizer.json")
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[::-1])
    (ended,) = run_job(job, deployment.cluster, SLOW)
    assert (ended.code, action(job, ended.code)) == (3, "FailJob"), ended.err
    assert "tokenizer.json" in ended.message


def test_two_pods_share_the_work_on_a_share(volume: Claim, hub: FaultyHub, open_folder: Path) -> None:
    deployment = Deployment(open_folder, MANY, volume=volume)
    ended = run_job(deployment.job(hub, "--completions", "2", *TARGET), deployment.cluster, SLOW)
    assert [one.code for one in ended] == [0, 0], [one.err for one in ended]
    assert deployment.findings() == {}


def test_a_reader_of_a_share_changes_nothing(volume: Claim, hub: FaultyHub, open_folder: Path) -> None:
    deployment = Deployment(open_folder, MADE, volume=volume)
    (ended,) = run_job(deployment.job(hub), deployment.cluster, SLOW)
    assert ended.code == 0, ended.err
    template = of_kind("Job", deployment.emit("inspector"))["spec"]["template"]
    with pod(template, deployment.cluster) as one, one.container("inspector") as running:
        done = running.exec("provision", "status", "--at", "pvc", "--check", timeout=SLOW)
        assert done.returncode == 0, done.stderr
        done = running.exec("sh", "-c", "echo x >/mnt/models/new", timeout=SLOW)
        assert (done.returncode, "Read-only file system" in done.stderr) == (2, True), done.stderr
