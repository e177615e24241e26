"""The model servers of known deployments: what each needs to serve, and what it must not have."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from provisioner.emit.kubernetes.facts import Facts
from provisioner.emit.kubernetes.mount import folder, variables_at
from provisioner.emit.kubernetes.servers import compose, kserve, onyx, qwiser, ray
from provisioner.emit.kubernetes.settings import read
from provisioner.emit.mounts.service import bind
from provisioner.emit.yaml import dump, text
from provisioner.errors import InvalidDocument, InvalidInput, NotFound, UsageError
from provisioner.model import Layout
from tests.support import kube_tools, manifests
from tests.support.faults_process import provision
from tests.support.hub_fixture import Made, make
from tests.support.locks import document, small, tree, write

GOLDEN = Path(__file__).resolve().parent.parent / "golden" / "servers"
ONNX = {"config.json": b"{}", "onnx/model.onnx": b"onnx", "tokenizer.json": b"{}", "tokenizer_config.json": b"{}"}
RWO = {"kind": "rwo", "claims": ["inference", "indexing"]}
RWX = {"kind": "storage-class", "claim": "models"}
EMITTERS = {"onyx": onyx, "qwiser": qwiser, "kserve": kserve, "ray": ray}
LOCKS: dict[str, tuple[Made, ...]] = {
    "onyx": (small("nomic-ai/nomic-embed-text-v1"), small("mixedbread-ai/mxbai-rerank-xsmall-v1")),
    "qwiser": (
        make("Qdrant/bge-large-en-v1.5-onnx", ONNX, layouts=(Layout.FASTEMBED,)),
        make("sentence-transformers/all-MiniLM-L6-v2", small().content, layouts=(Layout.SENTENCE_TRANSFORMERS,)),
    ),
    "kserve": (
        make("mistralai/Mistral-Small-24B-Instruct-2501", small().content, layouts=(Layout.FLAT,)),
        small("org/other"),
    ),
    "ray": (make("Alibaba-NLP/gte-modernbert-base", ONNX), make("Alibaba-NLP/gte-reranker-modernbert-base", ONNX)),
}
# As `--preset onyx-provision` locks them: theirs finds them too, and ours wants a graph of each.
OURS = (make("nomic-ai/nomic-embed-text-v1", ONNX), make("mixedbread-ai/mxbai-rerank-xsmall-v1", ONNX))
CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "onyx": ("onyx", {"namespace": "onyx"}, {"kind": "nfs", "server": "nas.example", "path": "/export"}),
    "onyx-rwo": ("onyx", {}, RWO),
    "onyx-replicas": ("onyx", {"onyx": {"inference": {"replicas": 3}}}, RWX),
    "qwiser": (
        "qwiser",
        {"namespace": "qwiser", "qwiser": {"image": "registry.example/qwiser:1.4", "gpus": 1}},
        {
            "kind": "azure-files",
            "account": "acmestore",
            "share": "ml-models",
            "claim": "ml-models-pvc-rw",
            "readers": "ml-models-pvc",
        },
    ),
    "kserve": ("kserve", {"kserve": {"name": "mistral-24b", "gpus": 2, "args": ["--max-model-len=8192"]}}, RWX),
    "kserve-vllm-openshift": (
        "kserve",
        {"openshift": True, "kserve": {"image": "vllm/vllm-openai:v0.10.2"}},
        {"kind": "rwo", "claims": ["mistral-24b-pvc"]},
    ),
    "ray": (
        "ray",
        {
            "namespace": "rag8s-prod",
            "ray": {"image": "registry.example/rag8s:1", "hf_token": "rag8s-hf-token/hf_token"},
        },
        RWX,
    ),
    "ray-fixed": (
        "ray",
        {"ray": {"image": "r:1", "workers": 1, "max_workers": 1, "monitor": False}},
        RWX,
    ),
}
EXCEPTIONS = {"qwiser": ("qwiser",), "ray": ("ray", "ray token"), "ray-fixed": ("ray",)}


def facts(name: str) -> Facts:
    made = document(*LOCKS[name])
    return Facts.of(made.lock, made.text, made.digest)


def emitted(
    name: str, kubernetes: dict[str, Any] | None = None, target: dict[str, Any] | None = None
) -> dict[str, Any]:
    """The objects by `Kind/name`."""
    settings = read(kubernetes or {}, {"pvc": target or RWX})
    made = EMITTERS[name].objects(settings, settings.target("pvc"), facts(name))
    found = {f"{one['kind']}/{one['metadata']['name']}": one for one in made}
    assert len(found) == len(made)
    return found


def pod(one: dict[str, Any]) -> dict[str, Any]:
    return one["spec"]["template"]["spec"]  # type: ignore[no-any-return]


def container(one: dict[str, Any]) -> dict[str, Any]:
    (found,) = pod(one)["containers"]
    return found  # type: ignore[no-any-return]


def env(of: dict[str, Any]) -> dict[str, Any]:
    found = {one["name"]: one.get("value", one.get("valueFrom")) for one in of["env"]}
    assert len(found) == len(of["env"])
    return found


@pytest.mark.parametrize("case", CASES)
def test_golden(case: str) -> None:
    name, kubernetes, target = CASES[case]
    text = dump(emitted(name, kubernetes, target).values())
    path = GOLDEN / f"{case}.yaml"
    if os.environ.get("PROVISION_UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text(), "PROVISION_UPDATE_GOLDEN=1 writes it anew"


@pytest.mark.parametrize("case", CASES)
def test_clusters_old_and_new_take_every_object(case: str) -> None:
    manifests.validate(manifests.load((GOLDEN / f"{case}.yaml").read_text()))


@pytest.mark.parametrize("case", [case for case in CASES if not case.startswith("kserve")])  # which it knows nothing of
def test_checkov_finds_nothing(case: str) -> None:
    assert manifests.checkov((GOLDEN / f"{case}.yaml").read_text(), *EXCEPTIONS.get(case, ())) == []


# Onyx


def test_onyx_finds_both_servers_under_the_names_it_expects() -> None:
    made = emitted("onyx")
    assert made["ConfigMap/onyx-model-servers"]["data"] == {
        "MODEL_SERVER_HOST": "inference-model-server",
        "MODEL_SERVER_PORT": "9000",
        "INDEXING_MODEL_SERVER_HOST": "indexing-model-server",
        "INDEXING_MODEL_SERVER_PORT": "9000",
    }
    for name in ("inference-model-server", "indexing-model-server"):
        service, server = made[f"Service/{name}"]["spec"], made[f"Deployment/{name}"]
        labels = server["spec"]["template"]["metadata"]["labels"]
        assert service["selector"].items() <= labels.items()
        (port,) = service["ports"]
        (listening,) = container(server)["ports"]
        assert (port["port"], port["targetPort"], listening["name"]) == (9000, listening["name"], port["name"])


def test_one_image_is_two_servers() -> None:
    made = emitted("onyx")
    one, other = (container(made[f"Deployment/{name}-model-server"]) for name in ("inference", "indexing"))
    assert one["image"] == other["image"] and one["command"] == other["command"]
    assert env(other) == {"INDEXING_ONLY": "True"} | env(one)
    assert "INDEXING_ONLY" not in env(one)
    assert one["resources"] == {
        "requests": {"cpu": "500m", "memory": "2Gi"},
        "limits": {"cpu": "2", "memory": "4Gi"},
    }
    assert other["resources"] == {"requests": {"cpu": "1", "memory": "2Gi"}, "limits": {"cpu": "4", "memory": "8Gi"}}


def test_one_key_of_the_resources_leaves_the_others() -> None:
    made = emitted("onyx", {"onyx": {"indexing": {"resources": {"memory_limit": "16Gi"}}}})
    found = container(made["Deployment/indexing-model-server"])["resources"]
    assert found == {"requests": {"cpu": "1", "memory": "2Gi"}, "limits": {"cpu": "4", "memory": "16Gi"}}


def test_another_port_is_the_port_everywhere() -> None:
    made = emitted("onyx", {"onyx": {"port": 8123}})
    one = container(made["Deployment/inference-model-server"])
    assert one["command"][-1] == env(one)["MODEL_SERVER_PORT"] == "8123"
    assert one["livenessProbe"]["httpGet"]["port"] == one["ports"][0]["containerPort"] == 8123
    assert made["ConfigMap/onyx-model-servers"]["data"]["INDEXING_MODEL_SERVER_PORT"] == "8123"


def test_the_cache_is_named_where_the_release_is_and_nothing_else_looks_for_it() -> None:
    one = container(emitted("onyx")["Deployment/inference-model-server"])
    seen = env(one)
    release = next(m for m in one["volumeMounts"] if m["name"] == "models")
    assert release["readOnly"] and release["subPath"] == f"releases/{facts('onyx').release}"
    assert seen["HF_HUB_CACHE"] == seen["SENTENCE_TRANSFORMERS_HOME"] == f"{release['mountPath']}/hub"
    assert not seen["HF_HOME"].startswith(release["mountPath"])
    # The image's own cache and logs are hidden: it would move files into a read-only one, and fail.
    hidden = {m["mountPath"] for m in one["volumeMounts"] if m["name"] == "scratch"}
    assert {"/app/.cache", "/root", "/var/log", "/var/log/onyx"} <= hidden


def test_without_many_readers_each_server_has_its_claim_and_lets_it_go_before_the_next() -> None:
    made = emitted("onyx", target=RWO)
    for name in ("inference", "indexing"):
        server = made[f"Deployment/{name}-model-server"]
        (claim,) = (v["persistentVolumeClaim"] for v in pod(server)["volumes"] if "persistentVolumeClaim" in v)
        assert claim == {"claimName": name, "readOnly": True}
        assert server["spec"]["strategy"] == {"type": "Recreate"}


@pytest.mark.parametrize(
    ("kubernetes", "target"),
    [
        ({}, {"kind": "rwo", "claims": ["only"]}),
        ({"onyx": {"inference": {"replicas": 2}}}, RWO),
        ({"onyx": {"inference": {"name": "indexing-model-server"}}}, RWX),
    ],
    ids=["too few claims", "replicas on one node", "one name"],
)
def test_onyx_refuses_what_cannot_run(kubernetes: dict[str, Any], target: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput) as refused:
        emitted("onyx", kubernetes, target)
    assert refused.value.hint


def test_replicas_are_spread_and_drained_one_at_a_time() -> None:
    made = emitted("onyx", {"onyx": {"inference": {"replicas": 3}}})
    server = made["Deployment/inference-model-server"]
    (spread,) = pod(server)["topologySpreadConstraints"]
    assert spread["labelSelector"] == server["spec"]["selector"]
    budget = made["PodDisruptionBudget/inference-model-server"]["spec"]
    assert budget == {"maxUnavailable": 1, "selector": server["spec"]["selector"]}
    assert "PodDisruptionBudget/indexing-model-server" not in made


def test_a_lock_with_nothing_for_a_server_is_refused_with_what_to_lock() -> None:
    settings = read({"qwiser": {"image": "q:1"}, "ray": {"image": "r:1"}}, {"pvc": RWX})
    flat = document(LOCKS["kserve"][0])
    nothing = Facts.of(flat.lock, flat.text, flat.digest)
    for emitter, preset in ((onyx, "onyx"), (qwiser, "qwiser"), (ray, "rag8s")):
        with pytest.raises(InvalidInput) as refused:
            emitter.objects(settings, settings.target("pvc"), nothing)
        assert f"--preset {preset}" in refused.value.hint


# How all are confined


@pytest.mark.parametrize("case", [case for case in CASES if case != "kserve-vllm-openshift"])
def test_pods_pass_restricted_pod_security(case: str) -> None:
    pods = list(pods_of(emitted(*CASES[case]).values()))
    assert pods
    for spec in pods:
        assert spec["securityContext"]["runAsNonRoot"] and spec["securityContext"]["runAsUser"] == 10001
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["enableServiceLinks"] is False
        for one in spec.get("containers", [spec.get("model")]):
            assert one["securityContext"]["readOnlyRootFilesystem"]
            assert one["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert env(one)["HF_HUB_OFFLINE"] == "1"


def pods_of(made: Any) -> Any:
    for one in made:
        if one["kind"] == "InferenceService":
            yield one["spec"]["predictor"]
        elif one["kind"] == "RayService":
            cluster = one["spec"]["rayClusterConfig"]
            yield cluster["headGroupSpec"]["template"]["spec"]
            yield from (group["template"]["spec"] for group in cluster["workerGroupSpecs"])
        elif one["kind"] == "Deployment":
            yield pod(one)


def test_an_image_that_needs_root_can_have_it_alone() -> None:
    made = emitted("onyx", {"onyx": {"user": 0, "read_only_root": False}})
    server = made["Deployment/inference-model-server"]
    assert pod(server)["securityContext"]["runAsUser"] == 0
    assert pod(server)["securityContext"]["runAsNonRoot"] is False
    assert container(server)["securityContext"]["readOnlyRootFilesystem"] is False
    assert container(server)["securityContext"]["capabilities"] == {"drop": ["ALL"]}


@pytest.mark.parametrize("name", EMITTERS)
def test_a_secret_in_the_open_is_refused(name: str) -> None:
    with pytest.raises(InvalidDocument) as refused:
        emitted(name, {name: {"image": "a:1", "env": {"API_KEY": "hf_THISISSECRET"}}})
    assert "hf_THISISSECRET" not in f"{refused.value} {refused.value.hint}"


@pytest.mark.parametrize("path", ["/models", "/models/hub", "/scratch", "/srv/a"])
def test_a_writable_folder_cannot_stand_where_something_else_does(path: str) -> None:
    with pytest.raises(InvalidDocument, match="writable"):
        emitted("onyx", {"onyx": {"writable": ["/srv/a", path]}})


def test_a_key_of_a_secret_takes_the_place_of_a_variable() -> None:
    table = {"image": "q:1", "secrets": {"HF_HOME": "elsewhere/home", "QUEUE": "q/url"}}
    found = env(container(emitted("qwiser", {"qwiser": table})["Deployment/embeddings-worker-msgs"]))
    assert found["HF_HOME"] == {"secretKeyRef": {"name": "elsewhere", "key": "home"}}
    assert found["QUEUE"] == {"secretKeyRef": {"name": "q", "key": "url"}}


@pytest.mark.parametrize(("name", "table"), [("onyx", {"user": 1001}), ("qwiser", {"image": "q:1"})])
def test_a_pod_may_wait_for_its_release(name: str, table: dict[str, Any]) -> None:
    settings = read({name: table, "image": "ours:1"}, {"pvc": RWX})
    made = EMITTERS[name].objects(settings, settings.target("pvc"), facts(name), wait=600)
    servers = [one for one in made if one["kind"] == "Deployment"]
    assert servers
    for server in servers:
        (waiting,) = pod(server)["initContainers"]
        assert waiting["image"] == "ours:1"
        assert waiting["args"][-1] == "600" and facts(name).release in waiting["args"]
        volumes = {one["name"] for one in pod(server)["volumes"]}
        assert {one["name"] for one in waiting["volumeMounts"]} <= volumes
        assert all(one["readOnly"] for one in waiting["volumeMounts"] if one["name"] == "models")
    manifests.validate(made)
    assert "initContainers" not in json.dumps(list(emitted(name, {name: table}).values()))


# QWiser


def test_qwiser_sees_the_models_where_it_expects_them() -> None:
    one = container(emitted("qwiser", {"qwiser": {"image": "q:1"}})["Deployment/embeddings-worker-msgs"])
    seen = env(one)
    assert next(m["mountPath"] for m in one["volumeMounts"] if m["name"] == "models") == "/mnt/models"
    assert seen["FASTEMBED_CACHE_PATH"] == "/mnt/models/fastembed"
    assert seen["SENTENCE_TRANSFORMERS_HOME"] == "/mnt/models/sentence_transformers"
    assert "livenessProbe" not in one and "ports" not in one
    assert "nvidia.com/gpu" not in json.dumps(one["resources"])


def test_gpus_are_requested_as_they_are_limited() -> None:
    made = emitted("qwiser", {"qwiser": {"image": "q:1", "gpus": 2}})
    found = container(made["Deployment/embeddings-worker-msgs"])["resources"]
    assert found["requests"]["nvidia.com/gpu"] == found["limits"]["nvidia.com/gpu"] == "2"


def test_a_worker_that_answers_http_has_a_service_and_probes() -> None:
    table = {"image": "q:1", "port": 8080, "health": "/healthz", "workers": ["embeddings-worker-msgs", "docs"]}
    made = emitted("qwiser", {"qwiser": table})
    for name in table["workers"]:
        one = container(made[f"Deployment/{name}"])
        assert one["readinessProbe"]["httpGet"] == one["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": 8080}
        assert made[f"Service/{name}"]["spec"]["ports"][0]["port"] == 8080


@pytest.mark.parametrize("name", ["qwiser", "ray"])
def test_an_image_that_only_the_site_knows_has_to_be_given(name: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        emitted(name)
    assert "--image" in refused.value.hint


# KServe


def test_kserve_reads_the_flat_folder_of_the_claim_and_copies_nothing() -> None:
    (service,) = emitted("kserve").values()
    marks, predictor = service["metadata"]["annotations"], service["spec"]["predictor"]
    release = facts("kserve").release
    uri = f"pvc://models/releases/{release}/models/Mistral-Small-24B-Instruct-2501"
    assert predictor["model"]["storageUri"] == uri
    assert predictor["model"]["modelFormat"] == {"name": "huggingface"} and "runtime" not in predictor["model"]
    assert marks["serving.kserve.io/deploymentMode"] == "RawDeployment"
    assert marks["storage.kserve.io/readonly"] == "true"
    assert service["metadata"]["name"] == "mistral-small-24b-instruct-2501"
    seen = env(predictor["model"])
    assert "HF_HUB_CACHE" not in seen  # nothing of a Hub cache is mounted
    mounted = {m["mountPath"] for m in predictor["model"]["volumeMounts"]}
    assert {"/dev/shm", "/scratch"} <= mounted
    for name in ("HOME", "TMPDIR", "HF_HOME", "VLLM_CACHE_ROOT", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"):
        assert seen[name].startswith("/scratch")


def test_tensors_are_spread_over_the_gpus() -> None:
    (service,) = emitted("kserve", {"kserve": {"gpus": 4, "args": ["--max-model-len=8192"]}}).values()
    model = service["spec"]["predictor"]["model"]
    assert model["args"] == ["--tensor-parallel-size=4", "--max-model-len=8192"]
    assert model["resources"]["limits"]["nvidia.com/gpu"] == "4"
    (shm,) = (v["emptyDir"] for v in service["spec"]["predictor"]["volumes"] if v["name"] == "devshm")
    assert shm == {"medium": "Memory", "sizeLimit": "4Gi"}


def test_an_image_of_vllm_brings_its_runtime() -> None:
    made = emitted("kserve", {"kserve": {"image": "vllm/vllm-openai:v1", "name": "mistral"}})
    model = made["InferenceService/mistral"]["spec"]["predictor"]["model"]
    runtime = made["ServingRuntime/mistral"]["spec"]
    assert model["runtime"] == "mistral"
    assert [one["name"] for one in runtime["supportedModelFormats"]] == [model["modelFormat"]["name"]]
    assert "--model=/mnt/models" in runtime["containers"][0]["args"]


def test_kserve_serves_only_what_is_locked_flat() -> None:
    with pytest.raises(NotFound):
        emitted("kserve", {"kserve": {"model": "org/other"}})


# RAG8s


def cluster(kubernetes: dict[str, Any] | None = None) -> dict[str, Any]:
    table = {"image": "r:1"} | (kubernetes or {})
    made = emitted("ray", {"ray": table})
    return made[f"RayService/{table.get('name', 'rag8s-onnx')}"]["spec"]  # type: ignore[no-any-return]


def heads_and_workers(spec: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    config = spec["rayClusterConfig"]
    return config["headGroupSpec"]["template"], config["workerGroupSpecs"][0]["template"]


def test_serve_is_told_what_to_deploy() -> None:
    spec = cluster()
    config = yaml.safe_load(spec["serveConfigV2"])
    (application,) = config["applications"]
    assert application == {"name": "rag8s-onnx", "import_path": "rayserve_entrypoint:app", "route_prefix": "/"}
    assert spec["rayClusterConfig"]["rayVersion"] == "2.48.0"


def test_models_are_those_of_the_lock_and_threads_those_of_the_request() -> None:
    for template in heads_and_workers(cluster({"worker": {"cpu": "2500m"}})):
        (one,) = template["spec"]["containers"]
        seen = env(one)
        assert seen["MODEL_EMBEDDER_NAME"] == "Alibaba-NLP/gte-modernbert-base"
        assert seen["MODEL_RERANKER_NAME"] == "Alibaba-NLP/gte-reranker-modernbert-base"
        assert seen["EMBEDDER_OMP_NUM_THREADS"] == seen["RERANKER_OMP_NUM_THREADS"] == "3"
        paths = {entry.path for entry in tree(*LOCKS["ray"]).entries}
        for role in ("EMBEDDER", "RERANKER"):
            assert seen[f"{role}_ONNX_PATH"].removeprefix("/models/") in paths


def test_roles_that_the_names_do_not_tell_are_asked_for() -> None:
    settings = read({"ray": {"image": "r:1"}}, {"pvc": RWX})
    made = document(make("org/a", ONNX), make("org/b", ONNX), make("org/rerank", ONNX))
    several = Facts.of(made.lock, made.text, made.digest)
    with pytest.raises(UsageError) as refused:
        ray.objects(settings, settings.target("pvc"), several)
    assert "--embedder org/a | org/b" in refused.value.hint


def test_the_head_is_ready_without_the_application_which_it_has_to_be_told_first() -> None:
    head, worker = heads_and_workers(cluster())
    assert "readinessProbe" not in head["spec"]["containers"][0]
    probe = worker["spec"]["containers"][0]["readinessProbe"]["httpGet"]
    assert probe == {"path": "/healthz", "port": 8000}
    assert worker["spec"]["terminationGracePeriodSeconds"] == 120


def test_ray_keeps_its_files_where_its_autoscaler_looks() -> None:
    spec = cluster()
    for template in heads_and_workers(spec):
        (one,) = template["spec"]["containers"]
        assert env(one)["RAY_TMPDIR"] == "/tmp"
        assert {"name": "ray-logs", "mountPath": "/tmp/ray"} in one["volumeMounts"]
    autoscaler = spec["rayClusterConfig"]["autoscalerOptions"]
    assert env(autoscaler)["RAY_TMPDIR"] == "/tmp"
    assert autoscaler["securityContext"]["readOnlyRootFilesystem"]


def test_only_an_autoscaling_head_gets_rights() -> None:
    scaled = emitted("ray", {"ray": {"image": "r:1"}})
    head, worker = heads_and_workers(scaled["RayService/rag8s-onnx"]["spec"])
    assert head["spec"]["automountServiceAccountToken"] and not worker["spec"]["automountServiceAccountToken"]
    rules = scaled["Role/rag8s-onnx"]["rules"]
    assert {(r, v) for rule in rules for r in rule["resources"] for v in rule["verbs"]} == {
        *(("pods", verb) for verb in ("get", "list", "watch", "patch")),
        *(("rayclusters", verb) for verb in ("get", "patch")),
    }
    fixed = emitted("ray", {"ray": {"image": "r:1", "workers": 3, "max_workers": 3}})
    head, _ = heads_and_workers(fixed["RayService/rag8s-onnx"]["spec"])
    assert not head["spec"]["automountServiceAccountToken"]
    assert not [key for key in fixed if key.startswith("Role")]


def test_what_stands_around_ray_finds_its_pods() -> None:
    made = emitted("ray", {"ray": {"image": "r:1", "workers": 3}})
    head, worker = heads_and_workers(made["RayService/rag8s-onnx"]["spec"])
    ours = worker["metadata"]["labels"] | {"ray.io/node-type": "worker"}
    budget = made["PodDisruptionBudget/rag8s-onnx"]["spec"]
    assert budget["minAvailable"] == 2  # a RayCluster has no scale, so no maxUnavailable
    assert budget["selector"]["matchLabels"].items() <= ours.items()
    metrics = made["Service/rag8s-onnx-metrics"]
    for template in (head, worker):
        assert metrics["spec"]["selector"].items() <= template["metadata"]["labels"].items()
        assert template["metadata"]["annotations"]["prometheus.io/port"] == "8080"
        assert {"name": "metrics", "containerPort": 8080, "protocol": "TCP"} in template["spec"]["containers"][0][
            "ports"
        ]
    monitor = made["ServiceMonitor/rag8s-onnx"]["spec"]
    assert monitor["selector"]["matchLabels"].items() <= metrics["metadata"]["labels"].items()
    assert [one["port"] for one in monitor["endpoints"]] == [one["name"] for one in metrics["spec"]["ports"]]


def test_a_single_worker_may_be_drained() -> None:
    made = emitted("ray", {"ray": {"image": "r:1", "workers": 1, "max_workers": 1, "monitor": False}})
    assert not [key for key in made if key.startswith(("PodDisruptionBudget", "Service/", "ServiceMonitor"))]


def test_the_token_of_the_hub_is_a_reference_and_only_where_it_was_asked_for() -> None:
    for template in heads_and_workers(cluster({"hf_token": "rag8s-hf-token/hf_token"})):
        found = env(template["spec"]["containers"][0])["HF_TOKEN"]
        assert found == {"secretKeyRef": {"name": "rag8s-hf-token", "key": "hf_token"}}
    assert "HF_TOKEN" not in json.dumps(cluster())


def test_ray_wants_a_claim_for_many_nodes() -> None:
    with pytest.raises(InvalidInput):
        emitted("ray", {"ray": {"image": "r:1"}}, RWO)


# Compose


def composed(kubernetes: dict[str, Any] | None = None) -> dict[str, Any]:
    return compose.document(read(kubernetes or {}, {}), facts("onyx"))


def test_compose_runs_both_servers_from_one_read_only_release() -> None:
    found = composed({"compose": {"store": "/data/store"}})
    services = found["services"]
    assert sorted(services) == ["indexing_model_server", "inference_model_server"]
    for one in services.values():
        (bind,) = (v for v in one["volumes"] if v["type"] == "bind")
        assert bind["source"] == f"/data/store/releases/{facts('onyx').release}"
        assert bind["read_only"] and bind["bind"] == {"create_host_path": False}
        assert one["read_only"] and one["cap_drop"] == ["ALL"] and one["user"] == "10001:0"
        assert one["environment"]["HF_HUB_CACHE"] == f"{bind['target']}/hub"
        assert all(port["host_ip"] == "127.0.0.1" for port in one["ports"])
        assert "http://127.0.0.1:9000/api/health" in one["healthcheck"]["test"][-1]
    published = [one["ports"][0]["published"] for one in services.values()]
    assert len(set(published)) == 2
    assert found["x-api-server-environment"]["INDEXING_MODEL_SERVER_HOST"] in services


def test_compose_counts_as_compose_does() -> None:
    deploy = composed()["services"]["inference_model_server"]["deploy"]["resources"]
    assert deploy == {"reservations": {"memory": f"{2 << 30}b"}, "limits": {"cpus": "2", "memory": f"{4 << 30}b"}}


def test_what_torch_compiles_may_run_wherever_compose_lets_it_write() -> None:
    one = composed({"onyx": {"writable": ["/tmp"]}})["services"]["inference_model_server"]
    assert one["tmpfs"] == [f"/scratch:mode=1777,exec,size={1 << 30}", f"/tmp:mode=1777,exec,size={1 << 30}"]
    made, at = facts("onyx"), one["volumes"][0]["target"]
    ours = bind("/srv/models", folder(made), at, variables_at(made, at), made.release, 1 << 30).service
    assert ours["tmpfs"][0] == one["tmpfs"][0] and ours["volumes"] == one["volumes"]  # as `emit mount` writes them
    assert ours["environment"].items() <= one["environment"].items()


def test_compose_replaces_nothing_in_our_values() -> None:
    found = composed({"onyx": {"env": {"GREETING": "a $HOME"}, "args": ["--root-path=$x"]}})
    one = found["services"]["indexing_model_server"]
    assert one["environment"]["GREETING"] == "a $$HOME"
    assert one["command"][-1] == "--root-path=$$x"


def test_compose_joins_a_network_that_exists_and_may_publish_nothing() -> None:
    found = composed({"compose": {"network": "onyx_default", "bind": ""}})
    assert not any("ports" in one for one in found["services"].values())
    assert found["networks"] == {"default": {"name": "onyx_default", "external": True}}
    with pytest.raises(InvalidDocument):
        composed({"compose": {"bind": "localhost"}})


def test_a_strict_reader_of_compose_files_takes_it() -> None:
    """One that refuses unknown keys: https://pypi.org/project/compose-spec/."""
    if reason := kube_tools.cannot_check():
        pytest.skip(reason)
    reader = "import sys, compose_spec; compose_spec.PyCompose.from_yaml(sys.stdin.read()).validate()"
    for kubernetes in ({}, {"compose": {"network": "onyx_default"}, "onyx": {"env": {"A": "$b: c"}}}):
        command = [str(kube_tools.PYTHON), "-c", reader]
        done = subprocess.run(command, input=text(composed(kubernetes)), capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr


def test_compose_has_no_secrets_of_kubernetes() -> None:
    with pytest.raises(UsageError):
        composed({"onyx": {"secrets": {"SENTRY_DSN": "a/b"}}})


# The command


def test_the_command_prints_writes_and_takes_settings(tmp_path: Path) -> None:
    write(tmp_path, *LOCKS["onyx"])
    (tmp_path / "provision.toml").write_text(
        '[kubernetes]\nnamespace = "onyx"\n[targets.nas]\nkind = "claim"\nclaim = "x"\n'
    )
    printed = provision("emit", "server", "onyx", "--to", "nas", "--image", "ours:1", cwd=tmp_path)
    assert printed.code == 0, printed.err
    loaded = manifests.load(printed.out)
    servers = [one for one in loaded if one["kind"] == "Deployment"]
    assert {container(one)["image"] for one in servers} == {"ours:1"}
    assert {one["metadata"]["namespace"] for one in loaded} == {"onyx"}
    written = provision("emit", "server", "onyx", "--to", "nas", "--image", "ours:1", "-o", "out", cwd=tmp_path)
    assert written.code == 0, written.err
    applied = manifests.kustomize(tmp_path / "out")
    key = lambda one: (one["kind"], one["metadata"]["name"])  # noqa: E731
    assert sorted(applied, key=key) == sorted(loaded, key=key)


def test_flags_are_keys_of_the_deployments_table(tmp_path: Path) -> None:
    write(tmp_path, *LOCKS["ray"])
    given = ("--image", "r:1", "--hf-token", "s/k", "--set", "ray.workers=3")
    printed = provision("emit", "server", "ray", *given, "--json", cwd=tmp_path)
    assert printed.code == 0, printed.err
    (service,) = (one for one in json.loads(printed.out)["items"] if one["kind"] == "RayService")
    assert service["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]["replicas"] == 3
    wrong = provision("emit", "server", "ray", "--image", "r:1", "--hf-token", "nokey", cwd=tmp_path)
    assert wrong.code == 4 and "kubernetes.ray.hf_token" in wrong.err


def test_wait_is_an_option_where_pods_are_ours(tmp_path: Path) -> None:
    write(tmp_path, *LOCKS["onyx"])
    waiting, not_waiting = (
        provision("emit", "server", "onyx", *more, "--json", cwd=tmp_path) for more in (("--wait", "0"), ())
    )
    assert (waiting.code, not_waiting.code) == (0, 0), waiting.err + not_waiting.err
    assert waiting.out.count("wait-for-models") == 2 and "wait-for-models" not in not_waiting.out
    assert provision("emit", "server", "kserve", "--wait", "1", cwd=tmp_path).code == 2


def test_compose_is_a_file_and_the_variables_of_the_api_server(tmp_path: Path) -> None:
    write(tmp_path, *LOCKS["onyx"])
    done = provision("emit", "server", "compose", "--store", "/data/store", "-o", "out", cwd=tmp_path)
    assert done.code == 0, done.err
    printed = provision("emit", "server", "compose", "--store", "/data/store", cwd=tmp_path)
    assert (tmp_path / "out" / "compose.yaml").read_text() == printed.out
    lines = (tmp_path / "out" / "api-server.env").read_text().splitlines()
    assert dict(line.split("=", 1) for line in lines) == yaml.safe_load(printed.out)["x-api-server-environment"]


# The pages

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = {"onyx": "onyx", "qwiser": "qwiser", "kserve-vllm": "kserve", "rag8s-ray": "ray", "compose": "onyx"}


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_emits_can_be_emitted(page: str, tmp_path: Path) -> None:
    """Its settings and its `provision emit` commands, as they stand there."""
    text = (DOCS / f"deploy-{page}.md").read_text()
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    write(tmp_path, *(OURS if PAGES[page] == "onyx" else LOCKS[PAGES[page]]))
    (tmp_path / "provision.toml").write_text("".join(body for kind, body in blocks if kind == "toml"))
    lines = [line for kind, body in blocks if not kind for line in body.splitlines()]
    commands = [shlex.split(line, comments=True) for line in lines if line.startswith("provision emit ")]
    assert commands
    for one in commands:
        rest = one[1 : one.index("&&")] if "&&" in one else one[1:]
        done = provision(*rest, cwd=tmp_path)
        assert done.code == 0, (rest, done.err)
    for base in {path.parent for path in tmp_path.rglob("kustomization.yaml")}:
        manifests.validate(manifests.kustomize(base))
