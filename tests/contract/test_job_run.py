"""`provision job` as a process against an emulated API server, whose controllers the test plays."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from provisioner.cluster.client import Cluster
from provisioner.ops.job.run import start
from tests.support.api_cluster import NAMESPACE, Played, claim
from tests.support.api_server import ApiServer
from tests.support.faults_process import REPOSITORY, environment, provision
from tests.support.job_process import (
    DOCUMENT,
    FACTS,
    FINISHED,
    JOB,
    LOCK_MAP,
    SUMMARY,
    Running,
    Site,
    event,
    file_done,
    result,
    started,
)
from tests.support.locks import MemorySource, small
from tests.support.patience import PATIENCE
from tests.support.stores import DirectoryBackend, transfer


@pytest.fixture
def api(tmp_path: Path) -> Iterator[ApiServer]:
    with ApiServer(tmp_path / "tls").running() as server:
        claim(server)
        yield server


@pytest.fixture
def site(api: ApiServer, tmp_path: Path) -> Iterator[Site]:
    found = Site(api, tmp_path)
    yield found
    found.close()


def finish(job: Played, pod: str) -> None:
    job.api.say(pod, started(), *map(file_done, "abc"), FINISHED, *result())
    job.ends(pod, 0, summary=SUMMARY)
    job.completes()


def saw(site: Site, run: Running, *words: str) -> None:
    """Until the operator has been told."""
    site.api.wait(lambda: site.api.looks("/jobs/" + JOB, 1) or all(word in run.err.read_text() for word in words))


# A Job that goes well.


def test_a_job_waits_runs_and_reports_as_a_local_mirror_does(site: Site) -> None:
    claim(site.api, phase="Pending")
    run = site.run("--to", "pvc")
    job = site.job()
    pod = job.pod(node=None)
    job.event("PersistentVolumeClaim", "models", "WaitForFirstConsumer", "waiting for first consumer", "Normal")
    saw(site, run, "No node takes the pod: 0/3 nodes are available: 3 Insufficient memory.")
    claim(site.api)
    finish(job, job.runs(pod))
    done = run.done()
    assert done.code == 0, done.err
    assert "mirror: 3 files, 300 B" in done.err
    assert [line for line in done.err.splitlines() if "moved" in line] == [
        f"  moved     {name} (100 B) from hub" for name in "abc"
    ]
    assert f"Published release {FACTS.release} in /mnt/models, every byte verified" in done.out
    assert "yes" in done.out


def test_what_is_applied_is_what_emit_job_prints(site: Site) -> None:
    done = site.do("run", "--detach", "--json")
    assert done.code == 0, done.err
    assert done.json["jobs"] == [{"job": JOB}]
    emitted = provision("emit", "job", "--json", cwd=site.folder).json["items"]
    applied = [
        site.api.objects[plural, NAMESPACE, one["metadata"]["name"]]
        for plural, one in zip(("configmaps", "networkpolicies", "jobs"), emitted, strict=True)
    ]
    for one, there in zip(emitted, applied, strict=True):
        assert there["metadata"]["labels"] == one["metadata"]["labels"]
        assert {**one.get("spec", {}), **one.get("data", {})}.items() <= {
            **there.get("spec", {}),
            **there.get("data", {}),
        }.items()
    patches = [query for method, _, query in site.api.requests if method == "PATCH"]
    assert {query["fieldManager"] for query in patches} == {"provision"}


def test_the_log_of_a_real_mirror_comes_out_as_it_went_in(site: Site, tmp_path: Path) -> None:
    source = DirectoryBackend(tmp_path / "source")
    transfer(DOCUMENT, source.open(), MemorySource(small()))
    words = ("mirror", "--to", tmp_path / "target", "--from", source.root, "--verify", "recorded", "--json")
    summary = tmp_path / "summary"
    mirror = provision(*words, cwd=site.folder, PROVISION_SUMMARY=str(summary))
    assert mirror.code == 0, mirror.err
    shutil.rmtree(tmp_path / "target")
    local = provision(*words[:-1], cwd=site.folder)

    run = site.run()
    job = site.job()
    pod = job.runs(job.pod())
    site.api.say(pod, *mirror.err.splitlines(), *mirror.out.splitlines())
    job.ends(pod, 0, summary=json.loads(summary.read_text()))
    job.completes()
    done = run.done()
    assert done.code == 0, done.err

    def without_times(text: str) -> list[str]:
        return [line.split(" B/s")[0].split(", evidence")[0][:40] for line in text.splitlines() if "time" not in line]

    assert without_times(done.out) == without_times(local.out)
    assert sorted(set(local.err.splitlines()) - set(done.err.splitlines())) == []


def test_json_has_the_pods_result_and_the_events_once_each(site: Site) -> None:
    run = site.run("--json")
    job = site.job()
    pod = job.runs(job.pod())
    finish(job, pod)
    done = run.done()
    assert done.code == 0, done.err
    (one,) = done.json["jobs"]
    assert (one["job"], one["exit_code"], one["trouble"]) == (JOB, 0, None)
    assert one["pods"][0]["result"]["origins"] == {"hub": [3, 300]}
    assert one["pods"][0]["summary"] == SUMMARY
    assert [e["path"] for e in done.events if e["event"] == "file_done"] == ["a", "b", "c"]


def test_a_log_that_is_cut_again_and_again_loses_and_repeats_nothing(site: Site) -> None:
    run = site.run("--json")
    job = site.job()
    paths = [f"file-{number:02}" for number in range(60)]
    pod = job.pod()
    site.api.say(pod, started(60, 6000))
    site.api.logs[pod].cuts = [5, 1, 25, 0, 7]
    job.runs(pod)
    for at in range(0, 60, 7):
        site.api.say(pod, *map(file_done, paths[at : at + 7]))
        site.api.looks("/jobs/" + JOB, 1)
    site.api.wait(lambda: not site.api.logs[pod].cuts)
    site.api.say(pod, FINISHED, *result())
    job.ends(pod, 0, summary=SUMMARY)
    job.completes()
    done = run.done()
    assert done.code == 0, done.err
    assert [e["path"] for e in done.events if e["event"] == "file_done"] == paths
    assert sum(e["event"] == "started" for e in done.events) == 1
    assert site.api.logs[pod].streams > 5
    assert any(query.get("sinceTime") for _, path, query in site.api.requests if path.endswith("/log"))


def test_a_stream_that_ends_early_without_an_error_is_read_on(site: Site) -> None:
    run = site.run("--json")
    job = site.job()
    pod = job.runs(job.pod())
    site.api.say(pod, started(), file_done("a"))
    site.api.hush(pod)  # as an API server that restarts ends its streams
    site.api.wait(lambda: site.api.logs[pod].streams > 1)
    finish_lines = [file_done("b"), file_done("c"), FINISHED, *result()]
    site.api.say(pod, *finish_lines)
    job.ends(pod, 0)
    job.completes()
    done = run.done()
    assert done.code == 0, done.err
    assert [e["path"] for e in done.events if e["event"] == "file_done"] == ["a", "b", "c"]


def test_several_pods_are_one_progress(site: Site) -> None:
    run = site.run("--completions", 3, "--json")
    job = site.job()
    pods = [job.pod(index, node=None) for index in range(3)]
    saw(site, run, "No node takes the pod")
    for number, pod in enumerate(map(job.runs, pods)):
        site.api.say(pod, started(1, 100 * (number + 1)))
    site.api.looks("/jobs/" + JOB, 2)
    for number, pod in enumerate(pods):
        more = {"shard": {"index": number, "count": 3, "files": 1, "bytes": 100 * (number + 1)}}
        site.api.say(pod, file_done(f"file-{number}", 100 * (number + 1)), FINISHED, *result(**more))
        job.ends(pod, 0, summary=SUMMARY)
    job.completes()
    done = run.done()
    assert done.code == 0, done.err
    assert done.err.count("No node takes the pod") == 1
    begun = [e["bytes"] for e in done.events if e["event"] == "started"]
    assert begun[-1] == 600 and begun == sorted(begun)
    assert {pod["index"] for pod in done.json["jobs"][0]["pods"]} == {0, 1, 2}


def test_a_claim_for_each_is_a_job_for_each(site: Site) -> None:
    (site.folder / "provision.toml").write_text('[targets.split]\nkind = "rwo"\nclaims = ["one", "two"]\n')
    claim(site.api, "one", mode="ReadWriteOnce")
    claim(site.api, "two", mode="ReadWriteOnce")
    run = site.run("--to", "split")
    jobs = [site.job(f"{JOB}-{name}") for name in ("one", "two")]
    for job in jobs:
        finish(job, job.runs(job.pod()))
    done = run.done()
    assert done.code == 0, done.err
    assert done.out.count("every byte verified") == 2
    assert [f"Job {JOB}-{name}: complete" in done.out for name in ("one", "two")] == [True, True]


def test_one_of_two_jobs_that_fails_is_the_exit_code(site: Site) -> None:
    (site.folder / "provision.toml").write_text('[targets.split]\nkind = "rwo"\nclaims = ["one", "two"]\n')
    run = site.run("--to", "split")
    good, bad = (site.job(f"{JOB}-{name}") for name in ("one", "two"))
    finish(good, good.runs(good.pod()))
    bad.ends(bad.runs(bad.pod()), 6, summary={"command": "mirror", "exit_code": 6, "error": "The Hub refuses."})
    bad.fails("PodFailurePolicy")
    done = run.done()
    assert done.code == 6
    assert f"Job {JOB}-two failed" in done.err and "The Hub refuses." in done.err
    assert f"Job {JOB}-one: complete" in done.out


# Pods that are taken away, killed, refused.


def test_an_evicted_pod_is_replaced_and_the_next_one_is_followed(site: Site) -> None:
    run = site.run()
    job = site.job()
    first = job.runs(job.pod())
    site.api.say(first, started(), file_done("a"))
    saw(site, run, "moved     a")
    job.set(first, phase="Failed", reason="Evicted", message="The node was low on resource: memory.")
    site.api.hush(first)
    saw(site, run, f"Pod {first} was taken away by the cluster (Evicted): The node was low on resource: memory.")
    second = job.pod()
    site.api.say(
        second, event("started", task="mirror", files=2, bytes=200), *map(file_done, "bc"), FINISHED, *result()
    )
    job.runs(second)
    saw(site, run, f"Pod {second} takes over from {first} (attempt 2).")
    job.ends(second, 0, summary=SUMMARY)
    job.completes()
    done = run.done()
    assert done.code == 0, done.err
    assert "every byte verified" in done.out


def test_a_pod_that_ends_with_5_is_tried_again(site: Site) -> None:
    run = site.run()
    job = site.job()
    first = job.runs(job.pod())
    job.ends(first, 5, summary={"command": "mirror", "exit_code": 5, "error": "The Hub does not answer."})
    saw(site, run, f"Pod {first} ended with exit code 5: The Hub does not answer.", "NetworkPolicy")
    finish(job, job.runs(job.pod()))
    assert run.done().code == 0


def test_a_pod_that_was_killed_for_memory(site: Site) -> None:
    run = site.run()
    job = site.job()
    pod = job.runs(job.pod())
    site.api.say(pod, started(), file_done("a"))
    job.ends(pod, 137, "OOMKilled")
    job.fails()
    done = run.done()
    assert done.code == 137
    assert "was killed for memory: its limit is 1Gi." in done.err
    assert "kubernetes.job.resources.memory_limit" in done.err


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (3, ["does not match"]),
        (5, ["NetworkPolicy"]),
        (6, ["kubernetes.job.secrets"]),
        (7, ["does not match"]),
        (8, ["uid 10001", "fsGroup 10001", "kubernetes.fs_group", "On NFS and SMB"]),
    ],
)
def test_the_jobs_exit_code_is_that_of_its_pod(site: Site, code: int, words: list[str]) -> None:
    run = site.run("--json")
    job = site.job()
    pod = job.runs(job.pod())
    site.api.say(pod, event("error", message="It does not match.", hint="Mend it.", exit_code=code))
    job.ends(pod, code, summary={"exit_code": code, "error": "It does not match.", "hint": "Mend it."})
    job.fails("PodFailurePolicy")
    done = run.done()
    assert done.code == code
    last = done.events[-1]
    assert last["event"] == "error" and last["exit_code"] == code and last["retryable"] == (code == 5)
    assert all(word in last["message"] + last["hint"] for word in ["It does not match.", "Mend it.", *words])
    assert done.json["jobs"][0]["exit_code"] == code


def test_on_openshift_the_namespaces_groups_are_named(site: Site) -> None:
    annotations = {"openshift.io/sa.scc.supplemental-groups": "1000650000/10000"}
    site.api.objects["namespaces", "", NAMESPACE]["metadata"]["annotations"] = annotations
    run = site.run("--set", "openshift=true")
    job = site.job()
    job.ends(job.runs(job.pod()), 8, summary={"exit_code": 8, "error": "Cannot write."})
    job.fails("PodFailurePolicy")
    done = run.done()
    assert done.code == 8
    assert "writable for group 1000650000" in done.err


def test_a_verify_that_failed_prints_every_finding_first(site: Site) -> None:
    finding = {"kind": "digest", "path": "hub/model.safetensors", "detail": "expected aa, found bb"}
    verify = {
        "store": "/mnt/models",
        "release": FACTS.release,
        "evidence": "rehashed",
        "files": 3,
        "bytes": 300,
        "seconds": 0.5,
        "findings": [finding],
        "against": "the lock",
        "ok": False,
    }
    run = site.run()
    job = site.job()
    pod = job.runs(job.pod())
    site.api.say(pod, *result(active=False, verify=verify))
    job.ends(pod, 3, summary={"exit_code": 3, "error": "1 finding."})
    job.fails("PodFailurePolicy")
    done = run.done()
    assert done.code == 3
    assert "hub/model.safetensors" in done.out and "expected aa, found bb" in done.out
    assert "Traceback" not in done.err


def test_a_job_that_reached_its_deadline(site: Site) -> None:
    run = site.run()
    job = site.job()
    pod = job.runs(job.pod())
    site.api.say(pod, started(), file_done("a"))
    job.ends(pod, 143)
    job.fails("DeadlineExceeded")
    done = run.done()
    assert done.code == 5
    assert "was stopped at its deadline" in done.err and "kubernetes.job.deadline" in done.err


def test_an_image_that_cannot_be_pulled_is_named_while_it_waits(site: Site) -> None:
    run = site.run("--image", "registry.example/provisioner:1")
    job = site.job()
    pod = job.pod()
    job.waits(pod, "ImagePullBackOff", 'Back-off pulling image "registry.example/provisioner:1"')
    saw(site, run, "The image registry.example/provisioner:1 cannot be pulled, without a pull secret: Back-off")
    finish(job, job.runs(pod))
    done = run.done()
    assert done.code == 0
    assert done.err.count("cannot be pulled") == 1


def test_an_image_name_that_is_none_is_not_waited_for(site: Site) -> None:
    run = site.run()
    job = site.job()
    job.waits(job.pod(), "InvalidImageName", "couldn't parse image name")
    done = run.done()
    assert done.code == 4
    assert "is no name of an image" in done.err


def test_a_missing_secret_is_named_with_its_key(site: Site) -> None:
    def controllers(plural: str, name: str) -> None:
        """So quick that nobody ever sees the Job without its pod."""
        if plural == "jobs":
            job = Played(site.api, name)
            job.waits(job.pod(), "CreateContainerConfigError", 'secret "hf-token" not found')

    site.api.applied = controllers
    run = site.run("--set", "job.secrets.HF_TOKEN=hf-token/token", "--timeout", "1.5")
    done = run.done()
    assert done.code == 5
    assert 'is missing: secret "hf-token" not found.' in done.err
    assert "Secret hf-token (key token)" in done.err
    assert f"Job {JOB} has not ended after 1.5 s; it goes on." in done.err
    assert ("jobs", NAMESPACE, JOB) in site.api.objects


def test_who_holds_a_volume_that_one_node_has_is_named(site: Site) -> None:
    claim(site.api, mode="ReadWriteOnce")
    run = site.run()
    job = site.job()
    mounts = [{"name": "m", "persistentVolumeClaim": {"claimName": "models"}}]
    holder = {"kind": "Pod", "spec": {"nodeName": "node-2", "volumes": mounts, "containers": [{"name": "x"}]}}
    site.api.put("pods", NAMESPACE, "inference-0", holder | {"status": {"phase": "Running"}})
    pod = job.pod()
    job.event("Pod", pod, "FailedAttachVolume", 'Multi-Attach error for volume "pvc-1"')
    saw(site, run, "The claim models is ReadWriteOnce and held on another node by inference-0 (node-2).")
    site.api.vanish("pods", NAMESPACE, "inference-0")
    finish(job, job.runs(pod))
    assert run.done().code == 0


def test_a_volume_that_cannot_be_mounted(site: Site) -> None:
    run = site.run()
    job = site.job()
    pod = job.pod()
    job.event("Pod", pod, "FailedMount", "mount failed: exit status 32: access denied by server")
    saw(site, run, "A volume cannot be mounted on node node-1: mount failed: exit status 32: access denied by server.")
    finish(job, job.runs(pod))
    assert run.done().code == 0


def test_a_claim_that_is_not_there(site: Site) -> None:
    site.api.vanish("persistentvolumeclaims", NAMESPACE, "models")
    run = site.run()
    job = site.job()
    pod = job.pod(node=None)
    saw(site, run, "There is no claim models; the pod waits for it.", "provision emit volume")
    claim(site.api)
    finish(job, job.runs(pod))
    assert run.done().code == 0


def test_a_claim_without_a_storage_class(site: Site) -> None:
    claim(site.api, phase="Pending", storageClassName="fast")
    run = site.run()
    job = site.job()
    job.event("PersistentVolumeClaim", "models", "ProvisioningFailed", 'storageclass "fast" not found')
    pod = job.pod(node=None)
    saw(site, run, "The claim models is Pending: there is no StorageClass fast.")
    claim(site.api)
    finish(job, job.runs(pod))
    assert run.done().code == 0


def test_pods_that_the_namespace_refuses(site: Site) -> None:
    quota = {"kind": "ResourceQuota", "status": {"hard": {"pods": "10"}, "used": {"pods": "10"}}}
    site.api.put("resourcequotas", NAMESPACE, "team", quota)
    run = site.run()
    job = site.job()
    job.event("Job", JOB, "FailedCreate", "exceeded quota: team, requested: pods=1")
    saw(site, run, "The namespace's quota is used up (pods 10 of 10)", "exceeded quota: team")
    finish(job, job.runs(job.pod()))
    assert run.done().code == 0


def test_a_container_in_front_of_ours_is_not_taken_for_it(site: Site) -> None:
    run = site.run("--json")
    job = site.job()
    pod = job.pod()
    spec = site.api.objects["pods", NAMESPACE, pod]["spec"]
    spec["containers"].insert(0, {"name": "istio-proxy", "image": "proxy:1"})
    spec["initContainers"] = [{"name": "vault-agent", "image": "vault:1", "restartPolicy": "Always"}]
    sidecars = [{"name": "istio-proxy", "state": {"running": {}}}]
    job.set(pod, initContainerStatuses=[{"name": "vault-agent", "state": {"waiting": {"reason": "ErrImagePull"}}}])
    saw(site, run, "The image vault:1 cannot be pulled")
    native = [{"name": "vault-agent", "state": {"running": {}}}]
    site.api.say(pod, started())
    running = [*sidecars, {"name": "mirror", "state": {"running": {}}}]
    job.set(pod, phase="Running", initContainerStatuses=native, containerStatuses=running)
    site.api.wait(lambda: site.api.logs[pod].streams)
    assert {query["container"] for _, path, query in site.api.requests if path.endswith("/log")} == {"mirror"}
    done = {"exitCode": 6, "reason": "Error", "message": json.dumps({"exit_code": 6, "error": "No token."})}
    gone = {"name": "istio-proxy", "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}
    job.set(pod, phase="Failed", containerStatuses=[gone, {"name": "mirror", "state": {"terminated": done}}])
    site.api.hush(pod)
    job.fails("PodFailurePolicy")
    ended = run.done()
    assert ended.code == 6, ended.err
    assert "No token." in ended.events[-1]["message"]


# A Job that is there already.


def test_a_job_that_runs_is_attached_to_and_not_touched(site: Site) -> None:
    assert site.do("run", "--detach").code == 0
    job = site.job()
    pod = job.runs(job.pod())
    before = job.job["metadata"]["resourceVersion"]
    run = site.run("--set", "job.retries=9")  # would be another Job
    saw(site, run, f"Job {JOB} runs already")
    assert job.job["metadata"]["resourceVersion"] == before
    finish(job, pod)
    assert run.done().code == 0


@pytest.mark.parametrize("ended", [False, True])
def test_a_job_of_another_target_is_neither_attached_to_nor_deleted(site: Site, ended: bool) -> None:
    text = '[targets.one]\nkind = "claim"\nclaim = "models"\n[targets.two]\nkind = "claim"\nclaim = "other"\n'
    (site.folder / "provision.toml").write_text(text)
    assert site.do("run", "--to", "one", "--detach").code == 0
    job = site.job()
    if ended:
        job.ends(job.pod(), 0)
        job.completes()
    done = site.do("run", "--to", "two")
    assert done.code == 4
    assert "already for another target: claim models, not claim other." in done.err and "another --name" in done.err
    assert site.api.asked("DELETE", JOB) == 0
    assert site.do("run", "--to", "two", "--name", "second", "--detach").code == 0


def test_jobs_of_two_buckets_are_two_targets(site: Site) -> None:
    settings = ""
    for name in ("one", "two"):
        settings += f'[targets.{name}]\nkind = "s3"\naddress = "s3://{name}/models"\n'
    (site.folder / "provision.toml").write_text(settings)
    first = site.do("run", "--to", "one", "--detach")
    assert first.code == 0, first.err
    done = site.do("run", "--to", "two", "--detach")
    assert done.code == 4
    assert "s3://one/models, not s3://two/models" in done.err


def test_a_caller_may_want_a_running_job_made_again(site: Site) -> None:
    assert site.do("run", "--detach").code == 0
    old = site.job().job
    uid, wanted = old["metadata"]["uid"], provision("emit", "job", "--json", cwd=site.folder).json["items"]
    notes: list[str] = []
    cluster = Cluster.connect(str(site.kubeconfig), None, None)
    thread = threading.Thread(target=lambda: start(cluster, wanted, notes.append, attach=False))
    thread.start()
    site.api.wait(lambda: old["metadata"].get("deletionTimestamp"))
    site.api.vanish("jobs", NAMESPACE, JOB)
    thread.join(PATIENCE)
    cluster.close()
    assert site.job().job["metadata"]["uid"] != uid
    assert "it is deleted and made again." in notes[0]


@pytest.mark.parametrize("ended", ["complete", "failed"])
def test_a_job_that_is_over_makes_way_for_a_new_one(site: Site, ended: str) -> None:
    assert site.do("run", "--detach").code == 0
    old = site.job()
    old.ends(old.pod(), 0 if ended == "complete" else 8)
    old.completes() if ended == "complete" else old.fails()
    first = old.job["metadata"]["uid"]
    run = site.run()
    site.api.wait(lambda: old.job["metadata"].get("deletionTimestamp"))
    site.api.looks("/jobs/" + JOB, 2)
    assert run.process.poll() is None  # it waits until the old one's pods are gone
    site.api.vanish("jobs", NAMESPACE, JOB)
    site.api.wait(lambda: ("jobs", NAMESPACE, JOB) in site.api.objects)
    job = site.job()
    assert job.job["metadata"]["uid"] != first
    pod = job.pod()
    site.api.logs.pop(pod, None)
    finish(job, job.runs(pod))
    done = run.done()
    assert done.code == 0, done.err
    assert "it is deleted and made again." in done.err
    delete = next(query for method, _, query in site.api.requests if method == "DELETE")
    assert delete["propagationPolicy"] == "Foreground"


def test_an_immutable_object_with_other_content_is_one_sentence(site: Site) -> None:
    site.api.put("configmaps", NAMESPACE, LOCK_MAP, {"kind": "ConfigMap", "data": {"models.lock": "other"}})
    done = site.do("run")
    assert done.code == 4
    assert f"ConfigMap {LOCK_MAP} is there already with other content, which cannot be changed." in done.err
    assert ("jobs", NAMESPACE, JOB) not in site.api.objects


def test_fields_of_another_manager_are_taken_only_when_asked(site: Site) -> None:
    site.api.owned = {"models-mirror"}
    refused = site.do("run", "--detach")
    assert refused.code == 4
    assert "--force-conflicts" in refused.err
    assert site.do("run", "--detach", "--force-conflicts").code == 0


def test_a_job_that_is_deleted_meanwhile(site: Site) -> None:
    run = site.run()
    job = site.job()
    job.runs(job.pod())
    site.api.looks("/jobs/" + JOB, 1)
    site.api.vanish("jobs", NAMESPACE, JOB)
    done = run.done()
    assert done.code == 7
    assert "was deleted while it was followed" in done.err


def test_ctrl_c_leaves_the_job_running(site: Site) -> None:
    run = site.run()
    job = site.job()
    pod = job.runs(job.pod())
    site.api.say(pod, started(), file_done("a"))
    saw(site, run, "moved     a")
    os.kill(run.process.pid, signal.SIGINT)
    done = run.done()
    assert done.code == 130
    assert f"Detached: {JOB} goes on." in done.err
    assert f"provision job delete --namespace default {JOB}" in done.err and "job logs -f" in done.err
    assert site.api.asked("DELETE", JOB) == 0
    assert "Traceback" not in done.err


# The API server.


def test_an_api_server_that_fails_for_a_while_is_borne(site: Site) -> None:
    run = site.run()
    job = site.job()
    pod = job.runs(job.pod())
    site.api.looks("/jobs/" + JOB, 1)
    site.api.faults += [("GET", "jobs", 0), ("GET", "jobs", 503), ("GET", "pods", 500), ("GET", "pods", 0)]
    site.api.wait(lambda: not site.api.faults)
    finish(job, pod)
    done = run.done()
    assert done.code == 0, done.err


def test_lists_come_in_pages(site: Site) -> None:
    site.api.page = 2
    run = site.run("--completions", 5, "--json")
    job = site.job()
    pods = [job.runs(job.pod(index)) for index in range(5)]
    for pod in pods:
        site.api.say(pod, *result())
        job.ends(pod, 0)
    job.completes()
    done = run.done()
    assert done.code == 0, done.err
    assert {pod["pod"] for pod in done.json["jobs"][0]["pods"]} == set(pods)


@pytest.mark.parametrize(
    ("method", "plural", "status", "code"), [("PATCH", "jobs", 503, 5), ("PATCH", "configmaps", 0, 5)]
)
def test_an_api_server_that_fails_at_the_start(site: Site, method: str, plural: str, status: int, code: int) -> None:
    site.api.faults = [(method, plural, status)]
    assert site.do("run").code == code


def test_who_may_not_create_jobs_is_told_which_rights(site: Site) -> None:
    site.api.forbidden = {("PATCH", "jobs")}
    done = site.do("run")
    assert done.code == 6
    assert "cannot patch resource" in done.err and "docs/job-run.md" in done.err


def test_who_may_not_read_logs_follows_the_state(site: Site) -> None:
    site.api.forbidden = {("GET", "pods/log")}
    run = site.run()
    job = site.job()
    pod = job.runs(job.pod())
    saw(site, run, f"The log of {pod} cannot be read")
    job.ends(pod, 0, summary=SUMMARY)
    job.completes()
    done = run.done()
    assert done.code == 0
    assert FACTS.release in done.out and "by its termination message" in done.out


def test_who_may_not_look_around_is_told_less(site: Site) -> None:
    hidden = ("persistentvolumeclaims", "events", "resourcequotas", "namespaces", "storageclasses")
    site.api.forbidden = {("GET", one) for one in hidden}
    run = site.run()
    job = site.job()
    pod = job.pod(node=None)
    saw(site, run, "No node takes the pod")
    finish(job, job.runs(pod))
    assert run.done().code == 0


def test_a_login_that_is_not_accepted_is_6(site: Site) -> None:
    site.kubeconfig.write_text(site.kubeconfig.read_text().replace("t0ken", "other"))
    done = site.do("run")
    assert done.code == 6
    assert "does not accept the login of context test" in done.err
    assert "other" not in done.err


def test_a_namespace_that_is_not_there_is_7(site: Site) -> None:
    done = site.do("run", "--namespace", "nowhere")
    assert done.code == 7
    assert "There is no namespace nowhere" in done.err


def test_an_api_server_that_is_not_there_is_5(site: Site) -> None:
    site.kubeconfig.write_text(site.kubeconfig.read_text().replace(site.api.url, "https://127.0.0.1:9"))
    done = site.do("status")
    assert done.code == 5
    assert "https://127.0.0.1:9 does not answer" in done.err


def test_a_certificate_of_somebody_else_is_5(site: Site) -> None:
    text = json.loads(site.kubeconfig.read_text())
    del text["clusters"][0]["cluster"]["certificate-authority-data"]
    site.kubeconfig.write_text(json.dumps(text))
    done = site.do("status")
    assert done.code == 5
    assert "is not trusted" in done.err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is no YAML"),
        ("[]", "is no table"),
        ("{}", "has no current context"),
        ("{current-context: a, contexts: [{name: a, context: {cluster: c}}], clusters: [], users: []}", "names 'c'"),
        ("{contexts: [{name: a}]}", "has an entry in contexts"),
    ],
)
def test_a_kubeconfig_that_is_none_is_4(site: Site, text: str, words: str) -> None:
    site.kubeconfig.write_text(text)
    done = site.do("status")
    assert done.code == 4, done.err
    assert words in done.err


def test_a_context_that_is_not_there_is_4_and_the_others_are_named(site: Site) -> None:
    done = site.do("status", "--context", "prod")
    assert done.code == 4
    assert "has no context prod" in done.err and "There are: test." in done.err
    gone = site.do("status", "--kubeconfig", site.folder / "none")
    assert gone.code == 4 and "There is no kubeconfig" in gone.err


def test_several_kubeconfigs_are_read_as_kubectl_reads_them(site: Site) -> None:
    whole = json.loads(site.kubeconfig.read_text())
    parts = [{"users": whole["users"]}, {"clusters": whole["clusters"], "contexts": whole["contexts"]}]
    for name, part in zip("ab", parts, strict=True):
        (site.folder / name).write_text(json.dumps(part | {"current-context": "test" if name == "b" else ""}))
    site.kubeconfig = Path(os.pathsep.join(str(site.folder / name) for name in ("a", "b", "missing")))
    done = site.do("status")
    assert done.code == 0, done.err


def test_a_login_plugin_is_asked_as_kubectl_asks_it(site: Site) -> None:
    plugin = site.folder / "plugin"
    plugin.write_text(
        '#!/bin/sh\necho "$KUBERNETES_EXEC_INFO" > "$(dirname "$0")/info"\n'
        """echo '{"kind": "ExecCredential", "status": {"token": "t0ken"}}'\n"""
    )
    plugin.chmod(0o755)
    whole = json.loads(site.kubeconfig.read_text())
    known = {"apiVersion": "client.authentication.k8s.io/v1", "command": str(plugin), "interactiveMode": "Never"}
    whole["users"][0]["user"] = {"exec": known}
    site.kubeconfig.write_text(json.dumps(whole))
    assert site.do("status").code == 0
    assert json.loads((site.folder / "info").read_text())["kind"] == "ExecCredential"
    plugin.write_text("#!/bin/sh\nexit 1\n")
    done = site.do("status")
    assert done.code == 6
    assert "The login plugin plugin of context test failed: it ended with exit code 1." in done.err
    plugin.unlink()
    done = site.do("status")
    assert done.code == 6 and "plugin of context test failed: No such file" in done.err


# The other commands.


def test_a_dry_run_prints_what_emit_job_prints_and_changes_nothing(site: Site) -> None:
    emitted = provision("emit", "job", cwd=site.folder).out
    done = site.do("run", "--dry-run")
    assert done.code == 0
    assert done.out == emitted.partition("\n")[2]
    assert site.api.requests == []
    checked = site.do("run", "--dry-run", "--server")
    assert checked.code == 0 and "accepts all 3 objects" in checked.err
    assert checked.out == done.out
    assert ("jobs", NAMESPACE, JOB) not in site.api.objects


def test_kubectl_and_we_make_the_same_job(site: Site) -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    (site.folder / "job.yaml").write_text(provision("emit", "job", cwd=site.folder).out)
    applied = subprocess.run(
        ["kubectl", "apply", "--server-side", "-f", "job.yaml"],
        cwd=site.folder,
        env=environment(KUBECONFIG=str(site.kubeconfig), HOME=str(site.folder)),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert applied.returncode == 0, applied.stderr
    there = {key: one for key, one in site.api.objects.items() if key[0] == "jobs"}
    by_kubectl = there["jobs", NAMESPACE, JOB]["spec"]
    site.api.vanish("jobs", NAMESPACE, JOB)
    assert site.do("run", "--detach").code == 0
    by_us = site.job().job["spec"]
    assert {**by_us, "selector": None} == {**by_kubectl, "selector": None}


def test_status_logs_and_delete(site: Site) -> None:
    empty = site.do("status")
    assert empty.code == 0 and "There is no Job of this installation in namespace default." in empty.out
    assert site.do("logs").code == 7
    assert site.do("run", "--detach").code == 0
    job = site.job()
    pod = job.runs(job.pod())
    lines = [started(), *map(file_done, "abc"), event("notice", message="\x1b[31mred"), FINISHED, *result()]
    site.api.say(pod, *lines)
    (one,) = site.do("status", "--json").json["jobs"]
    assert (one["job"], one["state"], one["exit_code"], one["troubles"]) == (JOB, "running", None, [])
    listening = site.start("logs", "-f", "--every", "0.05")
    site.api.wait(lambda: site.api.logs[pod].streams)
    job.ends(pod, 0, summary=SUMMARY)
    job.completes()
    followed = listening.done()
    logs = site.do("logs", JOB)
    assert (logs.code, followed.code) == (0, 0), followed.err
    assert followed.out == logs.out
    assert "  moved     a (100 B) from hub" in logs.out and "every byte verified" in logs.out
    assert "\x1b" not in logs.out and r"\x1b[31mred" in logs.out
    assert site.do("logs", "--json").out.splitlines() == lines
    table = site.do("status")
    assert all(word in table.out for word in (JOB, FACTS.release, "complete", "3 files, 300 B, 1.5 s"))
    gone = site.do("delete", "--lock-map")
    assert gone.code == 0, gone.err
    assert gone.out == f"Deleted {JOB}\nDeleted {LOCK_MAP}\n"
    assert ("persistentvolumeclaims", NAMESPACE, "models") in site.api.objects
    assert {kind for kind, _, _ in site.api.objects} & {"jobs", "pods", "configmaps"} == set()
    assert "nothing to delete" in site.do("delete").out
    assert site.do("delete", "no-such-job").code == 7


def test_a_log_that_cannot_be_had_is_not_waited_for_when_all_is_over(site: Site) -> None:
    assert site.do("run", "--completions", 2, "--detach").code == 0
    job = site.job()
    lost, kept = (job.runs(job.pod(index)) for index in range(2))
    site.api.say(kept, event("notice", message="one of two"))
    site.api.lost.add(lost)  # as the API server does for a node that is gone
    for pod in (lost, kept):
        job.ends(pod, 0, summary=SUMMARY)
    job.completes()
    for run in [site.start("logs", *words, "--every", "0.05") for words in ((), ("-f",))]:
        done = run.done()
        assert done.code == 5
        assert "one of two" in done.out
        assert f"The log of {lost} cannot be read to its end" in done.err and f"log of {kept}" not in done.err


def test_status_says_what_a_job_failed_of(site: Site) -> None:
    assert site.do("run", "--detach").code == 0
    job = site.job()
    pod = job.runs(job.pod())
    job.ends(pod, 6, summary={"exit_code": 6, "error": "The Hub wants a token."})
    job.fails("PodFailurePolicy")
    (one,) = site.do("status", "--json").json["jobs"]
    assert (one["state"], one["exit_code"]) == ("failed", 6)
    assert [trouble["kind"] for trouble in one["troubles"]] == ["exit-6"]
    assert "The Hub wants a token." in site.do("status").out


def test_a_lock_map_that_another_job_mounts_is_kept(site: Site) -> None:
    assert site.do("run", "--detach").code == 0
    job = site.job()
    other = json.loads(json.dumps(job.job))
    other["metadata"].pop("uid")
    other["metadata"]["annotations"]["model-provisioner/release"] = "0" * 12
    site.api.put("jobs", NAMESPACE, "models-mirror-other", other)
    done = site.do("delete", "--lock-map", "--json")
    assert done.json == {"jobs": [JOB], "config_maps": []}
    assert ("configmaps", NAMESPACE, LOCK_MAP) in site.api.objects
    assert site.do("delete", "--all", "--lock-map", "--json").json["config_maps"] == [LOCK_MAP]


def test_quiet_says_trouble_only(site: Site) -> None:
    run = site.run("--quiet")
    job = site.job()
    pod = job.pod(node=None)
    saw(site, run, "No node takes the pod")
    finish(job, job.runs(pod))
    done = run.done()
    assert done.code == 0
    assert len(done.err.splitlines()) == 1


def test_the_role_of_the_docs_is_enough(site: Site) -> None:
    text = (Path(__file__).parents[2] / "docs" / "job-run.md").read_text()
    (role,) = [block.partition("```")[0] for block in text.split("```yaml\n")[1:]]
    rules = YAML(typ="safe", pure=True).load(role)["rules"]
    creating = [rule for rule in rules if "patch" in rule["verbs"]]  # an apply that creates needs both
    assert all("create" in rule["verbs"] for rule in creating)
    methods = {"get": "GET", "list": "GET", "patch": "PATCH", "delete": "DELETE"}
    site.api.allowed = {
        (methods[verb], kind)
        for rule in rules
        for kind in rule["resources"]
        for verb in rule["verbs"]
        if verb in methods
    }
    claim(site.api, phase="Pending")
    run = site.run()
    job = site.job()
    pod = job.pod(node=None)
    saw(site, run, "The claim models is Pending")
    finish(job, job.runs(pod))
    assert run.done().code == 0
    assert JOB in site.do("status").out
    assert "moved     a" in site.do("logs").out
    assert site.do("delete", "--lock-map", "--json").json == {"jobs": [JOB], "config_maps": [LOCK_MAP]}


def test_without_lightkube_the_extra_is_named(site: Site, tmp_path: Path) -> None:
    (tmp_path / "without" / "lightkube").mkdir(parents=True)
    (tmp_path / "without" / "lightkube" / "__init__.py").write_text("raise ModuleNotFoundError('lightkube')\n")
    path = os.pathsep.join((str(tmp_path / "without"), str(REPOSITORY)))
    done = provision("job", "status", cwd=site.folder, PYTHONPATH=path)
    assert done.code == 2
    assert "pip install '.[kubernetes]'" in done.err
