"""Our model server in the place of a deployment's: at its names, and with what `provision serve` wants to be told."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from provisioner.emit.kubernetes.facts import Facts
from provisioner.emit.kubernetes.servers import compose, onyx, our_server, qwiser, ray
from provisioner.emit.kubernetes.settings import Settings, read
from provisioner.emit.yaml import dump, text
from provisioner.errors import InvalidDocument, InvalidInput, NotFound, UsageError
from provisioner.model import Layout
from provisioner.serve import settings as variables
from provisioner.serve.raying import scaling
from provisioner.serve.settings import EngineName, Role
from tests.support import kube_tools, manifests
from tests.support.faults_process import provision
from tests.support.hub_fixture import Made, make
from tests.support.locks import document, small, write
from tests.support.requirements import locked

GOLDEN = Path(__file__).resolve().parent.parent / "golden" / "servers"
RWX = {"kind": "storage-class", "claim": "models"}
ONNX = {"config.json": b"{}", "modules.json": b"[]", "onnx/model.onnx": b"onnx", "tokenizer.json": b"{}"}
TORCH = {"config.json": b"{}", "modules.json": b"[]", "model.safetensors": b"weights", "tokenizer.json": b"{}"}
EMBEDDER = make("nomic-ai/nomic-embed-text-v1", ONNX)
RERANKER = make("mixedbread-ai/mxbai-rerank-xsmall-v1", ONNX)
BOTH = (EMBEDDER, RERANKER)
EMITTERS = {"onyx": onyx, "qwiser": qwiser, "ray": ray}
CASES: dict[str, tuple[str, dict[str, Any], tuple[Made, ...]]] = {
    "onyx-provision": ("onyx", {"namespace": "onyx"}, BOTH),
    "onyx-provision-grpc": (
        "onyx",
        {"serve": {"grpc_port": 9100, "verify": "full", "image": "registry.example/server:1"}},
        BOTH,
    ),
    "qwiser-provision": ("qwiser", {"namespace": "qwiser"}, (EMBEDDER,)),
    "ray-provision": ("ray", {"namespace": "rag8s-prod"}, BOTH),
}


def facts(*made: Made) -> Facts:
    found = document(*made)
    return Facts.of(found.lock, found.text, found.digest)


def settings_of(name: str, kubernetes: dict[str, Any]) -> Settings:
    table = {"server": "provision"} | kubernetes.get(name, {})
    return read(kubernetes | {name: table}, {"pvc": RWX})


def emitted(name: str, kubernetes: dict[str, Any] | None = None, made: tuple[Made, ...] = BOTH) -> dict[str, Any]:
    """The objects by `Kind/name`."""
    settings = settings_of(name, kubernetes or {})
    found = EMITTERS[name].objects(settings, settings.target("pvc"), facts(*made))
    return {f"{one['kind']}/{one['metadata']['name']}": one for one in found}


def composed(kubernetes: dict[str, Any] | None = None, made: tuple[Made, ...] = BOTH) -> dict[str, Any]:
    return compose.document(settings_of("onyx", kubernetes or {}), facts(*made))


def pod(one: dict[str, Any]) -> dict[str, Any]:
    return one["spec"]["template"]["spec"]  # type: ignore[no-any-return]


def container(one: dict[str, Any]) -> dict[str, Any]:
    (found,) = pod(one)["containers"]
    return found  # type: ignore[no-any-return]


def env(of: dict[str, Any]) -> dict[str, str]:
    found = {one["name"]: one["value"] for one in of["env"]}
    assert len(found) == len(of["env"])
    return found


@pytest.mark.parametrize("case", CASES)
def test_golden(case: str) -> None:
    name, kubernetes, made = CASES[case]
    text = dump(emitted(name, kubernetes, made).values())
    path = GOLDEN / f"{case}.yaml"
    if os.environ.get("PROVISION_UPDATE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text(), "PROVISION_UPDATE_GOLDEN=1 writes it anew"


@pytest.mark.parametrize("case", CASES)
def test_clusters_old_and_new_take_every_object(case: str) -> None:
    manifests.validate(manifests.load((GOLDEN / f"{case}.yaml").read_text()))


@pytest.mark.parametrize("case", CASES)
def test_checkov_finds_nothing(case: str) -> None:
    """Probes included, which some deployments of theirs cannot have."""
    exceptions = ("ray token",) if case.startswith("ray") else ()
    assert manifests.checkov((GOLDEN / f"{case}.yaml").read_text(), *exceptions) == []


# Onyx


@pytest.mark.parametrize("member", ["inference", "indexing"])
def test_an_api_server_of_onyx_finds_ours_where_theirs_was(member: str) -> None:
    theirs = onyx.objects(read({}, {"pvc": RWX}), settings_of("onyx", {}).target("pvc"), facts(*BOTH))
    before = {f"{one['kind']}/{one['metadata']['name']}": one for one in theirs}
    made = emitted("onyx")
    assert made.keys() == before.keys()
    for name in ("ConfigMap/onyx-model-servers", f"Service/{member}-model-server"):
        assert made[name] == before[name]
    one, other = (container(found[f"Deployment/{member}-model-server"]) for found in (made, before))
    assert one["ports"] == other["ports"] and one["resources"] == other["resources"]
    selectors = [found[f"Deployment/{member}-model-server"]["spec"]["selector"] for found in (made, before)]
    assert selectors[0] == selectors[1], "so that one is applied over the other"


def test_the_server_reads_what_the_pods_say() -> None:
    made = emitted("onyx", {"serve": {"grpc_port": 9100, "engine": "onnx", "drain": 40}, "mount_path": "/srv/models"})
    inference, indexing = (container(made[f"Deployment/{name}-model-server"]) for name in ("inference", "indexing"))
    read_by_server = variables.parse(env(inference))
    assert (read_by_server.at, read_by_server.port, read_by_server.grpc_port) == ("/srv/models", 9000, 9100)
    assert (read_by_server.role, read_by_server.engine) == (Role.INFERENCE, EngineName.ONNX)
    assert read_by_server.embedder.name == "nomic-ai/nomic-embed-text-v1"
    assert read_by_server.reranker.name == "mixedbread-ai/mxbai-rerank-xsmall-v1"
    assert read_by_server.embedder.threads == read_by_server.reranker.threads == 2
    assert read_by_server.embedder.graph is None, "the server finds it"
    bulk = variables.parse(env(indexing))
    assert (bulk.role, bulk.embedder.threads, bulk.reranker.name) == (Role.INDEXING, 4, None)
    assert (inference["image"], inference["args"]) == (f"model-provisioner-server:{_version()}", ["serve"])
    assert "command" not in inference, "the image has it"
    assert "HF_TOKEN" not in env(inference)


def _version() -> str:
    from provisioner import __version__

    return __version__


@pytest.mark.parametrize(
    ("resources", "threads"),
    [
        ({"cpu_limit": "2500m"}, 2),
        ({"cpu_limit": "500m"}, 1),
        ({"cpu": 16, "cpu_limit": 64}, 64),
        ({"cpu": "100m", "cpu_limit": "100m"}, 1),
    ],
)
def test_threads_are_whole_cpus_of_the_limit(resources: dict[str, Any], threads: int) -> None:
    made = emitted("onyx", {"onyx": {"inference": {"resources": resources}}})
    assert env(container(made["Deployment/inference-model-server"]))["EMBEDDER_OMP_NUM_THREADS"] == str(threads)


def test_without_a_limit_threads_are_those_of_the_request() -> None:
    made = emitted("qwiser", {"qwiser": {"resources": {"cpu": "2500m"}}}, (EMBEDDER,))
    assert env(container(made["Deployment/embeddings-worker-msgs"]))["EMBEDDER_OMP_NUM_THREADS"] == "3"


def ends(name: str, made: dict[str, Any]) -> tuple[int, variables.Settings]:
    """Seconds from SIGTERM to SIGKILL, and what the server in that pod is told."""
    if name == "ray":
        cluster = made["RayService/rag8s-onnx"]["spec"]["rayClusterConfig"]
        spec = cluster["workerGroupSpecs"][0]["template"]["spec"]
    else:
        spec = next(pod(one) for key, one in made.items() if key.startswith("Deployment/"))
    return spec["terminationGracePeriodSeconds"], variables.parse(env(spec["containers"][0]))


@pytest.mark.parametrize("drain", [0, 25, 600, 3600])
def test_nobody_is_killed_before_the_server_has_drained(drain: int) -> None:
    serve = {"serve": {"drain": drain}}
    for name in EMITTERS:
        grace, told = ends(name, emitted(name, serve))
        assert told.drain == drain
        assert grace > told.drain_delay + told.drain, name
    for one in composed(serve)["services"].values():
        told = variables.parse(one["environment"])
        assert int(one["stop_grace_period"].removesuffix("s")) > told.drain_delay + told.drain


def test_more_time_to_end_than_ours_needs_is_kept() -> None:
    assert ends("ray", emitted("ray"))[0] == 120
    assert ends("ray", emitted("ray", {"ray": {"grace": 700}, "serve": {"drain": 600}}))[0] == 700


# Variables that something else counts on


def test_the_delay_before_a_drain_is_the_one_that_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(our_server, "_DELAY", 77)
    for name in ("onyx", "qwiser"):
        grace, told = ends(name, emitted(name))
        assert told.drain_delay == 77 and grace > 77 + told.drain


REFUSED = {
    "DRAIN_DELAY": "30",
    "DRAIN_SECONDS": "300",
    "GRPC_PORT": "9100",
    "INDEXING_ONLY": "on",
    "MODEL_SERVER_BIND": "127.0.0.1",
    "MODEL_SERVER_PORT": "9001",
    "PROVISION_SERVE_AT": "/elsewhere",
    "VERIFY": "full",
}
SAME = {
    "DRAIN_DELAY": "3.0",
    "DRAIN_SECONDS": " 25",
    "GRPC_PORT": "",
    "INDEXING_ONLY": "false",
    "MODEL_SERVER_BIND": "0.0.0.0",
    "MODEL_SERVER_PORT": "9000",
    "PROVISION_SERVE_AT": "/models",
    "VERIFY": "Recorded",
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_variable_that_says_otherwise_than_the_pod_is_refused(name: str) -> None:
    for table in ({"env": {name: REFUSED[name]}}, {"inference": {"env": {name: REFUSED[name]}}}):
        for emit in (emitted, lambda _, kubernetes: composed(kubernetes)):
            with pytest.raises(InvalidDocument) as refused:
                emit("onyx", {"onyx": table})
            assert [problem.place for problem in refused.value.problems] == [f"env.{name}"]
    with pytest.raises(InvalidDocument) as refused:
        emitted("onyx", {"onyx": {"secrets": {name: "some/key"}}})
    assert [problem.place for problem in refused.value.problems] == [f"secrets.{name}"]
    assert emitted("onyx", {"onyx": {"server": "theirs", "image": "theirs:1", "env": {name: REFUSED[name]}}})


@pytest.mark.parametrize("name", SAME)
def test_a_variable_that_says_the_same_is_not(name: str) -> None:
    assert emitted("onyx", {"onyx": {"inference": {"env": {name: SAME[name]}}}})


def test_each_server_may_be_told_what_nothing_around_it_counts_on() -> None:
    bulk = {"INDEXING_ONLY": "True"}
    assert ends("qwiser", emitted("qwiser", {"qwiser": {"env": bulk}}))[1].role is Role.INDEXING
    assert ends("ray", emitted("ray", {"ray": {"env": bulk}}))[1].role is Role.INDEXING
    one = emitted("onyx", {"onyx": {"inference": {"env": {"TASKS": "embed"}}}})["Deployment/inference-model-server"]
    assert variables.parse(env(container(one))).tasks == ("embed",)
    assert emitted("ray", {"ray": {"env": {"MODEL_SERVER_BIND": "127.0.0.1", "DRAIN_DELAY": "9"}}})
    for name, table in (("qwiser", {"TASKS": "rerank"}), ("ray", {"DRAIN_SECONDS": "500"})):
        with pytest.raises(InvalidDocument):
            emitted(name, {name: {"env": table}})


def test_nothing_says_which_address_to_listen_on() -> None:
    """The server takes IPv4 and IPv6, whichever the cluster has."""
    for name in EMITTERS:
        assert ends(name, emitted(name))[1].host == variables.Settings().host


def test_nothing_is_asked_for_before_the_models_are_loaded() -> None:
    one = container(emitted("onyx")["Deployment/inference-model-server"])
    paths = {name: one[name]["httpGet"]["path"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert paths == {"startupProbe": "/readyz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"}


def test_a_start_may_take_as_long_as_a_slow_volume_needs() -> None:
    known = facts(*BOTH)
    large = Facts(known.lock, known.text, known.digest, known.release, 2 * 10**9, 4, 10**9)
    seconds = {
        verify: our_server.startup(read({"serve": {"verify": verify}}, {}), large) for verify in ("recorded", "full")
    }
    assert seconds == {"recorded": 460, "full": 860}, "5 MB/s, twice where every byte is hashed first"
    chosen = read({"serve": {"startup": 7}}, {})
    probe = our_server.probes(chosen, large, 9000)["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 7


def test_only_scratch_can_be_written() -> None:
    one = container(emitted("onyx")["Deployment/inference-model-server"])
    assert [m["mountPath"] for m in one["volumeMounts"] if not m.get("readOnly")] == ["/scratch"]
    assert one["securityContext"]["readOnlyRootFilesystem"]
    services = composed()["services"].values()
    assert all([mount.partition(":")[0] for mount in one["tmpfs"]] == ["/scratch"] for one in services)


def test_prometheus_finds_it() -> None:
    for name, kubernetes in (("onyx", {"onyx": {"port": 8123}}), ("qwiser", {"qwiser": {"port": 8123}})):
        for key, one in emitted(name, kubernetes).items():
            if key.startswith("Deployment/"):
                marks = one["spec"]["template"]["metadata"]["annotations"]
                assert marks["prometheus.io/scrape"] == "true" and marks["prometheus.io/path"] == "/metrics"
                assert marks["prometheus.io/port"] == env(container(one))["MODEL_SERVER_PORT"] == "8123"


def test_grpc_is_a_port_of_the_service() -> None:
    made = emitted("onyx", {"serve": {"grpc_port": 9100}})
    ports = {one["name"]: one["port"] for one in made["Service/indexing-model-server"]["spec"]["ports"]}
    assert ports == {"modelserver": 9000, "grpc": 9100}
    listening = container(made["Deployment/indexing-model-server"])["ports"]
    assert {one["name"]: one["containerPort"] for one in listening} == ports
    assert composed({"serve": {"grpc_port": 9100}})["services"]["indexing_model_server"]["expose"] == ["9000", "9100"]
    with pytest.raises(InvalidInput):
        emitted("onyx", {"serve": {"grpc_port": 9000}})


def test_what_is_said_of_their_image_waits_for_their_return() -> None:
    table = {
        "image": "theirs:1",
        "command": ["theirs"],
        "args": ["--theirs"],
        "writable": ["/app"],
        "health": "/theirs",
    }
    assert dump(emitted("onyx", {"onyx": table}).values()) == dump(emitted("onyx").values())


def test_what_is_said_of_pods_holds_for_ours_too() -> None:
    table = {"env": {"LOG_FORMAT": "text"}, "secrets": {"API_KEY": "model-server/key"}, "user": 4711}
    made = emitted("onyx", {"onyx": table})["Deployment/indexing-model-server"]
    found = {one["name"]: one.get("value", one.get("valueFrom")) for one in container(made)["env"]}
    assert found["LOG_FORMAT"] == "text"
    assert found["API_KEY"] == {"secretKeyRef": {"name": "model-server", "key": "key"}}
    assert pod(made)["securityContext"]["runAsUser"] == 4711


# Which models


def test_a_release_without_a_reranker_is_served_without() -> None:
    made = emitted("onyx", made=(EMBEDDER,))
    assert "MODEL_RERANKER_NAME" not in env(container(made["Deployment/inference-model-server"]))


def test_who_is_to_embed_only_says_so() -> None:
    """Else a server with several rerankers in its release, however they are called, asks which one at its start."""
    crossing = (make("org/cross-a", ONNX), make("org/cross-b", ONNX))
    several = (EMBEDDER, RERANKER, make("org/other-rerank", ONNX))
    worker = emitted("qwiser", made=several)["Deployment/embeddings-worker-msgs"]
    named = {"serve": {"embedder": str(EMBEDDER.model.repo)}}
    inference = emitted("onyx", named, (EMBEDDER, *crossing))["Deployment/inference-model-server"]
    chosen = {"serve": {"reranker": "org/other-rerank"}}
    indexing = emitted("onyx", chosen, several)["Deployment/indexing-model-server"]
    for one in (worker, inference, indexing):
        told = variables.parse(env(container(one)))
        assert (told.tasks, told.embedder.name, told.reranker.name) == (("embed",), str(EMBEDDER.model.repo), None)
    assert ends("ray", emitted("ray", named, (EMBEDDER, *crossing)))[1].tasks == ("embed",)
    services = composed(named, (EMBEDDER, *crossing))["services"].values()
    assert {variables.parse(one["environment"]).tasks for one in services} == {("embed",)}


def test_who_has_both_tasks_is_told_both_names() -> None:
    several = (EMBEDDER, make("org/other", ONNX), RERANKER, make("org/other-rerank", ONNX))
    names = {"serve": {"embedder": "org/other", "reranker": "org/other-rerank"}}
    inference = emitted("onyx", names, several)["Deployment/inference-model-server"]
    for told in (variables.parse(env(container(inference))), ends("ray", emitted("ray", names, several))[1]):
        assert (told.tasks, told.embedder.name, told.reranker.name) == (
            ("embed", "rerank"),
            "org/other",
            "org/other-rerank",
        )


def test_a_model_that_no_engine_of_ours_loads_is_refused_before_a_pod_ends_with_it() -> None:
    weights = (make("org/a", TORCH), make("org/a-rerank", ONNX))
    with pytest.raises(InvalidInput, match="No ONNX file of the embedder org/a is locked") as refused:
        emitted("onyx", made=weights)
    assert "provision lock add org/a --include onnx/model.onnx" in refused.value.hint
    with pytest.raises(InvalidInput, match="reranker org/a-rerank"):
        emitted("onyx", made=(EMBEDDER, make("org/a-rerank", TORCH)))
    made = emitted("onyx", {"serve": {"engine": "torch", "reranker": "org/a-rerank"}}, weights)
    seen = env(container(made["Deployment/inference-model-server"]))
    assert (seen["ENGINE"], seen["MODEL_EMBEDDER_NAME"], seen["MODEL_RERANKER_NAME"]) == (
        "torch",
        "org/a",
        "org/a-rerank",
    )


def test_several_embedders_are_asked_about_and_models_of_torch_are_not_among_them() -> None:
    with pytest.raises(UsageError) as refused:
        emitted("onyx", made=(make("org/a", ONNX), make("org/b", ONNX), make("org/intent", TORCH)))
    assert refused.value.hint == "Choose: --embedder org/a | org/b"
    with pytest.raises(NotFound):
        emitted("onyx", {"serve": {"embedder": "org/other"}})


@pytest.mark.parametrize("layout", Layout)
def test_ours_finds_a_model_in_any_layout(layout: Layout) -> None:
    made = (make("org/a", ONNX, layouts=(layout,)),)
    for name in ("onyx", "qwiser", "ray"):
        assert emitted(name, made=made)


# QWiser


def test_a_worker_of_ours_answers_http_and_computes_without_a_gpu() -> None:
    made = emitted("qwiser", made=(EMBEDDER,))
    one = container(made["Deployment/embeddings-worker-msgs"])
    seen = variables.parse(env(one))
    assert (seen.at, seen.port, seen.role) == ("/mnt/models", 9000, Role.INFERENCE)
    assert made["Service/embeddings-worker-msgs"]["spec"]["ports"][0]["port"] == 9000
    with pytest.raises(InvalidInput) as refused:
        emitted("qwiser", {"qwiser": {"gpus": 1}})
    assert "qwiser.gpus" in refused.value.hint
    made = emitted("qwiser", {"qwiser": {"gpus": 1}, "serve": {"engine": "cuda", "image": "registry.example/cuda:1"}})
    assert container(made["Deployment/embeddings-worker-msgs"])["resources"]["limits"]["nvidia.com/gpu"] == "1"


# RAG8s


def test_ray_deploys_our_application_of_our_image() -> None:
    spec = emitted("ray")["RayService/rag8s-onnx"]["spec"]
    (application,) = yaml.safe_load(spec["serveConfigV2"])["applications"]
    assert application["import_path"] == "provisioner.serve.ray:app"
    cluster = spec["rayClusterConfig"]
    assert cluster["rayVersion"] == locked("ray")["ray"], "of the image"
    for template in (cluster["headGroupSpec"]["template"], cluster["workerGroupSpecs"][0]["template"]):
        (one,) = template["spec"]["containers"]
        assert one["image"] == f"model-provisioner-ray:{_version()}"
        assert "command" not in one and "args" not in one, "KubeRay starts Ray"
        told = variables.parse(env(one))
        assert (told.at, told.embedder.name, told.reranker.name) == (
            "/models",
            "nomic-ai/nomic-embed-text-v1",
            "mixedbread-ai/mxbai-rerank-xsmall-v1",
        )
        assert env(one)["RAY_USAGE_STATS_ENABLED"] == "0"
        assert one["livenessProbe"]["httpGet"] == {"path": "/api/healthz", "port": 52365}
        exec_probes = [probe for probe in ("livenessProbe", "readinessProbe") if "exec" in one[probe]]
        assert exec_probes == [], "KubeRay's own want a wget that the image does not have"
    ready = cluster["workerGroupSpecs"][0]["template"]["spec"]["containers"][0]["readinessProbe"]
    assert ready["httpGet"] == {"path": "/readyz", "port": 8000}


@pytest.mark.parametrize(("cpu", "threads"), [("4", "3"), ("2500m", "2"), ("16", "15")])
def test_a_worker_has_room_for_a_model_and_the_http_side(cpu: str, threads: str) -> None:
    spec = emitted("ray", {"ray": {"worker": {"cpu": cpu}}})["RayService/rag8s-onnx"]["spec"]
    (one,) = spec["rayClusterConfig"]["workerGroupSpecs"][0]["template"]["spec"]["containers"]
    assert env(one)["EMBEDDER_OMP_NUM_THREADS"] == env(one)["RERANKER_OMP_NUM_THREADS"] == threads


def workers_env(table: dict[str, Any], made: tuple[Made, ...] = BOTH) -> dict[str, str]:
    spec = emitted("ray", {"ray": table}, made)["RayService/rag8s-onnx"]["spec"]["rayClusterConfig"]
    (one,) = spec["workerGroupSpecs"][0]["template"]["spec"]["containers"]
    return env(one)


@pytest.mark.parametrize(
    ("made", "table", "embedders", "rerankers"),
    [
        ((EMBEDDER,), {}, 2, None),
        (BOTH, {}, 1, 1),
        (BOTH, {"workers": 5, "max_workers": 8}, 3, 2),
        (BOTH, {"workers": 1}, 1, 1),
        (BOTH, {"workers": 4, "worker": {"cpu": 1}}, 2, 1),
        ((EMBEDDER,), {"workers": 6, "max_workers": 6}, 6, None),
    ],
)
def test_every_worker_gets_a_replica(
    made: tuple[Made, ...], table: dict[str, Any], embedders: int, rerankers: int | None
) -> None:
    """A worker without one has no proxy, and so would never be ready."""
    told = workers_env(table, made)
    sizes = scaling.parse(told, variables.parse(told))
    assert sizes.embedder.least == embedders
    assert sizes.embedder.most == table.get("max_workers", 4)
    found = {name for name in told if name.startswith("RERANKER_")}
    assert not found if rerankers is None else sizes.reranker.least == rerankers


def test_a_number_of_replicas_that_is_given_is_kept() -> None:
    for name in ("EMBEDDER_MIN_REPLICAS", "EMBEDDER_MAX_REPLICAS"):
        told = workers_env({"env": {name: "1"}}, (EMBEDDER,))
        sizes = scaling.parse(told, variables.parse(told)).embedder
        assert 1 in (sizes.least, sizes.most)


def auth(table: dict[str, Any]) -> list[str | None]:
    """What head, worker and autoscaler are told of authentication."""
    cluster = emitted("ray", {"ray": table})["RayService/rag8s-onnx"]["spec"]["rayClusterConfig"]
    templates = (cluster["headGroupSpec"]["template"], cluster["workerGroupSpecs"][0]["template"])
    containers = [one["spec"]["containers"][0] for one in templates]
    return [env(one).get("RAY_AUTH_MODE") for one in (*containers, cluster["autoscalerOptions"])]


def test_kuberay_may_ask_the_dashboard() -> None:
    assert auth({}) == ["disabled"] * 3
    assert auth({"env": {"RAY_AUTH_MODE": "token"}}) == ["token", "token", None], "KubeRay tells its autoscaler"


def test_an_application_that_can_never_run_is_refused() -> None:
    for table in ({"workers": 1, "max_workers": 1}, {"workers": 1, "max_workers": 2, "worker": {"cpu": 1}}):
        with pytest.raises(InvalidInput) as refused:
            emitted("ray", {"ray": table})
        assert "ray.max_workers" in refused.value.hint
    assert emitted("ray", {"ray": {"workers": 1, "max_workers": 1}}, (EMBEDDER,))


# Compose


def test_compose_asks_with_what_the_image_has() -> None:
    services = composed()["services"]
    for name, one in services.items():
        assert one["command"] == ["serve"]
        assert one["healthcheck"]["test"][:3] == ["CMD", "python", "-c"]
        assert "http://127.0.0.1:9000/readyz" in one["healthcheck"]["test"][3]
        told = variables.parse(one["environment"])
        assert told.role is (Role.INDEXING if "indexing" in name else Role.INFERENCE)
        assert told.at == one["volumes"][0]["target"]
    published = {name: one["ports"][0]["published"] for name, one in services.items()}
    assert published == {"inference_model_server": "9000", "indexing_model_server": "9001"}


def test_a_strict_reader_of_compose_files_takes_it() -> None:
    if reason := kube_tools.cannot_check():
        pytest.skip(reason)
    reader = "import sys, compose_spec; compose_spec.PyCompose.from_yaml(sys.stdin.read()).validate()"
    given = text(composed({"serve": {"grpc_port": 9100}}))
    command = [str(kube_tools.PYTHON), "-c", reader]
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


# The command


@pytest.mark.parametrize("name", ["onyx", "qwiser", "ray", "compose"])
def test_one_flag_takes_ours(name: str, tmp_path: Path) -> None:
    write(tmp_path, *BOTH)
    given = ("emit", "server", name, "--server", "provision")
    printed = provision(*given, "--serve-image", "registry.example/ours:2", cwd=tmp_path)
    assert printed.code == 0, printed.err
    assert "registry.example/ours:2" in printed.out
    assert "--serve-image" not in printed.err
    refused = provision(*given, "--image", "theirs:1", cwd=tmp_path)
    assert refused.code == 2
    assert "--serve-image" in refused.err
    wrong = provision("emit", "server", name, "--server", "mine", cwd=tmp_path)
    assert wrong.code == 4, wrong.err


@pytest.mark.parametrize(("name", "noted"), [("onyx", 1), ("qwiser", 1), ("ray", 1), ("compose", 0)])
def test_an_image_that_no_cluster_can_pull_is_noted(name: str, noted: int, tmp_path: Path) -> None:
    write(tmp_path, *BOTH)
    printed = provision("emit", "server", name, "--server", "provision", cwd=tmp_path)
    assert printed.code == 0, printed.err
    assert printed.err.count("push it and give --serve-image") == noted


def test_a_lock_of_weights_is_refused_on_the_command_line(tmp_path: Path) -> None:
    write(tmp_path, small("org/torch"))
    refused = provision("emit", "server", "onyx", "--server", "provision", cwd=tmp_path)
    assert (refused.code, "No ONNX file" in refused.err) == (4, True), refused.err
