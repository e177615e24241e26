"""gRPC beside HTTP, in the same event loop. Importing this needs no extra; `start` does."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from provisioner.errors import MissingExtra, UsageError
from provisioner.serve.backend import Backend
from provisioner.serve.settings import Settings

if TYPE_CHECKING:
    from provisioner.serve.grpc.running import Running
    from provisioner.serve.http.admission import Gate
    from provisioner.serve.http.tracing import Tracing
    from provisioner.serve.instruments import Instruments

# gRPC's core takes these from nowhere else. Its own lines on stderr are no JSON, and it cannot know that what is forked
# beside it only starts another program.
_CORE = {"GRPC_VERBOSITY": "NONE", "GRPC_ENABLE_FORK_SUPPORT": "0"}
_STUBS = ("provisioner.serve.grpc.v1.serve_pb2", "provisioner.serve.grpc.v1.serve_pb2_grpc")


async def start(
    backend: Backend,
    settings: Settings,
    instruments: Instruments,
    gate: Gate | None = None,
    tracing: Tracing | None = None,
) -> Running:
    """Listen on `settings.grpc_port`; the health service says NOT_SERVING until `set_ready`.

    Args:
        gate: that HTTP counts its requests with, so that the limits hold for both together.

    Raises MissingExtra, and UsageError where the address cannot be taken.
    """
    for name, value in _CORE.items():
        os.environ.setdefault(name, value)
    try:
        from provisioner.serve.grpc import running
    except ModuleNotFoundError as error:
        if error.name in _STUBS:
            raise UsageError(
                "The code of the gRPC contract is not there: this is a checkout that was never installed.",
                hint="Install it with: pip install -e '.[serve,grpc]'",
            ) from None
        if (error.name or "").split(".")[0] in ("grpc", "grpc_health", "grpc_reflection", "google"):
            raise MissingExtra("gRPC", "grpc") from None
        raise
    return await running.start(backend, settings, instruments, gate, tracing)
