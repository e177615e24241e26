"""What a kubelet finds and mounts for a pod: claims, ConfigMaps, Secrets, empty folders."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.pod_root import give

Object = dict[str, Any]


class CannotStart(Exception):
    """A kubelet would not start this container, and why."""


@dataclass(frozen=True)
class Claim:
    """A volume.

    Attributes:
        path: its content.
        fs_group: whether the kubelet gives it to the pod's fsGroup, as it does for block devices and not for NFS.
    """

    path: Path
    fs_group: bool = True


@dataclass
class Cluster:
    """What a kubelet would look up for a pod."""

    claims: dict[str, Claim] = field(default_factory=dict)
    config_maps: dict[str, dict[str, str]] = field(default_factory=dict)
    secrets: dict[str, dict[str, str]] = field(default_factory=dict)

    def apply(self, *objects: Object) -> None:
        """Remember the ConfigMaps."""
        for one in objects:
            if one["kind"] == "ConfigMap":
                self.config_maps[one["metadata"]["name"]] = one["data"]


class Volumes:
    """The volumes of one pod, prepared below `folder`."""

    def __init__(self, spec: Object, cluster: Cluster, folder: Path) -> None:
        self._cluster, self._folder = cluster, folder
        self._fs_group: int | None = spec.get("securityContext", {}).get("fsGroup")
        self._found = {one["name"]: self._volume(one) for one in spec.get("volumes", [])}

    def source(self, mount: Object) -> tuple[Path, bool]:
        """What a mount shows, and whether it is read-only. Raises CannotStart."""
        path, read_only = self._found[mount["name"]]
        if sub := mount.get("subPath"):
            path = path / sub
            if not path.exists() and read_only:
                raise CannotStart(f"failed to create subPath directory for {mount['name']}")
            path.mkdir(parents=True, exist_ok=True)
        return path, read_only or mount.get("readOnly", False)

    def _volume(self, volume: Object) -> tuple[Path, bool]:
        ((kind, source),) = ((key, value) for key, value in volume.items() if key != "name")
        return getattr(self, f"_{kind}")(volume["name"], source)  # type: ignore[no-any-return]

    def _persistentVolumeClaim(self, _name: str, source: Object) -> tuple[Path, bool]:
        claim = self._cluster.claims[source["claimName"]]
        read_only = source.get("readOnly", False)
        if (group := self._fs_group) is not None and claim.fs_group and not read_only:
            give(claim.path, group)
        return claim.path, read_only

    def _configMap(self, name: str, source: Object) -> tuple[Path, bool]:
        """Links to a folder of the moment, so that a kubelet can exchange all of it at once."""
        assert set(source) <= {"name", "items"}, source
        folder = self._empty(name, 0o755)
        (folder / "..2026_01_01").mkdir()
        (folder / "..data").symlink_to("..2026_01_01")
        data = self._cluster.config_maps[source["name"]]
        for item in source.get("items", [{"key": key, "path": key} for key in data]):
            (folder / "..data" / item["path"]).write_text(data[item["key"]])
            (folder / item["path"]).symlink_to(Path("..data", item["path"]))
        return folder, True

    def _emptyDir(self, name: str, source: Object) -> tuple[Path, bool]:
        assert set(source) <= {"sizeLimit"}, source
        return self._empty(name, 0o777), False

    def _empty(self, name: str, mode: int) -> Path:
        folder = self._folder / f"volume-{name}"
        folder.mkdir()
        folder.chmod(mode)
        return folder
