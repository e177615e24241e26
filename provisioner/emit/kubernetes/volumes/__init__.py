"""PersistentVolumes and claims, one module for each kind of volume."""
