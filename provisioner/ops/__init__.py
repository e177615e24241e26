"""Orchestration: lock, transfer, verify, releases. Threads and retries live here."""
