"""What a container asks for."""

from __future__ import annotations

from msgspec import Struct

from provisioner.emit.kubernetes.names import Quantity


class Resources(Struct, frozen=True, forbid_unknown_fields=True):
    """Requests and limits of one container; no limit where it is empty."""

    cpu: Quantity = Quantity("1")
    memory: Quantity = Quantity("512Mi")
    cpu_limit: Quantity | None = None
    memory_limit: Quantity | None = Quantity("1Gi")
