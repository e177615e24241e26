"""The controllers and the kubelet of an emulated cluster, for Jobs and workloads, as a thread that plays them."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.support.api_cluster import NAMESPACE, Played
from tests.support.api_server import ApiServer, Object

CLAIM = "models"


def template(release: str, path: str = "/models", **container: Any) -> Object:
    """A pod template that mounts a release as `emit mount` writes it, by hand."""
    one: Object = {
        "name": "server",
        "image": "server:1",
        "volumeMounts": [{"name": "models", "mountPath": path, "subPath": f"releases/{release}", "readOnly": True}],
    } | container
    claim = {"claimName": CLAIM, "readOnly": True}
    return {
        "metadata": {"labels": {"app": "server"}},
        "spec": {"containers": [one], "volumes": [{"name": "models", "persistentVolumeClaim": claim}]},
    }


def workload(api: ApiServer, name: str, pod: Object, kind: str = "Deployment", replicas: int = 2, **spec: Any) -> None:
    """A workload whose pods all run."""
    labels = {"app": name}
    pod = copy.deepcopy(pod)
    pod["metadata"]["labels"] = labels
    one = {
        "kind": kind,
        "apiVersion": "apps/v1",
        "metadata": {"generation": 1},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": pod} | spec,
        "status": _settled(replicas, 1),
    }
    api.put(f"{kind.lower()}s", NAMESPACE, name, one)


def _settled(replicas: int, generation: int) -> Object:
    numbers = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), replicas)
    more = dict.fromkeys(("desiredNumberScheduled", "updatedNumberScheduled", "numberAvailable"), replicas)
    return numbers | more | {"observedGeneration": generation}


class Controllers:
    """Jobs succeed, unless `exits` says otherwise; workloads come up, unless `stuck` has them and they mount `bad`."""

    def __init__(self, api: ApiServer, bad: str) -> None:
        self.api, self.bad = api, bad
        self.exits: dict[str, int] = {}
        self.stuck: set[str] = set()
        self.during: dict[str, Callable[[], None]] = {}  # part of a Job's name -> what happens while it runs
        self.meanwhile: Callable[[], object] = lambda: None  # when a workload has just got stuck
        self.jobs: list[Object] = []
        self.order: list[str] = []
        self._stop = False

    @contextmanager
    def running(self) -> Iterator[Controllers]:
        thread = threading.Thread(target=self._run, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            with self.api.changed:
                self._stop = True
                self.api.changed.notify_all()
            thread.join()

    def _run(self) -> None:
        while not self._stop:
            with self.api.changed:
                for (plural, _, name), one in list(self.api.objects.items()):
                    self._play(plural, name, one)
                self.api.changed.wait(0.05)

    def _play(self, plural: str, name: str, one: Object) -> None:
        play: dict[str, Callable[[str, Object], None]] = {
            "jobs": self._job,
            "deployments": self._workload,
            "statefulsets": self._workload,
            "daemonsets": self._workload,
        }
        if plural in play:
            play[plural](name, one)

    def _job(self, name: str, one: Object) -> None:
        if one["metadata"].get("deletionTimestamp"):
            self.api.vanish("jobs", NAMESPACE, name)
        elif not (one.get("status") or {}).get("conditions"):
            self.jobs.append(copy.deepcopy(one))
            for part, happens in self.during.items():
                if part in name:
                    happens()
            self.order.append(name)
            played = Played(self.api, name)
            pod = played.runs(played.pod())
            component = str(one["spec"]["template"]["spec"]["containers"][0]["name"])
            code = next((code for part, code in self.exits.items() if part in name), 0)
            done = {"exitCode": code, "reason": "Error" if code else "Completed"}
            status = {"name": component, "image": "x", "state": {"terminated": done}}
            played.set(pod, phase="Failed" if code else "Succeeded", containerStatuses=[status])
            self.api.hush(pod)
            if code:
                played.fails("PodFailurePolicy")
            else:
                played.completes()

    def _workload(self, name: str, one: Object) -> None:
        generation = int(one["metadata"]["generation"])
        status, replicas = one["status"], int(one["spec"].get("replicas", 1))
        if status.get("observedGeneration") == generation:
            return
        self.order.append(name)
        if name in self.stuck and f"releases/{self.bad}" in str(one["spec"]["template"]):
            one["status"] = status | {"observedGeneration": generation, "updatedReplicas": 1}
            one["status"]["conditions"] = [
                {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
            ]
            self._waits(name, one)
            self.meanwhile()
        else:
            one["status"] = _settled(replicas, generation)
        self.api.changed.notify_all()

    def _waits(self, name: str, one: Object) -> None:
        state = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 5m0s"}}
        pod = {
            "kind": "Pod",
            "apiVersion": "v1",
            "metadata": {"labels": dict(one["spec"]["selector"]["matchLabels"])},
            "spec": copy.deepcopy(one["spec"]["template"]["spec"]),
            "status": {"phase": "Running", "containerStatuses": [{"name": "server", "image": "x", "state": state}]},
        }
        self.api.put("pods", NAMESPACE, f"{name}-new", pod)
