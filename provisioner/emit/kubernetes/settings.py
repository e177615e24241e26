"""`[kubernetes]` and `[targets.*]` of provision.toml: what the emitted objects need beside the lock."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, convert, field

from provisioner import __version__
from provisioner.emit.kubernetes import exposed
from provisioner.emit.kubernetes.names import (
    AbsolutePath,
    EnvName,
    Image,
    KeyRef,
    LabelKey,
    LabelValue,
    Name,
    Namespace,
    Port,
    Quantity,
    Schedule,
    Subdomain,
    Text,
)
from provisioner.emit.kubernetes.resources import Resources as Resources
from provisioner.emit.kubernetes.resources import above_limits
from provisioner.emit.kubernetes.servers.serve_settings import ServeSettings
from provisioner.emit.kubernetes.servers.settings import (
    ComposeSettings,
    KserveSettings,
    OnyxSettings,
    QwiserSettings,
    RaySettings,
)
from provisioner.emit.kubernetes.targets import Claim, Target, target_problems
from provisioner.emit.kubernetes.tolerations import Toleration, contradictions
from provisioner.errors import InvalidDocument, NotFound, Problem
from provisioner.lockfile.schema import parsed, problems

_Uid = Annotated[int, Meta(ge=1, le=2**31 - 1)]
_Gid = Annotated[int, Meta(ge=0, le=2**31 - 1)]


class JobSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """`[kubernetes.job]`: the mirror Job.

    Attributes:
        sources: where bytes come from, in this order.
        env: plain variables of the Job, such as MINIO_SECURE or AWS_ENDPOINT_URL.
        secrets: variables from Secrets, each one key: HF_TOKEN = "hf-token/token".
        https_proxy, http_proxy, no_proxy: for the Job only.
        ca: a ConfigMap with the private CA's certificates, OBJECT/KEY.
        lock_path: where the image has the lock, instead of a ConfigMap.
        completions: pods that share the lock's bytes; more than 1 needs a volume that many nodes can write.
        deadline: seconds; computed from the size where it is None.
        ttl: seconds a finished Job stays.
        verify: what is read again once the release is there.
        gitops: "ignore" tells controllers to leave the Job alone, "hook" runs it at every sync, "none" says nothing.
        retries: pods that may fail before the Job does, for each of its completions.
        network_policy: lets the Job's pods reach only DNS and the ports of their sources; those of verify nothing.
        egress_ports: further ports for the Job's pods, such as a Service's targetPort.
    """

    sources: Annotated[tuple[Text, ...], Meta(min_length=1)] = ("hub",)
    endpoint: Text | None = None
    env: dict[EnvName, str] = {}
    secrets: dict[EnvName, KeyRef] = {}
    https_proxy: Text | None = None
    http_proxy: Text | None = None
    no_proxy: Text | None = None
    ca: KeyRef | None = None
    lock_path: AbsolutePath | None = None
    completions: Annotated[int, Meta(ge=1, le=1000)] = 1
    deadline: Annotated[int, Meta(ge=60)] | None = None
    ttl: Annotated[int, Meta(ge=0)] = 86400
    verify: Literal["recorded", "full"] = "recorded"
    gitops: Literal["ignore", "hook", "none"] = "ignore"
    retries: Annotated[int, Meta(ge=0, le=100)] = 6
    resources: Resources = Resources()
    network_policy: bool = True
    egress_ports: tuple[Port, ...] = ()


class VerifySettings(Struct, frozen=True, forbid_unknown_fields=True):
    """`[kubernetes.verify]`: the CronJob that reads every byte at rest again.

    Attributes:
        deadline: seconds; computed from the size where it is None.
    """

    schedule: Schedule = Schedule("17 3 * * 0")
    mode: Literal["full", "recorded", "size"] = "full"
    deadline: Annotated[int, Meta(ge=60)] | None = None
    resources: Resources = Resources()


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """`[kubernetes]`.

    Attributes:
        name: what the objects are called; another name is another installation in one namespace.
        namespace: None leaves it to `kubectl -n`.
        image: of the Job and everything else that runs `provision`.
        service_account: one that exists; None uses the namespace's default one, its token not mounted.
        openshift: leaves uids and groups to the namespace's security context constraints.
        mount_path: where consumers see a release.
        scratch_size: the limit of the emptyDir for HOME, TMPDIR and remote code.
        targets: `[targets.*]`, the volumes that `--to NAME` means.
    """

    name: Name = Name("models")
    namespace: Namespace | None = None
    image: Image = Image(f"model-provisioner:{__version__}")
    pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    pull_secrets: tuple[Subdomain, ...] = ()
    service_account: Subdomain | None = None
    openshift: bool = False
    user: _Uid = 10001
    group: _Gid = 0
    fs_group: _Gid = 10001
    labels: dict[LabelKey, LabelValue] = {}
    annotations: dict[LabelKey, str] = {}
    node_selector: dict[LabelKey, LabelValue] = {}
    tolerations: tuple[Toleration, ...] = ()
    mount_path: AbsolutePath = AbsolutePath("/models")
    scratch_size: Quantity = Quantity("1Gi")
    job: JobSettings = JobSettings()
    verify: VerifySettings = VerifySettings()
    serve: ServeSettings = ServeSettings()
    onyx: OnyxSettings = OnyxSettings()
    qwiser: QwiserSettings = QwiserSettings()
    kserve: KserveSettings = KserveSettings()
    ray: RaySettings = RaySettings()
    compose: ComposeSettings = ComposeSettings()
    targets: dict[str, Target] = field(default_factory=dict)

    def target(self, name: str) -> Target:
        """The volume that `--to NAME` means; `pvc` is a claim called like the installation unless it is described.

        Raises NotFound.
        """
        if (found := self.targets.get(name)) is not None:
            return found
        if name == "pvc":
            return Claim(claim=Subdomain(self.name))
        there = ", ".join(sorted({*self.targets, "pvc"}))
        raise NotFound(f"There is no target {name}.", hint=f"There are: {there}. Describe it as [targets.{name}].")


def read(kubernetes: Any, targets: Any, name: str = "provision.toml") -> Settings:
    """The tables as values. Raises InvalidDocument with every problem and its place."""
    wrong = list(problems(kubernetes, Settings, "kubernetes"))
    if isinstance(kubernetes, dict) and "targets" in kubernetes:
        wrong.append(Problem("kubernetes.targets", "stands at the top: [targets.NAME]"))
    if isinstance(targets, dict):
        wrong += _misnamed(targets) + target_problems(targets)
    else:
        wrong.append(Problem("targets", "not a table"))
    if not wrong:
        settings = convert(kubernetes | {"targets": targets}, Settings, dec_hook=parsed)
        wrong += _contradictions(settings)
    if wrong:
        raise InvalidDocument(name, tuple(wrong), hint="docs/kubernetes.md lists the keys.")
    return settings


def _contradictions(settings: Settings) -> Iterator[Problem]:
    """What is wrong with keys that are each right."""
    yield from above_limits(settings, "kubernetes")
    for index, one in enumerate(settings.tolerations):
        yield from contradictions(one, f"kubernetes.tolerations[{index}]")
    yield from exposed.in_annotations(settings.annotations, "kubernetes.annotations")
    if settings.kserve.image and settings.kserve.runtime:
        yield Problem("kubernetes.kserve.runtime", "cannot be beside image, for which a runtime is made")


def _misnamed(targets: dict[str, Any]) -> list[Problem]:
    """Names that `--to` would take for a path or an address."""
    return [Problem(f"targets.{key}", wrong.message) for key in targets for wrong in problems(key, Name)]
