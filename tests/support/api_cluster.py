"""The controllers around an emulated API server, played by a test: pods come, run, end and are taken away."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, field
from typing import Any

from tests.support.api_server import ApiServer, Object

NAMESPACE = "default"


@dataclass
class Played:
    """One Job and its pods."""

    api: ApiServer
    name: str
    pods: list[str] = field(default_factory=list)

    @property
    def job(self) -> Object:
        found: Object = self.api.wait(lambda: self.api.objects.get(("jobs", NAMESPACE, self.name)))
        return found

    def pod(self, index: int | None = None, *, node: str | None = "node-1") -> str:
        """A new pod of the Job, Pending, on a node or on none."""
        job = self.job
        name = f"{self.name}-{'' if index is None else f'{index}-'}{len(self.pods):05}"
        spec = copy.deepcopy(job["spec"]["template"]["spec"]) | ({"nodeName": node} if node else {})
        metadata: Object = {
            "labels": dict(job["spec"]["selector"]["matchLabels"]),
            "ownerReferences": [{"kind": "Job", "name": self.name, "uid": job["metadata"]["uid"]}],
        }
        if index is not None:
            metadata["annotations"] = {"batch.kubernetes.io/job-completion-index": str(index)}
        placed = {"type": "PodScheduled", "status": "True" if node else "False"}
        if not node:
            placed |= {"reason": "Unschedulable", "message": "0/3 nodes are available: 3 Insufficient memory."}
        pod = {"kind": "Pod", "apiVersion": "v1", "metadata": metadata, "spec": spec}
        pod["status"] = {"phase": "Pending", "conditions": [placed]}
        self.api.put("pods", NAMESPACE, name, pod)
        self.pods.append(name)
        return name

    def set(self, pod: str, **status: Any) -> None:
        """Change a pod's status, in one step."""
        with self.api.changed:
            one = self.api.objects["pods", NAMESPACE, pod]
            one["status"] = one["status"] | status
            self.api.changed.notify_all()

    def state(self, pod: str, phase: str, **state: Any) -> None:
        image = self.api.objects["pods", NAMESPACE, pod]["spec"]["containers"][0]["image"]
        self.set(pod, phase=phase, containerStatuses=[{"name": "mirror", "image": image, "state": state}])

    def waits(self, pod: str, reason: str, message: str = "") -> None:
        self.state(pod, "Pending", waiting={"reason": reason, "message": message})

    def runs(self, pod: str) -> str:
        self.api.say(pod)
        self.state(pod, "Running", running={"startedAt": "2026-01-01T00:00:00Z"})
        return pod

    def ends(self, pod: str, code: int, reason: str = "", summary: Object | None = None) -> None:
        done = {"exitCode": code, "reason": reason or ("Completed" if code == 0 else "Error")}
        if summary is not None:
            done["message"] = json.dumps(summary) + "\n"
        self.state(pod, "Succeeded" if code == 0 else "Failed", terminated=done)
        self.api.hush(pod)

    def completes(self) -> None:
        self._condition("Complete", "CompletionsReached")

    def fails(self, reason: str = "BackoffLimitExceeded") -> None:
        self._condition("Failed", reason)

    def _condition(self, kind: str, reason: str) -> None:
        with self.api.changed:
            self.job["status"]["conditions"] = [{"type": kind, "status": "True", "reason": reason}]
            self.api.changed.notify_all()

    def event(self, kind: str, name: str, reason: str, message: str, type_: str = "Warning") -> None:
        """An event about an object that is there."""
        plural = {"Job": "jobs", "Pod": "pods", "PersistentVolumeClaim": "persistentvolumeclaims"}[kind]
        about = self.api.objects[plural, NAMESPACE, name]
        number = len(self.api.objects)
        one = {
            "kind": "Event",
            "apiVersion": "v1",
            "involvedObject": {"kind": kind, "name": name, "uid": about["metadata"]["uid"]},
            "reason": reason,
            "type": type_,
            "message": message,
            "lastTimestamp": f"2026-01-01T00:{number % 60:02}:00Z",
        }
        self.api.put("events", NAMESPACE, f"{name}.{number}", one)


def claim(api: ApiServer, name: str = "models", phase: str = "Bound", mode: str = "ReadWriteMany", **spec: Any) -> None:
    one = {"kind": "PersistentVolumeClaim", "apiVersion": "v1", "spec": {"accessModes": [mode]} | spec}
    api.put("persistentvolumeclaims", NAMESPACE, name, one | {"status": {"phase": phase}})
