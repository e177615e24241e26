"""A read-only Hub endpoint over a store, for clients that cannot mount a volume. Needs the extra `hub`."""

from provisioner.hub.server import running, serve

__all__ = ["running", "serve"]
