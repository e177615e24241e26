"""`[kubernetes.onyx]` and the tables of the other deployments."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from msgspec import Meta, Struct

from provisioner.emit.kubernetes.names import (
    AbsolutePath,
    EnvName,
    Image,
    KeyRef,
    Name,
    Port,
    Quantity,
    Subdomain,
    Text,
)
from provisioner.emit.kubernetes.resources import Resources
from provisioner.emit.kubernetes.servers.serve_settings import Repo, Version, Which

_User = Annotated[int, Meta(ge=0, le=2**31 - 1)]
_Count = Annotated[int, Meta(ge=1, le=1000)]
_Gpus = Annotated[int, Meta(ge=0, le=64)]
_Import = Annotated[str, Meta(max_length=200, pattern=r"^[A-Za-z_][\w.]*[:.][A-Za-z_]\w*\Z")]
_Format = Annotated[str, Meta(max_length=63, pattern=r"^[A-Za-z][-A-Za-z0-9_]*\Z")]


class ServiceName(Name):
    """A name that a Service takes too: it begins with a letter. Raises ValueError for anything else."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        name = super().__new__(cls, text)
        if not text[0].isalpha():
            raise ValueError("not the name of a Service, which begins with a letter")
        return name


class InferenceResources(Resources, frozen=True, forbid_unknown_fields=True):
    """What Onyx's inference server asks for. A class of its own, so that a table may give one key of it."""

    cpu: Quantity = Quantity("500m")
    memory: Quantity = Quantity("2Gi")
    cpu_limit: Quantity | None = Quantity("2")
    memory_limit: Quantity | None = Quantity("4Gi")


class IndexingResources(Resources, frozen=True, forbid_unknown_fields=True):
    """What Onyx's indexing server asks for."""

    memory: Quantity = Quantity("2Gi")
    cpu_limit: Quantity | None = Quantity("4")
    memory_limit: Quantity | None = Quantity("8Gi")


class EmbeddingResources(Resources, frozen=True, forbid_unknown_fields=True):
    """What a worker asks for that embeds on a GPU."""

    memory: Quantity = Quantity("4Gi")
    memory_limit: Quantity | None = Quantity("8Gi")


class LanguageResources(Resources, frozen=True, forbid_unknown_fields=True):
    """What a server of a large language model asks for beside its GPUs."""

    cpu: Quantity = Quantity("4")
    memory: Quantity = Quantity("16Gi")
    memory_limit: Quantity | None = Quantity("32Gi")


class HeadResources(Resources, frozen=True, forbid_unknown_fields=True):
    """What Ray's head asks for; it computes nothing, but its dashboard alone may need 2 GiB."""

    memory: Quantity = Quantity("4Gi")
    memory_limit: Quantity | None = Quantity("4Gi")


class WorkerResources(Resources, frozen=True, forbid_unknown_fields=True):
    """What a worker of Ray asks for."""

    cpu: Quantity = Quantity("4")
    memory: Quantity = Quantity("8Gi")
    memory_limit: Quantity | None = Quantity("8Gi")


class Program(Struct, frozen=True, forbid_unknown_fields=True):
    """What runs in a container of somebody else, and how it is confined.

    Attributes:
        image: None where only the site knows it.
        command, args: in the place of the image's own, unless empty.
        env: more variables, over ours.
        secrets: variables from Secrets, each one key: NAME = "secret/key".
        user: the uid, of the settings where it is None; 0 gives restricted Pod Security up.
        read_only_root: whether the root file system is read-only but for `writable`.
        writable: folders that are empty and writable at every start, hiding what the image has there.
    """

    image: Image | None = None
    command: tuple[Text, ...] = ()
    args: tuple[Text, ...] = ()
    env: dict[EnvName, str] = {}
    secrets: dict[EnvName, KeyRef] = {}
    user: _User | None = None
    read_only_root: bool = True
    writable: tuple[AbsolutePath, ...] = (AbsolutePath("/tmp"),)


class Member(Struct, frozen=True, forbid_unknown_fields=True):
    """One of Onyx's two servers.

    Attributes:
        name: of its Deployment, its Service and so its host.
        env: more variables, over those of both.
    """

    name: ServiceName
    resources: Resources
    replicas: _Count = 1
    env: dict[EnvName, str] = {}


class Inference(Member, frozen=True, forbid_unknown_fields=True):
    """`[kubernetes.onyx.inference]`: answers the queries of users."""

    name: ServiceName = ServiceName("inference-model-server")
    resources: InferenceResources = InferenceResources()


class Indexing(Member, frozen=True, forbid_unknown_fields=True):
    """`[kubernetes.onyx.indexing]`: embeds documents in bulk."""

    name: ServiceName = ServiceName("indexing-model-server")
    resources: IndexingResources = IndexingResources()


