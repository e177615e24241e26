"""Requests into batches: lanes, their order and their limits."""
