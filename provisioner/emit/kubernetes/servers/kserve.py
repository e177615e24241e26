"""A large language model under vLLM, as KServe's InferenceService.

KServe mounts `pvc://CLAIM/FOLDER` itself, at /mnt/models and read-only, with FOLDER as the subPath:
https://github.com/kserve/kserve/blob/v0.16.0/pkg/webhook/admission/pod/storage_initializer_injector.go
"""

from __future__ import annotations

import re

from msgspec.structs import replace

from provisioner.emit.kubernetes.facts import Facts
from provisioner.emit.kubernetes.mount import folder, variables_at
from provisioner.emit.kubernetes.objects import (
    RELEASE,
    SCRATCH,
    SCRATCH_PATH,
    Object,
    metadata,
    scratch_volume,
)
from provisioner.emit.kubernetes.servers import parts
from provisioner.emit.kubernetes.servers.settings import KserveSettings, ServiceName
from provisioner.emit.kubernetes.settings import Settings
from provisioner.emit.kubernetes.targets import Separate, Target
from provisioner.errors import InvalidInput
from provisioner.model import Layout, Model

MODEL_PATH = "/mnt/models"
PORT = 8080
SHM = "devshm"  # what KServe's own runtimes call it, so that both become one


def objects(settings: Settings, target: Target, facts: Facts) -> list[Object]:
    """An InferenceService, and with an image of vLLM the ServingRuntime that runs it.

    Raises NotFound and UsageError when the lock has no such model or several, InvalidInput for what cannot be.
    """
    kserve = settings.kserve
    parts.check(kserve, "kserve", (MODEL_PATH, SCRATCH_PATH, "/dev/shm"))
    model = facts.model(kserve.model, Layout.FLAT)
    name = kserve.name or _name(model)
    claim = parts.claims(target, 1)[0]
    shared = not isinstance(target, Separate)
    if not shared and kserve.replicas > 1:
        parts.require_shared(target, "Several replicas")
    service = _inference_service(settings, name, facts, model, claim, shared=shared)
    if kserve.image is None:
        return [service]
    service["spec"]["predictor"]["model"]["runtime"] = name
    return [_serving_runtime(settings, name), service]


def _name(model: Model) -> ServiceName:
    """`mistral-small-24b-instruct-2501` of the model's own name."""
    plain = re.sub(r"[^a-z0-9]+", "-", model.repo.name.lower()).strip("-")
    try:
        return ServiceName(plain[:40].rstrip("-"))
    except ValueError:
        raise InvalidInput(f"{plain} cannot be the name of an InferenceService.", hint="Give --service NAME.") from None


def _inference_service(
    settings: Settings, name: str, facts: Facts, model: Model, claim: str, *, shared: bool
) -> Object:
    kserve = settings.kserve
    marks = {
        # What KServe before 0.16 calls it; later ones read it as Standard.
        "serving.kserve.io/deploymentMode": "RawDeployment",
        "serving.kserve.io/enable-prometheus-scraping": "true",
        "storage.kserve.io/readonly": "true",
        RELEASE: facts.release,
    }
    predictor: Object = {
        "minReplicas": kserve.replicas,
        "maxReplicas": kserve.replicas,
        "deploymentStrategy": {"type": kserve.strategy if shared else "Recreate"},
        **parts.pod_spec(settings, kserve),
        "model": _model(settings, facts, model, claim),
        "volumes": [
            {"name": SHM, "emptyDir": {"medium": "Memory", "sizeLimit": str(kserve.shm)}},
            scratch_volume(replace(settings, scratch_size=kserve.scratch_size)),
        ],
    }
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": metadata(settings, name, name, annotations=marks),
        "spec": {"predictor": predictor},
    }


def _model(settings: Settings, facts: Facts, model: Model, claim: str) -> Object:
    kserve = settings.kserve
    result: Object = {
        "modelFormat": {"name": "vLLM" if kserve.image else kserve.format},
        "storageUri": f"pvc://{claim}/{folder(facts, model.repo)}",
    }
    if kserve.runtime:
        result["runtime"] = str(kserve.runtime)
    if kserve.command:
        result["command"] = list(kserve.command)
    return result | {
        "args": [f"--tensor-parallel-size={max(kserve.gpus, 1)}", *kserve.args],
        "env": parts.environment_of(kserve, _environment(facts, model)),
        "resources": parts.gpu_resources(kserve.resources, kserve.gpus),
        "securityContext": parts.security(kserve),
        "volumeMounts": _mounts(kserve),
    }


def _mounts(kserve: KserveSettings) -> list[Object]:
    shm: Object = {"name": SHM, "mountPath": "/dev/shm"}
    return [shm, {"name": SCRATCH, "mountPath": SCRATCH_PATH}, *parts.writable_mounts(kserve)]


def _environment(facts: Facts, model: Model) -> dict[str, str]:
    """Offline, and every cache of compiled kernels where it can be written.

    A user is named since the uid has no entry in the image's passwd, and torch asks for one.
    """
    return variables_at(facts, MODEL_PATH, model.repo) | {
        "USER": "models",
        "VLLM_CACHE_ROOT": f"{SCRATCH_PATH}/vllm",
        "VLLM_CONFIG_ROOT": f"{SCRATCH_PATH}/vllm",
        "TORCHINDUCTOR_CACHE_DIR": f"{SCRATCH_PATH}/inductor",
        "TRITON_CACHE_DIR": f"{SCRATCH_PATH}/triton",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
    }


def _serving_runtime(settings: Settings, name: str) -> Object:
    ready = {"httpGet": {"path": "/v1/models", "port": PORT}}
    one: Object = {
        "name": "kserve-container",
        "image": str(settings.kserve.image),
        "imagePullPolicy": settings.pull_policy,
        "command": ["python3", "-m", "vllm.entrypoints.openai.api_server"],
        "args": [f"--port={PORT}", f"--model={MODEL_PATH}", "--served-model-name={{.Name}}"],
        "ports": [{"containerPort": PORT, "protocol": "TCP"}],
        "startupProbe": ready | {"periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 360},
        "readinessProbe": ready | {"periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 3},
        "securityContext": parts.security(settings.kserve),
    }
    return {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "ServingRuntime",
        "metadata": metadata(settings, name, name),
        "spec": {
            "annotations": {"prometheus.kserve.io/port": str(PORT), "prometheus.kserve.io/path": "/metrics"},
            "multiModel": False,
            "supportedModelFormats": [{"name": "vLLM", "version": "1"}],
            "containers": [one],
        },
    }
