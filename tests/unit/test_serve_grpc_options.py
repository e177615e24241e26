"""Options of the gRPC server that its tests replace by their own."""

from __future__ import annotations

from dataclasses import replace

from provisioner.serve.grpc.running import _options
from provisioner.serve.settings import Limits


def test_a_connection_has_as_long_as_a_body() -> None:
    """The tests that run a server give connections more, see support/grpc_core.py."""
    options = _options(replace(Limits(), body_seconds=7.5))
    assert [value for name, value in options if name == "grpc.server_handshake_timeout_ms"] == [7500]
