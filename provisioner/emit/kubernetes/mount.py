"""How a consumer's pod sees a release: read-only, with somewhere to write and the whole offline environment."""

from __future__ import annotations

from dataclasses import dataclass

from provisioner.emit.environment import POINTERS, environment
from provisioner.emit.kubernetes.facts import Facts
from provisioner.emit.kubernetes.jobs.waiting import wait_container
from provisioner.emit.kubernetes.names import AbsolutePath, Subdomain
from provisioner.emit.kubernetes.objects import (
    MODELS,
    RELEASE,
    SCRATCH,
    SCRATCH_PATH,
    Object,
    claim_volume,
    scratch_volume,
)
from provisioner.emit.kubernetes.settings import Settings
from provisioner.emit.kubernetes.targets import Separate, Target, readers
from provisioner.errors import NotFound, UsageError
from provisioner.layout import ROOTS
from provisioner.model import Layout


@dataclass(frozen=True, slots=True)
class Mount:
    """What a pod spec gets, in the API's own words.

    Attributes:
        volumes: of the pod.
        mounts: `volumeMounts` of the container.
        environment: variables of the container.
        init: init containers of the pod.
    """

    release: str
    volumes: tuple[Object, ...]
    mounts: tuple[Object, ...]
    environment: dict[str, str]
    init: tuple[Object, ...] = ()

    @property
    def annotations(self) -> dict[str, str]:
        """Of the pod template, so that another release is another pod."""
        return {RELEASE: self.release}


def mount(
    settings: Settings,
    facts: Facts,
    claim: str,
    path: str | None = None,
    *,
    model: str | None = None,
    wait: int | None = None,
) -> Mount:
    """A release of a claim at a path of the container, `mount_path` of the settings unless given.

    The release is named by its folder, so an update is a new folder and a restart, and readers of the old one keep it.
    With `model` only the flat folder of that model is there, and no variable points at a cache. With `wait` the pod
    waits so many seconds for the release.

    Raises UsageError for a path that cannot be, or a model that is not clear, NotFound for one that is not there.
    """
    at = checked_path(path or str(settings.mount_path))
    # The claim is read-only too: a kubelet makes the folder of a subPath that is missing, where it can write, and the
    # pod would start with an empty one:
    # https://github.com/kubernetes/kubernetes/blob/v1.34.0/pkg/kubelet/kubelet_pods.go (makeMounts)
    return Mount(
        facts.release,
        (claim_volume(MODELS, claim, read_only=True), scratch_volume(settings)),
        (
            {"name": MODELS, "mountPath": at, "subPath": folder(facts, model), "readOnly": True},
            {"name": SCRATCH, "mountPath": SCRATCH_PATH},
        ),
        variables_at(facts, at, model),
        () if wait is None else (wait_container(settings, claim, facts.release, wait),),
    )


def folder(facts: Facts, model: str | None = None) -> str:
    """The folder of a store that a consumer mounts: the release, or one flat model of it."""
    release = f"releases/{facts.release}"
    if model is None:
        return release
    return f"{release}/{ROOTS[Layout.FLAT]}/{facts.model(model, Layout.FLAT).repo.name}"


def variables_at(facts: Facts, path: str, model: str | None = None) -> dict[str, str]:
    """The environment of a consumer that sees the release, or one flat model of it, at a path."""
    every = environment(facts.lock, path, SCRATCH_PATH)
    return every if model is None else {name: value for name, value in every.items() if name not in POINTERS}


def reader(target: Target, name: str, claim: str | None = None) -> str:
    """The claim that a consumer mounts. Raises UsageError, NotFound."""
    there = readers(target)
    if claim is not None and isinstance(target, Separate) and claim not in there:
        raise NotFound(f"The target {name} has no claim {claim}.", hint=f"Choose: --claim {' | '.join(there)}")
    if claim is None and len(there) > 1:
        raise UsageError(f"The target {name} has several claims.", hint=f"Choose: --claim {' | '.join(there)}")
    try:
        return Subdomain(claim or there[0])
    except ValueError as wrong:
        raise UsageError(f"--claim {claim}: {wrong}.") from None


def checked_path(path: str) -> str:
    """The path, which neither covers nor is covered by the scratch folder. Raises UsageError."""
    try:
        at = str(AbsolutePath(path))
    except ValueError as wrong:
        raise UsageError(f"A mount path of {path}: {wrong}.") from None
    if is_below(at, SCRATCH_PATH) or is_below(SCRATCH_PATH, at):
        raise UsageError(f"A mount path of {path}: {SCRATCH_PATH} is used already.", hint="Give another --path.")
    return at


def is_below(path: str, top: str) -> bool:
    """Whether a path is another one or below it."""
    return f"{path.rstrip('/')}/".startswith(f"{top.rstrip('/')}/")
