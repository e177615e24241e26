"""The model servers of known deployments, each around a release that it mounts read-only. Pure."""
