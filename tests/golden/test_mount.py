"""Every form of `provision emit mount` for one lock, as it was last looked at.

PROVISION_UPDATE_GOLDEN=1 writes the files anew; what changed is to be looked at.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from provisioner.model import Layout
from tests.support import manifests
from tests.support.faults_process import provision
from tests.support.locks import small, with_layouts, write

GOLDEN = Path(__file__).parent / "mount"
UPDATE = os.environ.get("PROVISION_UPDATE_GOLDEN") == "1"
IMAGE = ("--image", "registry.example/provision:1")  # the default one has our version
FORMS: dict[str, tuple[str, ...]] = {
    "snippet": (),
    "snippet-model-wait": ("--model", "small", "--wait", "600", "--path", "/mnt/models", *IMAGE),
    "patch": ("--form", "patch", "--workload", "statefulset/api", "--container", "server", "--namespace", "search"),
    "helm": ("--form", "helm", "--claim", "models-ro"),
    "compose": ("--form", "compose", "--workload", "api", "--store", "/srv/models"),
}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    write(tmp_path, with_layouts(small(), Layout.HUB, Layout.FLAT))
    return tmp_path


def check(name: str, text: str) -> None:
    if UPDATE:
        (GOLDEN / name).parent.mkdir(parents=True, exist_ok=True)
        (GOLDEN / name).write_text(text)
    assert text == (GOLDEN / name).read_text()


@pytest.mark.parametrize("name", FORMS)
def test_a_form(name: str, place: Path) -> None:
    done = provision("emit", "mount", *FORMS[name], cwd=place, HOME=str(place))
    assert done.code == 0, done.err
    assert len(manifests.load(done.out)) == 1
    check(f"{name}.yaml", done.out)


def test_the_component(place: Path) -> None:
    assert provision("emit", "mount", "--form", "component", "-o", "component", cwd=place).code == 0
    for path in sorted((place / "component").glob("*.yaml")):
        check(f"component/{path.name}", path.read_text())


@pytest.mark.parametrize("name", ["deployment.yaml", "compose.yaml"])
def test_a_file_that_was_there(name: str, place: Path) -> None:
    """before/NAME is somebody's own, after/NAME what --write makes of it."""
    shutil.copy(GOLDEN / "before" / name, place)
    arguments = ("--workload", "api", "--store", "/srv/models")
    done = provision("emit", "mount", "--write", name, *arguments, cwd=place, HOME=str(place))
    assert done.code == 0, done.err
    manifests.load((place / name).read_text())
    check(f"after/{name}", (place / name).read_text())
