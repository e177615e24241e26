"""What a person has who follows docs/kubernetes.md: a lock, a volume, and what `provision emit` writes for them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from provisioner.ports.store import Modes
from provisioner.stores.directory import DirectoryStore
from tests.support.faults import FaultyHub
from tests.support.faults_process import provision
from tests.support.hub_fixture import Made
from tests.support.locks import snapshot, tree, write
from tests.support.manifests import load
from tests.support.pod_volumes import Claim, Cluster, Object
from tests.support.pods import Ended, run_job
from tests.support.stores import findings

USER, FS_GROUP = 10001, 10001  # as the settings have them, unless they say something else


class Deployment:
    """A folder with a lock, and a volume: an empty one, unless it is given.

    Attributes:
        volume: the claim `models`.
    """

    def __init__(self, folder: Path, *made: Made, volume: Claim | None = None) -> None:
        self.folder = folder
        self.release = tree(*made).release_id
        self.cluster = Cluster({"models": volume or Claim(_new(folder / "volume"))})
        write(folder, *made)

    @property
    def volume(self) -> Path:
        return self.cluster.claims["models"].path

    def emit(self, *arguments: object) -> list[Object]:
        """The objects of `provision emit`; the ConfigMaps are in the cluster then."""
        done = provision("emit", *arguments, cwd=self.folder)
        assert done.code == 0, done.err
        objects = load(done.out)
        self.cluster.apply(*objects)
        return objects

    def job(self, hub: FaultyHub | str, *arguments: object) -> Object:
        """The mirror Job, with a Hub of this machine."""
        url = hub if isinstance(hub, str) else hub.url
        return of_kind("Job", self.emit("job", "--set", f"job.endpoint={url}", *arguments))

    def run(self, job: Object) -> Ended:
        (ended,) = run_job(job, self.cluster)
        return ended

    def findings(self) -> dict[str, str]:
        """What is wrong with the release, every byte of it read."""
        store = DirectoryStore(str(self.volume), Modes())
        assert store.active() == self.release
        return findings(store, self.release)

    def file(self, made: Made, path: str) -> Path:
        return self.volume / "releases" / self.release / snapshot(made, path)


def of_kind(kind: str, objects: list[Object]) -> Object:
    (found,) = (one for one in objects if one["kind"] == kind)
    return found


def summary(ended: Ended) -> dict[str, Any]:
    """The termination message, which must be one JSON document."""
    found: dict[str, Any] = json.loads(ended.message)
    assert found["exit_code"] == ended.code
    return found


def _new(path: Path) -> Path:
    path.mkdir()  # root's, as a driver makes it
    return path
