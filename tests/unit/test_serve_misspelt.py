"""Variables that nobody reads, where an operator thinks that the server does."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from provisioner.cli.lazy import flag_of
from provisioner.cli.serve import command
from provisioner.serve.misspelt import misspelt
from provisioner.serve.raying import scaling
from provisioner.serve.settings import known

OPTIONS = frozenset(
    f"PROVISION_SERVE_{flag_of(one).upper()}" for one in command.params if isinstance(one, click.Option)
)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("EMBEDDER_BATCH_SIZE", "EMBEDDER_BATCH_MAX_SIZE"),
        ("RERANKER_THREADS", "RERANKER_OMP_NUM_THREADS"),
        ("MODEL_EMBEDDER_NAM", "MODEL_EMBEDDER_NAME"),
        ("INDEXING_ONY", "INDEXING_ONLY"),
        ("MAX_TEXT", "MAX_TEXTS"),
        ("API_KEYS", "API_KEY"),
        ("GRPC_PORTS", "GRPC_PORT"),
        ("MODEL_SERVE_PORT", "MODEL_SERVER_PORT"),
    ],
)
def test_what_was_meant_is_said(name: str, meant: str) -> None:
    assert misspelt({name, "PATH", "API_KEY"}, known()) == {name: meant}


@pytest.mark.parametrize(
    "name",
    [
        *sorted(known()),
        *sorted(OPTIONS),
        *sorted(one.removeprefix("PROVISION_SERVE_") for one in OPTIONS),  # shells and platforms set HOST and PORT
        "CHECKS",
        "PROVISION_SERVE_PORT_9000_TCP_ADDR",
        "MODEL_EMBEDDER_URL",
        "RERANKER_API_KEY",
        "MODEL_RERANKER_API_KEY",
        "MODEL_EMBEDDER_API_KEYS",
        "MODEL_RERANKER_NUM_GPUS",
        "PROVISION_SERVE_NOTES",
        "MODEL_SERVER_HOST",  # an Onyx API server's
        "INDEXING_MODEL_SERVER_PORT",
        "LOG_LEVEL",
        "OPENAI_API_KEY",
        "EMBEDDER_SERVICE_PORT_HTTP",  # of a Kubernetes Service that is called so
        "RERANKER_PORT_9000_TCP_ADDR",
        "OMP_NUM_THREADS",
        "EMBEDDER_URL",
        "RERANKER_ENABLED",
    ],
)
def test_variables_of_others_are_passed_over(name: str) -> None:
    assert misspelt({name}, known()) == {}


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("PROVISION_SERVE_PROT", "PROVISION_SERVE_PORT"),
        ("PROVISION_SERVE_INDEX_ONLY", "PROVISION_SERVE_INDEXING_ONLY"),
        ("PROVISION_SERVE_GPRC_PORT", "PROVISION_SERVE_GRPC_PORT"),
        ("PROVISION_SERVE_VERIFYY", "PROVISION_SERVE_VERIFY"),
        ("PROVISION_SERVE_DRAIN_DELAY", "DRAIN_DELAY"),  # a setting, and no option
        ("VERIFYY", "VERIFY"),
        ("EMBEDDER_MAX_TEXTS", "MAX_TEXTS"),
        ("EMBEDDER_BATCH_WAIT_MS", "BATCH_WAIT_MS"),
        ("MODEL_RERANKER_ENGINE", "ENGINE"),
        ("EMBEDDER_NAME", "MODEL_EMBEDDER_NAME"),
        ("MODEL_EMBEDDER_BATCH_SIZE", "EMBEDDER_BATCH_MAX_SIZE"),
        ("MODEL_RERANKER_MAX_LENGTH", "RERANKER_MAX_LENGTH"),
        ("EMBEDDER_BATCH", "EMBEDDER_BATCH_MAX_SIZE"),
        ("EMBEDDER_ONNX_FILE", "EMBEDDER_ONNX_PATH"),
    ],
)
def test_options_of_the_command_are_told_apart_by_what_follows_their_prefix(name: str, meant: str) -> None:
    assert misspelt({name, "PROVISION_SERVE_NOTES"}, known()) == {name: meant}


def test_what_kubernetes_tells_of_services_is_passed_over() -> None:
    names = {
        "PROVISION_SERVER_PORT",
        "PROVISION_SERVE_SERVICE_PORT",
        "PROVISION_SERVE_EMBEDDER_PORT",
        "EMBEDDER_SERVICE_PORT",
    }
    services = {
        "PROVISION_SERVER_SERVICE_HOST",
        "PROVISION_SERVE_SERVICE_HOST",
        "PROVISION_SERVE_EMBEDDER_SERVICE_HOST",
        "EMBEDDER_SERVICE_HOST",
    }
    assert misspelt(names | services, known()) == {}
    assert misspelt(names, known()).keys() >= {"PROVISION_SERVER_PORT", "PROVISION_SERVE_EMBEDDER_PORT"}


def test_what_is_emitted_for_ray_are_settings_there() -> None:
    golden = Path(__file__).parents[1] / "golden" / "servers" / "ray-provision.yaml"
    names = set(re.findall(r"name: ((?:EMBEDDER|RERANKER|API)_[A-Z_]+)", golden.read_text()))
    assert "EMBEDDER_MIN_REPLICAS" in names
    assert misspelt(names, known() | scaling.known()) == {}
    wrong = misspelt({"EMBEDDER_MIN_REPLICA"}, known() | scaling.known())
    assert wrong == {"EMBEDDER_MIN_REPLICA": "EMBEDDER_MIN_REPLICAS"}
