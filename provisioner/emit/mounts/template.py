"""Put a mount into a pod template: ours is made as wanted, everything else is left as it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from provisioner.emit.kubernetes.jobs.waiting import WAIT
from provisioner.emit.kubernetes.mount import Mount, is_below
from provisioner.emit.kubernetes.objects import MODELS, RELEASE
from provisioner.emit.mounts.changes import Log, Table, items, stale, table
from provisioner.errors import InvalidInput, NotFound, UsageError


def put(template: Table, name: str | None, mount: Mount, log: Log) -> str:
    """Change a pod template that the caller owns; the name of the container that got the mount.

    Raises UsageError for a conflict or where the container is not clear, NotFound for one that is not there,
    InvalidInput for what is no pod template.
    """
    pod = template["spec"]
    container = _container(pod, name, log.where)
    annotations = table(table(template, "metadata", log.where), "annotations", log.where)
    ours = RELEASE in annotations  # an earlier run was here
    old = _mounted(container, ours)
    _mounts(pod, container, mount, ours, log)
    _volumes(pod, mount, ours, log)
    _environment(container, mount.environment, [*old, str(mount.mounts[0]["mountPath"])], log)
    _init(pod, mount, log)
    annotations |= mount.annotations
    return str(container.get("name", ""))


def _container(pod: Table, name: str | None, where: str) -> Table:
    """The container called `name`, or the only one."""
    every = [one for one in pod["containers"] if isinstance(one, dict)]
    found = [one for one in every if name in (None, one.get("name"))]
    if len(found) == 1:
        return found[0]
    hint = f"Choose: --container {' | '.join(str(one.get('name')) for one in every)}"
    if not found:
        raise NotFound(f"{where} has no container {name}.", hint=hint)
    raise UsageError(f"{where} has several containers.", hint=hint)


def _is_release(one: Any, ours: bool) -> bool:
    """Whether a mount is one that an earlier run made."""
    sub_path = str(one.get("subPath", ""))
    return bool(
        one.get("name") == MODELS and (ours or one.get("readOnly") is True) and sub_path.startswith("releases/")
    )


def _mounted(container: Table, ours: bool) -> list[str]:
    """Where earlier runs mounted releases."""
    mounts = container.get("volumeMounts")
    every = [one for one in mounts if isinstance(one, Mapping)] if isinstance(mounts, list) else []
    return [str(one.get("mountPath", "")) for one in every if _is_release(one, ours)]


# Mounts


def _mounts(pod: Table, container: Table, mount: Mount, ours: bool, log: Log) -> None:
    """Each in the place of what stands at its path; the release, if there is nothing, in that of the old one."""
    main = str(mount.mounts[0]["mountPath"])
    left = {str(one["mountPath"]): one for one in mount.mounts}
    names = {path: one["name"] for path, one in left.items()}
    result: list[Any] = []
    stale_at: list[int] = []
    freed: list[str] = []
    for one in items(container, "volumeMounts", log.where):
        path = str(one.get("mountPath", "")).rstrip("/") if isinstance(one, Mapping) else ""
        if path in names or (path and is_below(path, main) and not _is_release(one, ours)):
            if one.get("name") != names.get(path):
                log.conflict(f"the volume {one.get('name')} mounted at {path}")
                freed.append(str(one.get("name")))
            if path in left:
                result.append(left.pop(path))
        elif path and _is_release(one, ours):
            stale_at.append(len(result))
        else:
            result.append(one)
    if main in left and stale_at:
        result.insert(stale_at[0], left.pop(main))
    container["volumeMounts"] = [*result, *left.values()]
    _release_volumes(pod, freed, log)


def _release_volumes(pod: Table, names: list[str], log: Log) -> None:
    """Volumes that nothing mounts any more would still have to be attached before the pod starts."""
    used = {one.get("name") for container in _all_containers(pod) for one in _uses(container)}
    for name in dict.fromkeys(names):
        if name not in used and isinstance(volumes := pod.get("volumes"), list):
            pod["volumes"] = [one for one in volumes if not isinstance(one, Mapping) or one.get("name") != name]
            log.note(f"removed the volume {name}, which nothing mounts any more")


def _all_containers(pod: Table) -> Iterator[Mapping[str, Any]]:
    for key in ("containers", "initContainers", "ephemeralContainers"):
        yield from (one for one in pod.get(key) or () if isinstance(one, Mapping))


def _uses(container: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for key in ("volumeMounts", "volumeDevices"):
        yield from (one for one in container.get(key) or () if isinstance(one, Mapping))


# Volumes


def _volumes(pod: Table, mount: Mount, ours: bool, log: Log) -> None:
    there = items(pod, "volumes", log.where)
    for wanted in mount.volumes:
        places = [i for i, one in enumerate(there) if isinstance(one, Mapping) and one.get("name") == wanted["name"]]
        if not places:
            there.append(wanted)
        elif there[places[0]] != wanted:
            if not ours:
                log.conflict(f"a volume {wanted['name']} of its own ({_source(there[places[0]])})")
            there[places[0]] = wanted


def _source(volume: Mapping[str, Any]) -> str:
    """`persistentVolumeClaim other`."""
    kind = next((key for key in volume if key != "name"), "nothing")
    detail = volume.get(kind)
    claim = detail.get("claimName", "") if isinstance(detail, Mapping) else ""
    return f"{kind} {claim}".strip()


# Variables


def _environment(container: Table, wanted: Mapping[str, str], roots: list[str], log: Log) -> None:
    result: list[Any] = []
    left = dict(wanted)
    for one in items(container, "env", log.where):
        name = str(one.get("name")) if isinstance(one, Mapping) else ""
        if name in left:
            value = left.pop(name)
            _tell(name, one, log)
            result.append(one if one.get("value") == value and len(one) == 2 else {"name": name, "value": value})
        elif name in wanted:
            log.note(f"removed {name}, which stood there twice")
        elif stale(name, one.get("value") if name else None, wanted, roots):
            log.note(f"removed {name}, which this release has no use for")
        else:
            result.append(one)
    container["env"] = [*result, *({"name": name, "value": value} for name, value in left.items())]


def _tell(name: str, one: Mapping[str, Any], log: Log) -> None:
    if "valueFrom" in one:
        kinds = ", ".join(one["valueFrom"]) if isinstance(one["valueFrom"], Mapping) else "nothing"
        log.note(f"{name} came from elsewhere ({kinds}) and is a plain value now")


# Init containers


def _init(pod: Table, mount: Mount, log: Log) -> None:
    """One that waits for the release of an earlier run would wait for ever once that is pruned: it goes too."""
    there = pod.get("initContainers") or []
    if not isinstance(there, list):
        raise InvalidInput(f"{log.where}: initContainers is no list.")
    places = [index for index, one in enumerate(there) if isinstance(one, Mapping) and one.get("name") == WAIT]
    if not mount.init and not places:
        return
    if not mount.init:
        log.note(f"removed the init container {WAIT}: no --wait")
    rest = [one for index, one in enumerate(there) if index not in places]
    at = places[0] if places else 0
    every = [*rest[:at], *mount.init, *rest[at:]]
    if every:
        pod["initContainers"] = every
    else:
        del pod["initContainers"]
