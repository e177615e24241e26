"""Workloads of a cluster from one release to another, and back."""
