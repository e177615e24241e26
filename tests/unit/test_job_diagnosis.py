"""What keeps a Job from going on, told from its objects; and its log, told from its lines."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.ops.job.containers import ended
from provisioner.ops.job.log import Failure, Progress, Reader, Result, Tail
from provisioner.ops.job.objects import End
from provisioner.ops.job.progress import Sum
from provisioner.ops.job.refusals import amount, of_failure
from provisioner.ops.job.scene import Scene
from provisioner.ops.job.trouble import troubles
from provisioner.ports.events import Advanced, Event, FileDone, Finished, Notice, Started

Object = dict[str, Any]

SPEC: Object = {
    "nodeName": "node-1",
    "securityContext": {"runAsUser": 10001, "fsGroup": 10001},
    "volumes": [{"name": "models", "persistentVolumeClaim": {"claimName": "models"}}],
    "containers": [
        {
            "name": "mirror",
            "image": "registry.example/p:1",
            "resources": {"requests": {"cpu": "1", "memory": "512Mi"}, "limits": {"memory": "1Gi"}},
            "env": [{"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hf", "key": "token"}}}],
        }
    ],
}
JOB: Object = {"metadata": {"name": "j", "uid": "job"}, "spec": {"template": {"spec": SPEC}}, "status": {}}
SCHEDULED = {"type": "PodScheduled", "status": "True"}


def pod(name: str = "p", phase: str = "Pending", spec: Object | None = None, **status: Any) -> Object:
    status = {"phase": phase, "conditions": [SCHEDULED]} | status
    return {"metadata": {"name": name, "uid": name}, "spec": SPEC | (spec or {}), "status": status}


def waits(reason: str, message: str = "") -> Object:
    state = {"waiting": {"reason": reason, "message": message}}
    return pod(containerStatuses=[{"name": "mirror", "image": "registry.example/p:1", "state": state}])


def over(code: int, reason: str = "Error", message: str = "") -> Object:
    state = {"terminated": {"exitCode": code, "reason": reason, "message": message}}
    return pod(phase="Failed", containerStatuses=[{"name": "mirror", "state": state}])


def unplaced(reason: str = "Unschedulable") -> Object:
    one = {"type": "PodScheduled", "status": "False", "reason": reason, "message": "0/3 nodes are available."}
    return pod(spec={"nodeName": None}, conditions=[one])


def claim(phase: str = "Pending", mode: str = "ReadWriteMany", **spec: Any) -> Object:
    metadata = {"name": "models", "uid": "claim"}
    return {"metadata": metadata, "spec": {"accessModes": [mode]} | spec, "status": {"phase": phase}}


def event(uid: str, reason: str, message: str = "the cluster's words", minute: int = 0) -> Object:
    return {
        "metadata": {},
        "involvedObject": {"uid": uid},
        "reason": reason,
        "message": message,
        "lastTimestamp": f"2026-01-01T00:{minute:02}:00Z",
    }


def kinds(scene: Scene) -> list[str]:
    return [one.kind for one in troubles(scene)]


HOLDER = pod("holder", "Running", {"nodeName": "node-2"})


@pytest.mark.parametrize(
    ("scene", "kind"),
    [
        (Scene(JOB, (unplaced(),), claims={"models": None}), "claim-missing"),
        (Scene(JOB, (unplaced(),), claims={"models": claim("Lost")}), "claim-lost"),
        (Scene(JOB, (unplaced(),), claims={"models": claim()}), "claim-pending"),
        (Scene(JOB, (unplaced(),), claims={"models": claim(storageClassName="")}), "claim-pending"),
        (
            Scene(JOB, (unplaced(),), claims={"models": claim(storageClassName="x")}, classes={"x": None}),
            "no-storage-class",
        ),
        (
            Scene(JOB, (unplaced(),), (event("claim", "ProvisioningFailed"),), {"models": claim(storageClassName="x")}),
            "provisioning-failed",
        ),
        (
            Scene(JOB, (unplaced(),), (event("claim", "ExternalProvisioning"),), {"models": claim()}),
            "provisioning",
        ),
        (Scene(JOB, (unplaced(),), (event("claim", "WaitForFirstConsumer"),), {"models": claim()}), "unschedulable"),
        (Scene(JOB, (unplaced(),), claims={"models": claim("Bound")}), "unschedulable"),
        (Scene(JOB, (unplaced(),)), "unschedulable"),
        (Scene(JOB, (unplaced("SchedulingGated"),)), "gated"),
        (Scene(JOB, (pod(),), (event("p", "FailedMount"),)), "mount-failed"),
        (Scene(JOB, (pod(),), (event("p", "FailedAttachVolume"),)), "attach-failed"),
        (
            Scene(
                JOB,
                (pod(),),
                (event("p", "FailedAttachVolume"),),
                {"models": claim("Bound", "ReadWriteOnce")},
                neighbours=(HOLDER,),
            ),
            "multi-attach",
        ),
        (Scene(JOB, (waits("ErrImagePull"),)), "image-pull"),
        (Scene(JOB, (waits("ImagePullBackOff"),)), "image-pull"),
        (Scene(JOB, (waits("InvalidImageName"),)), "image-name"),
        (Scene(JOB, (waits("ErrImageNeverPull"),)), "image-missing"),
        (Scene(JOB, (waits("CreateContainerConfigError"),)), "missing-secret"),
        (Scene(JOB, (waits("RunContainerError"),)), "container"),
        (Scene(JOB, events=(event("job", "FailedCreate"),)), "refused"),
        (Scene(JOB | {"spec": JOB["spec"] | {"suspend": True}}), "suspended"),
        (Scene(JOB, claims={"models": None}), "claim-missing"),
    ],
)
def test_the_usual_trouble(scene: Scene, kind: str) -> None:
    assert kinds(scene) == [kind]
    (one,) = troubles(scene)
    assert one.message.endswith(".") and one.message[0].isupper()


@pytest.mark.parametrize(
    "scene",
    [
        Scene(JOB),
        Scene(JOB, (pod(phase="Running"),)),
        Scene(JOB, (waits("ContainerCreating"),), claims={"models": claim("Bound")}),
        Scene(JOB, (pod(phase="Running"),), (event("p", "FailedMount"), event("job", "FailedCreate"))),
        Scene(JOB, (waits("ContainerCreating"),), (event("another", "FailedMount"),)),
        Scene(JOB | {"status": {"conditions": [{"type": "Failed", "status": "True"}]}}, (waits("ErrImagePull"),)),
        Scene(JOB, claims={"models": claim()}, events=(event("claim", "WaitForFirstConsumer"),)),
    ],
)
def test_what_is_no_trouble(scene: Scene) -> None:
    assert kinds(scene) == []


@pytest.mark.parametrize(
    "other",
    [
        pod("holder", "Succeeded", {"nodeName": "node-2"}),
        pod("holder", "Pending", {"nodeName": None}),
        pod("holder", "Running", {"nodeName": "node-2", "volumes": []}),
    ],
)
def test_only_living_pods_with_a_node_and_the_claim_hold_it(other: Object) -> None:
    events = (event("p", "FailedAttachVolume"),)
    assert kinds(Scene(JOB, (pod(),), events, {"models": claim("Bound", "ReadWriteOnce")}, neighbours=(other,))) == [
        "attach-failed"
    ]


def test_the_words_of_a_message_decide_nothing() -> None:
    """The same objects with another message are the same trouble."""
    for text in ("Multi-Attach error", "exceeded quota", "storageclass not found", ""):
        assert kinds(Scene(JOB, (pod(),), (event("p", "FailedMount", text),))) == ["mount-failed"]
        assert kinds(Scene(JOB, events=(event("job", "FailedCreate", text),))) == ["refused"]


def test_the_latest_event_is_quoted() -> None:
    events = (event("p", "FailedMount", "new", 9), event("p", "FailedMount", "old", 1))
    assert "new" in troubles(Scene(JOB, (pod(),), events))[0].message


def test_only_trouble_that_nothing_ends_is_fatal() -> None:
    fatal = {reason: troubles(Scene(JOB, (waits(reason),)))[0].fatal for reason in ("InvalidImageName", "ErrImagePull")}
    assert fatal == {"InvalidImageName": 4, "ErrImagePull": None}


def test_a_quota_is_told_from_its_numbers() -> None:
    quota = {"metadata": {}, "status": {"hard": {"limits.memory": "8Gi"}, "used": {"limits.memory": "8192Mi"}}}
    free = {"metadata": {}, "status": {"hard": {"limits.memory": "8Gi"}, "used": {"limits.memory": "1Gi"}}}
    events = (event("job", "FailedCreate"),)
    assert kinds(Scene(JOB, events=events, quotas=(free, quota))) == ["quota"]
    assert kinds(Scene(JOB, events=events, quotas=(free,))) == ["refused"]


@pytest.mark.parametrize(
    ("key", "used", "hard"),
    [
        ("requests.nvidia.com/gpu", "0", "0"),
        ("requests.nvidia.com/gpu", "4", "4"),
        ("pods", "0", "0"),
        ("pods", "91", "100"),
        ("limits.memory", "7.9Gi", "8Gi"),
        ("requests.storage", "9", "9"),
        ("pods", "²", "1"),
        ("pods", "x", "1"),
    ],
)
def test_a_quota_that_is_not_used_up_or_not_asked_for_is_not_named(key: str, used: str, hard: str) -> None:
    quota = {"metadata": {}, "status": {"hard": {key: hard}, "used": {key: used}}}
    assert kinds(Scene(JOB, events=(event("job", "FailedCreate"),), quotas=(quota,))) == ["refused"]


def config_error(security: Object, env: list[Object]) -> list[tuple[str, str]]:
    one = waits("CreateContainerConfigError", "the kubelet's words")
    container = {"name": "mirror", "image": "x", "env": env}
    one["spec"] = SPEC | {"containers": [container], "securityContext": security}
    return [(found.kind, found.hint) for found in troubles(Scene(JOB, (one,)))]


def test_a_container_that_is_not_set_up_is_told_from_what_it_asks_for() -> None:
    secret = {"name": "A", "valueFrom": {"secretKeyRef": {"name": "hf", "key": "token"}}}
    optional = {"name": "A", "valueFrom": {"secretKeyRef": {"name": "hf", "key": "token", "optional": True}}}
    ((kind, hint),) = config_error({"runAsNonRoot": True}, [])
    assert kind == "container-config" and "image's USER" in hint and "kubernetes.user" in hint
    ((kind, hint),) = config_error({"runAsNonRoot": True, "runAsUser": 0}, [optional])
    assert kind == "container-config" and "runAsUser is 0" in hint
    ((kind, hint),) = config_error({"runAsUser": 10001}, [secret])
    assert kind == "missing-secret" and "Secret hf (key token)" in hint


def test_the_image_of_a_sidecar_is_not_called_ours() -> None:
    one = waits("InvalidImageName")
    one["status"]["initContainerStatuses"] = [{"name": "agent", "state": {"waiting": {"reason": "InvalidImageName"}}}]
    one["spec"] = SPEC | {"initContainers": [{"name": "agent", "image": "A:1", "restartPolicy": "Always"}]}
    assert "image of the container agent, A:1," in troubles(Scene(JOB, (one,)))[0].message


@pytest.mark.parametrize(("text", "number"), [("500m", 0.5), ("2", 2), ("1Gi", 2**30), ("3k", 3000), ("x", None)])
def test_quantities(text: str, number: float | None) -> None:
    assert amount(text) == number


@pytest.mark.parametrize(
    ("code", "reason", "words"),
    [
        (137, "OOMKilled", "memory_limit"),
        (5, "Error", "NetworkPolicy"),
        (6, "Error", "Secret hf (key token)"),
        (8, "Error", "uid 10001, fsGroup 10001"),
        (1, "Error", "provision job logs"),
    ],
)
def test_how_a_pod_ended_says_what_to_set(code: int, reason: str, words: str) -> None:
    found = ended(Scene(JOB), over(code, reason))
    assert found is not None and words in found.hint


def test_a_pod_that_ended_well_is_no_trouble() -> None:
    assert ended(Scene(JOB), over(0, "Completed")) is None


@pytest.mark.parametrize(
    "status",
    [
        {"reason": "Evicted"},
        {"conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}]},
    ],
)
def test_a_pod_that_was_taken_away_is_not_to_blame(status: Object) -> None:
    gone = over(143)
    gone["status"] |= status
    found = ended(Scene(JOB), gone)
    assert found is not None and found.kind == "evicted"


@pytest.mark.parametrize(("reason", "kind"), [("DeadlineExceeded", "deadline"), ("BackoffLimitExceeded", None)])
def test_a_jobs_own_failure(reason: str, kind: str | None) -> None:
    failed = {"conditions": [{"type": "Failed", "status": "True", "reason": reason}]}
    found = of_failure(JOB | {"status": failed})
    assert (found.kind if found else None) == kind


def test_the_summary_is_the_termination_message_or_the_end_of_the_log() -> None:
    def summary(text: str) -> Object:
        end = End.of(over(6, message=text))
        assert end is not None
        return end.summary

    assert summary('{"error": "no"}\n') == {"error": "no"}
    failure = json.dumps({"event": "error", "message": "no", "hint": "h", "exit_code": 6})
    assert summary(f'pe": "cut"}}\n{failure}\n') == {"error": "no", "hint": "h", "exit_code": 6}
    assert summary("Killed") == summary("[1]") == summary("") == {}
    large = "1" + "0" * 400
    assert summary(f'{{"files": {large}, "seconds": NaN, "bytes": 1e999}}') == {
        "files": None,
        "seconds": None,
        "bytes": None,
    }
    assert summary('{"a": ' * 60 + "1" + "}" * 60) == {}


# The log.


def read(*lines: str) -> list[object]:
    reader = Reader()
    return [said for line in lines if (said := reader.read(line)) is not None]


def test_events_come_back_as_they_were() -> None:
    done = {"event": "file_done", "path": "a", "size": 1, "how": "moved", "origin": "hub"}
    lines = [{"event": "started", "task": "mirror", "files": 1, "bytes": 1}, done, {"event": "progress", "bytes": 1}]
    lines += [{"event": "error", "message": "m", "hint": "h", "exit_code": 3, "retryable": False}]
    assert read(*map(json.dumps, lines)) == [
        Started("mirror", 1, 1),
        FileDone("a", 1, "moved", "hub"),
        Progress(1),
        Failure("m", "h", 3),
    ]


def test_a_result_is_found_between_the_lines_of_another_stream() -> None:
    text = json.dumps({"release": "x", "origins": {"hub": [1, 2]}}, indent=1).splitlines()
    mixed = [text[0], json.dumps({"event": "finished", "task": "t"}), *text[1:-1], "a warning", text[-1]]
    assert read(*mixed) == [Finished("t"), Notice("a warning"), Result({"release": "x", "origins": {"hub": [1, 2]}})]


def test_numbers_that_count_nothing_are_unknown() -> None:
    large = "1" + "0" * 400
    lines = [
        f'{{"event": "started", "task": "mirror", "files": 3, "bytes": {large}}}',
        '{"event": "started", "task": "\\u001b[2J", "files": 3, "bytes": 3}',
        '{"event": "retrying", "path": "a", "attempt": 1, "delay": NaN, "reason": "x"}',
        f'{{"event": "progress", "bytes": {large}}}',
        '{"event": "progress", "bytes": 1e999}',
    ]
    assert read(*lines) == [Notice(line) for line in lines]
    (found,) = read(f'{{"bytes": Infinity, "seconds": NaN, "files": {large}}}')
    assert found == Result({"bytes": None, "seconds": None, "files": None})


def test_a_document_without_an_end_is_dropped() -> None:
    long = " " + "x" * 2**20
    heard = read("{", *[long] * 64)
    assert [type(one) for one in heard] == [Notice] and "more than 64 MiB" in str(heard[0])


@pytest.mark.parametrize("line", ["text", "[1]", '{"event": "new"}', '{"event": "file_done"}', '{"event": []}', "{x"])
def test_what_nobody_knows_is_shown_as_it_is(line: str) -> None:
    assert read(line) == [Notice(line)]


@given(st.lists(st.text(alphabet='{}" \x1bx:,', max_size=12)))
def test_any_lines_are_taken(lines: list[str]) -> None:
    read(*lines)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from("ab")), min_size=1, max_size=30),
    st.lists(st.integers(0, 12), max_size=6),
)
def test_reading_on_after_cuts_gives_every_line_once(steps: list[tuple[int, str]], cuts: list[int]) -> None:
    """Whatever the times (many lines in one second, long pauses) and wherever the stream is cut."""
    log, second = [], 0
    for step, text in steps:
        second += step
        log.append((f"2026-01-01T00:{second // 60:02}:{second % 60:02}.5Z", text))
    tail, got = Tail(), []
    for length in [*cuts, len(log)]:
        since = tail.since or ""
        rest = [(time, text) for time, text in log if time[:19] >= since[:19]]
        got += [line for time, text in rest[:length] if (line := tail.fresh(f"{time} {text}")) is not None]
        tail.cut()
    assert got == [text for _, text in log]
    assert tail.given == len(log)


# The sum.


def test_several_pods_add_up_and_a_replaced_one_counts_once() -> None:
    seen: list[Event] = []
    total = Sum(seen.append)
    total.take(("j", 0), "p0", Started("mirror", 1, 100))
    total.take(("j", 0), "p0", Progress(40))
    total.take(("j", 1), "p1", Started("mirror", 1, 200))
    total.take(("j", 0), "p0-again", Started("mirror", 1, 60))
    total.take(("j", 0), "p0-again", FileDone("a", 60, "moved"))
    total.take(("j", 0), "p0-again", Finished("mirror"))
    total.take(("j", 1), "p1", Progress(200))
    total.take(("j", 1), "p1", Finished("mirror"))
    starts = [number for number, one in enumerate(seen) if isinstance(one, Started)]
    assert [seen[number] for number in starts] == [
        Started("mirror", 1, 100),
        Started("mirror", 2, 300),
        Started("mirror", 2, 260),
    ]
    assert sum(one.bytes for one in seen[starts[-1] :] if isinstance(one, Advanced)) == 260
    assert sum(isinstance(one, Finished) for one in seen) == 3 and isinstance(seen[-1], Finished)


def test_the_verify_after_the_mirror_is_a_work_of_its_own() -> None:
    seen: list[Event] = []
    total = Sum(seen.append)
    for task, size in (("mirror", 100), ("verify", 30)):
        total.take(("j", 0), "p", Started(task, 1, size))
        total.take(("j", 0), "p", Progress(size))
        total.take(("j", 0), "p", Finished(task))
    whole = [Started("mirror", 1, 100), Advanced("", 100), Finished("mirror")]
    assert seen == [*whole, Started("verify", 1, 30), Advanced("", 30), Finished("verify")]
