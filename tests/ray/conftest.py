"""One cluster and one application for the whole group."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.ray_cluster import Cluster, application, cluster, until
from tests.support.served import int8_release


@pytest.fixture(scope="session")
def release() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="provisioner-ray-"))
    yield int8_release(folder / "store")
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def ray(release: Path) -> Iterator[Cluster]:
    """A cluster whose nodes have the variables of a pod."""
    variables = {
        "PROVISION_SERVE_AT": str(release),
        "EMBEDDER_OMP_NUM_THREADS": "1",
        "RERANKER_OMP_NUM_THREADS": "1",
        "EMBEDDER_MAX_REPLICAS": "2",
        "EMBEDDER_TARGET_ONGOING": "2",
        "EMBEDDER_UPSCALE_DELAY": "0",
        "EMBEDDER_DOWNSCALE_DELAY": "600",
        "API_MAX_REPLICAS": "1",
    }
    with cluster(8, **variables) as running:
        yield running


@pytest.fixture(scope="session")
def served(ray: Cluster) -> Cluster:
    """The application at `/`, ready."""
    ray.deploy(application("models"))
    until(lambda: ray.application("models"), lambda found: found.get("status") == "RUNNING")
    ray.await_ready()
    return ray