class OnyxSettings(Program, frozen=True, forbid_unknown_fields=True):
    """`[kubernetes.onyx]`: Onyx's inference and indexing model servers.

    Attributes:
        server: theirs; or provision, which is ours, run as [kubernetes.serve] says.
        command: uvicorn on `port` where it is empty.
        health: what the probes ask.
        config_map: hosts and ports for Onyx's API server and background workers.
        writable: the folders where some version of their image keeps its cache and opens its logs.
    """

    server: Which = "theirs"
    image: Image | None = Image("onyxdotapp/onyx-model-server:nightly-20241004")
    port: Port = 9000
    health: AbsolutePath = AbsolutePath("/api/health")
    config_map: Name = Name("onyx-model-servers")
    inference: Inference = Inference()
    indexing: Indexing = Indexing()
    writable: tuple[AbsolutePath, ...] = (
        AbsolutePath("/app/.cache"),
        AbsolutePath("/root"),
        AbsolutePath("/tmp"),
        AbsolutePath("/var/log"),
        AbsolutePath("/var/log/onyx"),
    )


class QwiserSettings(Program, frozen=True, forbid_unknown_fields=True):
    """`[kubernetes.qwiser]`: QWiser's embeddings workers.

    Attributes:
        server: theirs; or provision, which is ours, run as [kubernetes.serve] says.
        workers: one Deployment each.
        path: where they expect the models.
        port: of a Service, which there is none of where it is None; ours has 9000 then.
        health: what the probes ask at the port; none where either is None.
        gpus: of NVIDIA, for each pod.
    """

    server: Which = "theirs"
    workers: Annotated[tuple[ServiceName, ...], Meta(min_length=1, max_length=16)] = (
        ServiceName("embeddings-worker-msgs"),
    )
    replicas: _Count = 1
    path: AbsolutePath = AbsolutePath("/mnt/models")
    port: Port | None = None
    health: AbsolutePath | None = None
    gpus: _Gpus = 0
    resources: EmbeddingResources = EmbeddingResources()


class KserveSettings(Program, frozen=True, forbid_unknown_fields=True):
    """`[kubernetes.kserve]`: a large language model under vLLM.

    Attributes:
        image: of vLLM, for a ServingRuntime that is emitted too; a runtime of the cluster where it is None.
        name: of the InferenceService; made from the model's where it is None.
        model: ORG/NAME or NAME of the lock; the only one in the layout flat where it is None.
        format: of the model, as the cluster's runtimes call it: huggingface, or vLLM.
        runtime: one of the cluster, by name, where there is no image; None lets KServe choose by the format.
        gpus: of NVIDIA, for each replica; the tensors are spread over them.
        shm: the limit of /dev/shm, through which the processes of several GPUs talk. It counts as memory.
        scratch_size: for compiled kernels.
        strategy: Recreate where there is no GPU to spare for a second replica during an update.
    """

    name: ServiceName | None = None
    model: Repo | None = None
    format: _Format = "huggingface"
    runtime: Subdomain | None = None
    replicas: _Count = 1
    gpus: _Gpus = 1
    resources: LanguageResources = LanguageResources()
    shm: Quantity = Quantity("4Gi")
    scratch_size: Quantity = Quantity("10Gi")
    strategy: Literal["RollingUpdate", "Recreate"] = "RollingUpdate"


class RaySettings(Program, frozen=True, forbid_unknown_fields=True):
    """`[kubernetes.ray]`: RAG8s' embedder and reranker on KubeRay.

    Attributes:
        server: theirs; or provision, which is ours, run as [kubernetes.serve] says.
        version: of Ray in the image.
        import_path: what Serve deploys from the image.
        embedder, reranker: ORG/NAME or NAME of the lock; told apart by their names where it is None.
        workers: pods, at least.
        max_workers: pods, at most; where that is more, Ray's autoscaler runs, with a token of the API server.
        hf_token: one key of a Secret; with offline models nobody needs it.
        health: what makes a worker ready, on the port of Serve.
        grace: seconds from SIGTERM to the end; with ours never less than serve.drain and 13 more.
        monitor: emits a ServiceMonitor, which needs the Prometheus operator's CRD.
        tmp_size: the limit of /tmp/ray, for logs and objects that do not fit into memory.
    """

    server: Which = "theirs"
    name: ServiceName = ServiceName("rag8s-onnx")
    version: Version = "2.48.0"
    import_path: _Import = "rayserve_entrypoint:app"
    embedder: Repo | None = None
    reranker: Repo | None = None
    workers: _Count = 2
    max_workers: _Count = 4
    head: HeadResources = HeadResources()
    worker: WorkerResources = WorkerResources()
    hf_token: KeyRef | None = None
    health: AbsolutePath = AbsolutePath("/healthz")
    grace: Annotated[int, Meta(ge=0, le=3600)] = 120
    monitor: bool = True
    tmp_size: Quantity = Quantity("10Gi")


class ComposeSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """`[kubernetes.compose]`: both Onyx servers without Kubernetes; what they run is in `[kubernetes.onyx]`.

    Attributes:
        store: the folder of the store on the host.
        bind: the host's address that the ports are published at; "" publishes none.
        inference_port, indexing_port: on the host.
        network: one that exists, such as that of Onyx's own project; None makes one.
    """

    store: AbsolutePath = AbsolutePath("/srv/models")
    bind: Annotated[str, Meta(pattern=r"^(?:[0-9A-Fa-f.:]{2,45})?\Z")] = "127.0.0.1"
    inference_port: Port = 9000
    indexing_port: Port = 9001
    network: Annotated[str, Meta(max_length=128, pattern=r"^[A-Za-z0-9][\w.-]*\Z")] | None = None
