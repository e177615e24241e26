"""From a lock to the tree of a release. Pure functions; real files only, no links."""

from provisioner.layout.trees import ROOTS, tree_of

__all__ = ["ROOTS", "tree_of"]
