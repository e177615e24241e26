"""A release in a Compose service."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from provisioner.emit.kubernetes.mount import is_below
from provisioner.emit.kubernetes.objects import SCRATCH_PATH
from provisioner.emit.mounts.changes import Log, Table, items, merged, stale
from provisioner.errors import InvalidInput

_RELEASE = re.compile(r"/releases/[0-9a-f]{12}(?:/|$)")
_VARIABLE = re.compile(r"\$\{[^}]*\}")


@dataclass(frozen=True, slots=True)
class Bind:
    """What a service gets.

    Attributes:
        volume: the release, in Compose's long form.
        tmpfs: the scratch folder.
    """

    release: str
    volume: Table
    tmpfs: str
    environment: dict[str, str]

    @property
    def service(self) -> Table:
        """As part of an override."""
        return {"environment": dict(self.environment), "volumes": [dict(self.volume)], "tmpfs": [self.tmpfs]}


def bind(store: str, folder: str, path: str, environment: Mapping[str, str], release: str, scratch: int) -> Bind:
    """A folder of a store of this machine at a path of the container, read-only, and a tmpfs of so many bytes.

    A folder that is missing is an error, where Docker would otherwise make an empty one of root's.
    """
    volume = {
        "type": "bind",
        "source": f"{store.rstrip('/')}/{folder}".replace("$", "$$"),
        "target": path,
        "read_only": True,
        "bind": {"create_host_path": False},
    }
    return Bind(release, volume, tmpfs(SCRATCH_PATH, scratch), dict(environment))


def tmpfs(path: str, size: int) -> str:
    """A folder in memory of so many bytes, as an emptyDir.

    Any user may write, and code that torch compiles there may run, which Docker's default forbids. Only the short form
    can say so.
    """
    return f"{path}:mode=1777,exec,size={size}"


def put(service: Table, wanted: Bind, log: Log) -> None:
    """Change a service that the caller owns. Raises UsageError for a conflict, InvalidInput for what is no service."""
    path = wanted.volume["target"]
    roots = [path, *(target for one in service.get("volumes") or () if _is_release(one) and (target := _target(one)))]
    _volumes(service, wanted, log)
    _scratch(service, wanted, log)
    _environment(service, wanted.environment, roots, log)


def _target(one: Any) -> str:
    """Where a volume is mounted, in either form; of `${DIR:-/a}:/b` it is /b."""
    if isinstance(one, Mapping):
        return str(one.get("target", "")).rstrip("/")
    parts = _VARIABLE.sub("x", str(one)).split(":")
    return parts[1 if len(parts) > 1 else 0].rstrip("/")


def _is_release(one: Any) -> bool:
    """Whether a volume is one that an earlier run wrote."""
    return isinstance(one, Mapping) and one.get("read_only") is True and bool(_RELEASE.search(str(one.get("source"))))


def _volumes(service: Table, wanted: Bind, log: Log) -> None:
    path = wanted.volume["target"]
    result: list[Any] = []
    left = [wanted.volume]
    for one in items(service, "volumes", log.where):
        if (target := _target(one)) == path:
            if not _is_release(one):
                log.conflict(f"{_described(one)} mounted at {target}")
            result += left
            left = []
        elif is_below(target, path) or target == SCRATCH_PATH:
            log.conflict(f"{_described(one)} mounted at {target}")
        elif not _is_release(one):
            result.append(one)
    service["volumes"] = [*result, *left]


def _described(one: Any) -> str:
    return f"the volume {one.get('source', '')}" if isinstance(one, Mapping) else f"the volume {one}"


def _scratch(service: Table, wanted: Bind, log: Log) -> None:
    there = service.get("tmpfs")
    every = [there] if isinstance(there, str) else list(items(service, "tmpfs", log.where))
    ours = [index for index, one in enumerate(every) if str(one).partition(":")[0].rstrip("/") == SCRATCH_PATH]
    if ours:
        every[ours[0]] = wanted.tmpfs
    else:
        every.append(wanted.tmpfs)
    service["tmpfs"] = every[0] if isinstance(there, str) and len(every) == 1 else every


def _environment(service: Table, wanted: Mapping[str, str], roots: Sequence[str], log: Log) -> None:
    there = service.get("environment")
    if there is None and "environment" not in merged(service):
        service["environment"] = dict(wanted)
    elif isinstance(there, list):
        service["environment"] = list(_listed(there, wanted, roots))
    elif isinstance(there, dict):
        service["environment"] = {k: v for k, v in there.items() if not stale(k, v, wanted, roots)} | dict(wanted)
    else:
        raise InvalidInput(f"{log.where}: environment comes from an anchor, or is neither a list nor a mapping.")


def _listed(there: Sequence[Any], wanted: Mapping[str, str], roots: Sequence[str]) -> Iterator[Any]:
    left = dict(wanted)
    for one in there:
        name, equals, value = str(one).partition("=")
        if name in left:
            yield f"{name}={left.pop(name)}"
        elif name not in wanted and not stale(name, value if equals else None, wanted, roots):
            yield one
    yield from (f"{name}={value}" for name, value in left.items())
