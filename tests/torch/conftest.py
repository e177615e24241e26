"""The real weights and a pod, once for the whole group."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.readonly import Pod, pod
from tests.support.upstream import Weights


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    return Weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="session")
def in_pod() -> Iterator[Pod]:
    with pod() as made:
        yield made
