"""Protocols and events; no I/O."""
