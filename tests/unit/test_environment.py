"""The offline environment: what it points at, and that a shell reads what was meant."""

from __future__ import annotations

import json
import subprocess

import pytest

from provisioner.emit.environment import OFFLINE, Form, environment, write
from provisioner.model import Layout
from tests.support.hub_fixture import make
from tests.support.locks import lock_of

NASTY = '/srv/it\'s a "$HOME" `id` \\ path/日本'


def variables(*layouts: Layout, root: str = "/models", scratch: str | None = None) -> dict[str, str]:
    return environment(lock_of(make("org/name", {"config.json": b"{}"}, layouts=layouts)), root, scratch)


def test_the_hub_layout_serves_every_consumer_of_a_hub_cache() -> None:
    found = variables(Layout.HUB)
    for name in ("HF_HUB_CACHE", "SENTENCE_TRANSFORMERS_HOME", "FASTEMBED_CACHE_PATH"):
        assert found[name] == "/models/hub"
    assert OFFLINE.items() <= found.items()
    assert "HOME" not in found


def test_a_layout_of_its_own_is_stronger_than_the_common_one() -> None:
    found = variables(Layout.HUB, Layout.FASTEMBED, Layout.SENTENCE_TRANSFORMERS)
    assert found["HF_HUB_CACHE"] == "/models/hub"
    assert found["FASTEMBED_CACHE_PATH"] == "/models/fastembed"
    assert found["SENTENCE_TRANSFORMERS_HOME"] == "/models/sentence_transformers"


def test_the_huggingface_layout_points_at_the_hub_folder_in_it() -> None:
    assert variables(Layout.HUGGINGFACE)["HF_HUB_CACHE"] == "/models/huggingface/hub"


def test_a_flat_model_needs_no_cache() -> None:
    assert not {"HF_HUB_CACHE", "FASTEMBED_CACHE_PATH"} & set(variables(Layout.FLAT))


def test_a_scratch_folder_takes_everything_that_is_written() -> None:
    found = variables(Layout.HUB, scratch="/scratch")
    assert found["HOME"] == found["TMPDIR"] == "/scratch"
    assert found["HF_HOME"].startswith("/scratch/")
    assert found["HF_MODULES_CACHE"].startswith("/scratch/")
    assert not any(value.startswith("/models") and name.startswith("HF_HOME") for name, value in found.items())


def test_a_shell_reads_what_was_meant() -> None:
    text = write(variables(Layout.HUB, root=NASTY), Form.SHELL)
    done = subprocess.run(
        ["bash", "-c", 'eval "$0"; printf %s "$HF_HUB_CACHE"', text], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{NASTY}/hub"


def test_json_is_json() -> None:
    found = variables(Layout.HUB, root=NASTY)
    assert json.loads(write(found, Form.JSON)) == found


@pytest.mark.parametrize("root", ["/models", "/srv/a b"])
def test_dotenv_is_one_assignment_a_line(root: str) -> None:
    text = write(variables(Layout.HUB, root=root), Form.DOTENV)
    pairs = dict(line.split("=", 1) for line in text.splitlines())
    assert pairs["HF_HUB_CACHE"].strip("'") == f"{root}/hub"
    assert pairs["HF_HUB_OFFLINE"] == "1"
    assert not text.startswith("export")
