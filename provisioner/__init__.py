"""Provision pinned models, every byte verified, onto the volumes that model servers mount read-only."""

__version__ = "0.1.0"
