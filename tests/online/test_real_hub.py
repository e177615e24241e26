"""Against the real Hub: `make test-online`, on a machine that reaches it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from provisioner.demo.weights import MINILM, MINILM_COMMIT
from provisioner.lockfile import parse

pytestmark = pytest.mark.online
REPOSITORY = "sentence-transformers/all-MiniLM-L6-v2"


def provision(folder: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "provisioner", *arguments]
    subprocess.run(command, cwd=folder, check=True, timeout=600)


def test_the_real_repository_has_the_digests_that_were_published_for_it(tmp_path: Path) -> None:
    provision(tmp_path, "lock", "add", f"{REPOSITORY}@{MINILM_COMMIT}")
    (model,) = parse((tmp_path / "models.lock").read_bytes()).models
    assert model.commit == MINILM_COMMIT
    locked = {str(file.path): (file.size, str(file.sha256)) for file in model.files}
    assert {path: locked[path] for path in MINILM} == MINILM


def test_the_repositorys_own_lock_can_be_fetched_and_verified(tmp_path: Path) -> None:
    lock = str(Path(__file__).parents[2] / "models.lock")
    provision(tmp_path, "fetch", "--lock", lock, "--store", "./store")
    provision(tmp_path, "verify", "--lock", lock, "--store", "./store")
