"""A mount in the text of a manifest or Compose file. Pure: text in, text out."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

from provisioner.emit.kubernetes.mount import Mount
from provisioner.emit.mounts import service, template
from provisioner.emit.mounts.changes import Log
from provisioner.emit.mounts.nodes import Page
from provisioner.emit.mounts.service import Bind
from provisioner.emit.mounts.splice import rewritten
from provisioner.emit.mounts.workloads import SERVICE, choose
from provisioner.errors import InvalidInput, UsageError

_BOM = "\ufeff"


@dataclass(frozen=True, slots=True)
class Choice:
    """What of a file is meant.

    Attributes:
        workload: KIND/NAME or NAME; None for the only one.
        container: None for the only one.
        replace: whether what is in our place goes.
    """

    workload: str | None = None
    container: str | None = None
    replace: bool = False


@dataclass(frozen=True, slots=True)
class Written:
    """What became of a file.

    Attributes:
        text: the whole file.
        where: the workload, and the container that got the mount.
        notes: what a person should know, one sentence each.
    """

    text: str
    where: str
    notes: tuple[str, ...]


def written(name: str, text: str, mount: Mount, bind: Callable[[], Bind], choice: Choice) -> Written:
    """The text of the file `name` with the mount in a pod template, or with the bind in a Compose service.

    Raises InvalidInput, NotFound, UsageError.
    """
    mark = _BOM if text.startswith(_BOM) else ""
    page = Page.of(name, text.removeprefix(_BOM))
    old = page.values
    chosen = choose(name, old, choice.workload)
    new = copy.deepcopy(old)
    log = Log(str(chosen), choice.replace)
    inside = chosen.within(new)
    if chosen.kind != SERVICE:
        where = f"{chosen}, container {template.put(inside, choice.container, mount, log)}"
    else:
        _check_service(chosen.name, inside, mount, choice)
        service.put(inside, bind(), log)
        where = str(chosen)
    return Written(mark + rewritten(page, old, new), where, tuple(log.notes))


def _check_service(name: str, inside: object, mount: Mount, choice: Choice) -> None:
    if not isinstance(inside, dict):
        raise InvalidInput(f"The service {name} is no mapping.")
    if mount.init or choice.container is not None:
        raise UsageError("A Compose service has neither --wait nor --container.")
