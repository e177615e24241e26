"""What one kind of store can be asked to find out whether it is fit: the probes behind `provision doctor`."""

from provisioner.stores.examine.check import Check, Examination

__all__ = ["Check", "Examination"]
