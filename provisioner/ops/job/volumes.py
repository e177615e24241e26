"""Trouble with a Job's volume: the claim, its attachment, its mount. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from provisioner.ops.job.objects import Object, claims, condition, name, status
from provisioner.ops.job.scene import Scene, Trouble, quoted, subject

EXCLUSIVE = {"ReadWriteOnce", "ReadWriteOncePod"}


def of_pod(scene: Scene, pod: Object) -> Iterator[Trouble]:
    """Why a pod waits for its volumes."""
    for claim in claims(pod):
        if claim in scene.claims:
            yield from of_claim(scene, claim)
    if condition(pod, "PodScheduled") is None or status(pod).get("phase") != "Pending":
        return
    if latest := scene.about(pod, "FailedAttachVolume", "FailedMount"):
        last = latest[-1]
        yield _attach(scene, pod, last) if last["reason"] == "FailedAttachVolume" else _mount(pod, last)


def of_claim(scene: Scene, claim: str) -> Iterator[Trouble]:
    """Why a claim is not bound."""
    held = scene.claims[claim]
    what = f"PersistentVolumeClaim {claim}"
    if held is None:
        yield Trouble(
            "claim-missing",
            what,
            f"There is no claim {claim}; the pod waits for it.",
            "Make it: provision emit volume | kubectl apply -f -; or name the one there is under [targets].",
        )
    elif status(held).get("phase") == "Lost":
        yield Trouble(
            "claim-lost",
            what,
            f"The claim {claim} has lost its volume: the PersistentVolume it was bound to is gone.",
            "Delete the claim, then make volume and claim again: provision emit volume | kubectl apply -f -",
        )
    elif status(held).get("phase") == "Pending":
        yield from _pending(scene, held, what)


def _pending(scene: Scene, held: Object, what: str) -> Iterator[Trouble]:
    claim, wanted = name(held), held["spec"].get("storageClassName")
    events = scene.about(held)
    reason = str(events[-1].get("reason", "")) if events else ""
    message = events[-1].get("message") if events else ""
    if reason == "WaitForFirstConsumer":
        return  # as it should be: it is bound once the pod is placed
    if wanted and wanted in scene.classes and scene.classes[wanted] is None:
        yield Trouble(
            "no-storage-class",
            what,
            f"The claim {claim} is Pending: there is no StorageClass {wanted}.",
            "kubectl get storageclass lists them; set storage_class of the target and make the claim again.",
        )
    elif reason == "ProvisioningFailed":
        yield Trouble(
            "provisioning-failed",
            what,
            f"The claim {claim} is Pending, its provisioner failed{quoted(message)}",
            "It is tried again; kubectl describe storageclass shows what it was asked with.",
        )
    elif reason in ("ExternalProvisioning", "Provisioning"):
        yield Trouble(
            "provisioning",
            what,
            f"The claim {claim} is Pending: its provisioner has not made a volume yet.",
            "Is the CSI driver running? kubectl get pods -A shows its controller.",
        )
    else:
        yield _unmatched(claim, wanted, what)


def _unmatched(claim: str, wanted: object, what: str) -> Trouble:
    if wanted:
        why, hint = f"and no volume of StorageClass {wanted} is there for it", "kubectl describe pvc shows its events."
    elif wanted == "":
        why = "no PersistentVolume without a class matches its size, access mode and name"
        hint = "kubectl get pv; make the static volume too: provision emit volume | kubectl apply -f -"
    else:
        why, hint = "it names no StorageClass and the cluster has no default one", "Set storage_class of the target."
    return Trouble("claim-pending", what, f"The claim {claim} is Pending: {why}.", hint)


def _attach(scene: Scene, pod: Object, event: Object) -> Trouble:
    for claim in claims(pod):
        held = scene.claims.get(claim)
        modes = set((held or {}).get("spec", {}).get("accessModes") or [])
        holders = holding(scene, claim, pod)
        if modes and modes <= EXCLUSIVE and holders:
            return Trouble(
                "multi-attach",
                subject(pod),
                f"The claim {claim} is {', '.join(sorted(modes))} and held on another node by {', '.join(holders)}.",
                "Scale them to 0 until the Job is done, or use a volume that many nodes can write; "
                'or a claim for each: kind = "rwo".',
            )
    return Trouble(
        "attach-failed",
        subject(pod),
        f"The volume cannot be attached to node {pod['spec'].get('nodeName', '?')}{quoted(event.get('message'))}",
        "kubectl get volumeattachments shows where it is; after a node was lost it takes some minutes.",
    )


def holding(scene: Scene, claim: str, pod: Object) -> list[str]:
    """The other living pods that mount a claim, with their nodes."""
    return [
        f"{name(one)} ({one['spec'].get('nodeName', 'no node')})"
        for one in scene.neighbours
        if claim in claims(one) and name(one) != name(pod) and _lives(one)
    ]


def _lives(pod: Object) -> bool:
    """Whether a pod of anybody is on a node."""
    return bool(pod["spec"].get("nodeName")) and status(pod).get("phase") not in ("Succeeded", "Failed")


def _mount(pod: Object, event: Object) -> Trouble:
    return Trouble(
        "mount-failed",
        subject(pod),
        f"A volume cannot be mounted on node {pod['spec'].get('nodeName', '?')}{quoted(event.get('message'))}",
        "Check server, path, Secret and ConfigMap it names, and that the node has the file system's client. "
        "It is tried again.",
    )
