"""Trouble with a Job's pods before there is a container: refused, or not placed on a node. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from provisioner.ops.job.objects import Object, condition, status
from provisioner.ops.job.scene import Scene, Trouble, quoted, subject

_ENFORCE = "pod-security.kubernetes.io/enforce"
_UNITS: dict[str, Decimal | int] = {
    "m": Decimal("0.001"),
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "P": 10**15,
    "E": 10**18,
}
_UNITS |= {f"{letter}i": 2 ** (10 * power) for power, letter in enumerate("KMGTPE", 1)}


def of_job(scene: Scene) -> Iterator[Trouble]:
    """Why a Job has no pod."""
    what = subject(scene.job, "Job")
    if condition(scene.job, "Suspended") is not None or scene.job["spec"].get("suspend"):
        yield Trouble(
            "suspended",
            what,
            "The Job is suspended; whoever suspended it (Kueue does it until there is quota) has to let it go on.",
            "kubectl describe job says who.",
        )
    refused = scene.about(scene.job, "FailedCreate")
    if refused and not scene.pods:
        yield _refused(scene, what, str(refused[-1].get("message") or ""))


def _refused(scene: Scene, what: str, message: str) -> Trouble:
    if full := exhausted(scene.quotas, scene.job):
        return Trouble(
            "quota",
            what,
            f"The namespace's quota is used up ({', '.join(full)}), so the pod is refused{quoted(message)}",
            "Free some, have it raised, or ask for less: kubernetes.job.resources. It is tried again.",
        )
    labels = (scene.namespace.get("metadata") or {}).get("labels") or {}
    level = labels.get(_ENFORCE)
    hint = "kubectl describe job and kubectl get resourcequota,limitrange say more. It is tried again."
    if level:
        hint = f"The namespace enforces Pod Security {level}; what emit job writes passes restricted. {hint}"
    return Trouble("refused", what, f"The API server refuses the Job's pod{quoted(message)}", hint)


def exhausted(quotas: tuple[Object, ...], job: Object) -> list[str]:
    """What of the quotas is used up and a pod of the Job asks for: `pods 10 of 10`."""
    found, asked = [], _asked(job)
    for quota in quotas:
        hard, used = status(quota).get("hard") or {}, status(quota).get("used") or {}
        for key, limit in hard.items():
            have, most = amount(used.get(key)), amount(limit)
            if key in asked and most and have is not None and have >= most:
                found.append(f"{key} {used[key]} of {limit}")
    return found


def _asked(job: Object) -> set[str]:
    """What a pod of the Job counts for, as a ResourceQuota calls it."""
    found = {"pods", "count/pods"}
    for one in job["spec"]["template"]["spec"]["containers"]:
        resources = one.get("resources") or {}
        requests, limits = resources.get("requests") or {}, resources.get("limits") or {}
        found |= {*requests, *(f"requests.{key}" for key in (*requests, *limits))}  # a limit alone is a request too
        found |= {*limits, *(f"limits.{key}" for key in limits)}
    return found


def amount(text: object) -> Decimal | None:
    """A quantity as a number, or None."""
    one = str(text)
    unit = next((unit for unit in sorted(_UNITS, key=len, reverse=True) if one.endswith(unit)), "")
    number = one[: len(one) - len(unit)]
    if not (number.isascii() and number.replace(".", "", 1).isdigit() and len(number) < 30):
        return None
    return Decimal(number) * Decimal(_UNITS.get(unit, 1))


def not_scheduled(scene: Scene, pod: Object) -> Iterator[Trouble]:
    """Why a pod has no node."""
    for one in status(pod).get("conditions") or []:
        if one.get("type") != "PodScheduled" or one.get("status") != "False":
            continue
        if one.get("reason") == "SchedulingGated":
            yield Trouble(
                "gated",
                subject(pod),
                "The pod is held back by a scheduling gate (Kueue sets one until there is quota).",
                "kubectl describe pod names the gate.",
            )
        elif one.get("reason") == "Unschedulable":
            yield _unschedulable(pod, one)


def _unschedulable(pod: Object, one: Object) -> Trouble:
    asked = (pod["spec"]["containers"][0].get("resources") or {}).get("requests") or {}
    wants = ", ".join(f"{key} {value}" for key, value in asked.items()) or "nothing"
    where = pod["spec"].get("nodeSelector")
    return Trouble(
        "unschedulable",
        subject(pod),
        f"No node takes the pod{quoted(one.get('message'))}",
        f"It asks for {wants}{f' on nodes with {_pairs(where)}' if where else ''}: kubernetes.job.resources, "
        "node_selector and tolerations. It is tried again.",
    )


def _pairs(labels: dict[str, str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in labels.items())


def of_failure(job: Object) -> Trouble | None:
    """Why a Job failed as a whole, where that is not its pod's doing."""
    failed = condition(job, "Failed")
    if failed is None or failed.get("reason") != "DeadlineExceeded":
        return None
    seconds = job["spec"].get("activeDeadlineSeconds", "?")
    return Trouble(
        "deadline",
        subject(job, "Job"),
        f"The Job was stopped at its deadline of {seconds} s.",
        "Set kubernetes.job.deadline higher. Running it again continues: what was verified is on the volume.",
        fatal=5,
    )
