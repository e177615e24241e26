"""Model servers that several files ask: one with room, and one that is strict."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.serve_prompted import PROMPTED_REPO, prompted
from tests.support.served import Served, int8_release, release, serving

KEY = "a-key-of-letters"
STRICT = {"MAX_TEXTS": "4", "MAX_CHARACTERS": "2000", "MAX_CONCURRENT": "1", "MAX_BODY_BYTES": "20000"}


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The int8 embedder and the made reranker, with the limits as they are."""
    folder = tmp_path_factory.mktemp("served")
    with serving(int8_release(folder / "store"), folder) as running:
        yield running


@pytest.fixture(scope="session")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """An indexing server of a model with prompts, for who has the key, with room for one request of 4 texts."""
    folder = tmp_path_factory.mktemp("strict")
    at = release(folder / "store", {PROMPTED_REPO: prompted()})
    with serving(at, folder, INDEXING_ONLY="True", API_KEY=KEY, **STRICT) as running:
        running.headers["Authorization"] = f"Bearer {KEY}"
        yield running
