"""Model servers that several files ask: one with room, and one that is strict."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.serve_models import (
    EMBEDDER_REPO,
    PROMPTED_REPO,
    files_of,
    int8_embedder,
    package_file,
    prompted_embedder,
    shared,
)
from tests.support.served import Served, int8_release, release, serving

KEY = "a key of letters"


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
    at = release(folder / "store", {PROMPTED_REPO: shared(prompted_embedder)})
    limits = {"MAX_TEXTS": "4", "MAX_CHARACTERS": "2000", "MAX_CONCURRENT": "1", "MAX_BODY_BYTES": "20000"}
    with serving(at, folder, INDEXING_ONLY="True", API_KEY=KEY, **limits) as running:
        running.headers["Authorization"] = f"Bearer {KEY}"
        yield running
