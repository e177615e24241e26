"""How the deployments of Ray Serve grow, and importing what Serve imports, without Ray."""

from __future__ import annotations

import subprocess
import sys

import pytest

from provisioner.errors import InvalidDocument
from provisioner.serve.raying.scaling import PROBES, options, parse
from provisioner.serve.settings import Settings
from provisioner.serve.settings import parse as parse_settings
from tests.support.faults_process import environment

_MODELS = ("EMBEDDER", "RERANKER")


def test_nothing_set_is_one_replica_of_one_cpu_each_that_may_become_four() -> None:
    found = parse({}, Settings())
    for one in (found.api, found.embedder, found.reranker):
        assert (one.cpus, one.least, one.most) == (1, 1, 4)


@pytest.mark.parametrize("model", _MODELS)
def test_cpus_of_a_replica_are_the_threads_of_its_model(model: str) -> None:
    variables = {f"{model}_OMP_NUM_THREADS": "3"}
    settings = parse_settings(variables)
    found = getattr(parse(variables, settings), model.lower())
    assert options("any", found, settings)["ray_actor_options"] == {"num_cpus": 3}
    assert getattr(settings, model.lower()).threads == 3


def test_variables_become_options_of_serve() -> None:
    variables = {
        "EMBEDDER_MIN_REPLICAS": "2",
        "EMBEDDER_MAX_REPLICAS": "9",
        "EMBEDDER_TARGET_ONGOING": "1.5",
        "EMBEDDER_MAX_ONGOING": "7",
        "EMBEDDER_UPSCALE_DELAY": "3",
        "EMBEDDER_DOWNSCALE_DELAY": "40",
        "MAX_CONCURRENT": "20",
        "DRAIN_SECONDS": "55",
    }
    settings = parse_settings(variables)
    found = options("Embedder", parse(variables, settings).embedder, settings)
    assert found["name"] == "Embedder"
    assert found["autoscaling_config"] == {
        "min_replicas": 2,
        "max_replicas": 9,
        "target_ongoing_requests": 1.5,
        "upscale_delay_s": 3,
        "downscale_delay_s": 40,
    }
    assert (found["max_ongoing_requests"], found["max_queued_requests"]) == (7, 20)
    assert found["graceful_shutdown_timeout_s"] == 55


def test_the_front_takes_more_than_the_server_refuses() -> None:
    settings = parse_settings({"MAX_CONCURRENT": "50"})
    assert parse({}, settings).api.ongoing == 50 + PROBES


def test_every_variable_that_is_wrong_is_named_at_once() -> None:
    variables = {
        "API_CPUS": "half",
        "EMBEDDER_MIN_REPLICAS": "5",
        "EMBEDDER_MAX_REPLICAS": "2",
        "RERANKER_TARGET_ONGOING": "50",
        "RERANKER_MAX_ONGOING": "10",
    }
    with pytest.raises(InvalidDocument) as refused:
        parse(variables, Settings())
    places = {problem.place for problem in refused.value.problems}
    assert places == {"API_CPUS", "EMBEDDER_MAX_REPLICAS", "RERANKER_TARGET_ONGOING"}


def test_without_ray_it_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['ray'] = None\nfrom provisioner.serve.ray import app\n"
        "try: app({})\nexcept Exception as error: print(type(error).__name__, error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, timeout=300, check=True
    )
    assert done.stdout.startswith("StartRefused The model server on Ray") and ".[ray]" in done.stdout
