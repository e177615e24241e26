"""The model server: embeds and reranks from a verified release that is mounted read-only. Needs the extra `serve`."""
