"""Engines behind one Protocol, and the choice between them."""

from provisioner.serve.engines.choose import load
from provisioner.serve.engines.interface import About, Engine, Floats, Input, Item

__all__ = ["About", "Engine", "Floats", "Input", "Item", "load"]
