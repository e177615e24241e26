"""Embedding over HTTP against the libraries and the server that a user would take instead, on the same weights."""
