"""From a lock and settings to Kubernetes objects, as plain dictionaries. Pure."""
