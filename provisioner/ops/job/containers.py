"""Trouble with a Job's containers: those that do not start and those that ended. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from provisioner.ops.job.objects import End, Object, disruption, held, main_container, name
from provisioner.ops.job.scene import Scene, Trouble, quoted, subject

_PULL = ("ErrImagePull", "ImagePullBackOff", "RegistryUnavailable", "ErrImageInspect", "ImageInspectError")
_CREATE = ("CreateContainerError", "RunContainerError", "StartError", "CreateContainerConfigError")


def not_starting(scene: Scene, pod: Object) -> Iterator[Trouble]:
    """Why a container of a placed pod does not start."""
    what = subject(pod)
    for container, reason, message in held(pod):
        image = str(container["image"])
        if reason in _PULL:
            yield _pull(scene, pod, image, message)
        elif reason == "InvalidImageName":
            own = container["name"] == main_container(pod)
            where = "setting kubernetes.image" if own else f"image of the container {container['name']}"
            sentence = f"The {where}, {image}, is no name of an image."
            yield Trouble("image-name", what, sentence, "Write it as REGISTRY/NAME@sha256:DIGEST.", fatal=4)
        elif reason == "ErrImageNeverPull":
            sentence = f"The image {image} is not on the node, and pull_policy Never forbids to get it."
            yield Trouble("image-missing", what, sentence, 'Set kubernetes.pull_policy = "IfNotPresent".', fatal=7)
        elif reason == "CreateContainerConfigError":
            yield _not_set_up(pod, container, message)
        elif reason in _CREATE:
            sentence = f"The container cannot be started ({reason}){quoted(message)}"
            yield Trouble("container", what, sentence, "Is it an image of model-provisioner?")


def _not_set_up(pod: Object, container: Object, message: str) -> Trouble:
    """The reason is one for all that may be wrong, so what the container asks for has to say which it can be."""
    named, user = _references(container), _user_hint(pod, container)
    user = user or "kubectl describe pod says more."
    if named:
        return Trouble(
            "missing-secret",
            subject(pod),
            f"The container is not set up, most often since a Secret, ConfigMap or key is missing{quoted(message)}",
            f"It names {', '.join(named)}. Make what is missing, the pod then starts by itself. {user}".strip(),
        )
    return Trouble(
        "container-config",
        subject(pod),
        f"The container {container['name']} cannot be set up{quoted(message)}",
        f"It needs no Secret and no ConfigMap, so look at its user. {user}",
    )


def _user_hint(pod: Object, container: Object) -> str:
    """What to set where the pod may not run as root and its user may be that."""
    context = (pod["spec"].get("securityContext") or {}) | (container.get("securityContext") or {})
    user = context.get("runAsUser")
    if not context.get("runAsNonRoot"):
        return ""
    whose = f"runAsUser is {user}" if user is not None else "without a runAsUser the image's USER counts, by its number"
    return f"It may not run as root (runAsNonRoot); {whose}: kubernetes.user sets it."


def _pull(scene: Scene, pod: Object, image: str, message: str) -> Trouble:
    secrets = [one.get("name", "?") for one in pod["spec"].get("imagePullSecrets") or []]
    with_ = f"with the pull secret {', '.join(secrets)}" if secrets else "without a pull secret"
    events = scene.about(pod, "Failed")
    why = message or (events[-1].get("message") if events else "")
    return Trouble(
        "image-pull",
        subject(pod),
        f"The image {image} cannot be pulled, {with_}{quoted(why)}",
        "Check its name and tag, that the registry is reached from the nodes, and kubernetes.pull_secrets. "
        "It is tried again.",
    )


def _references(container: Object) -> list[str]:
    """The Secrets and ConfigMaps that the container's environment needs, each with its key."""
    found = []
    for variable in container.get("env") or []:
        for kind, label in (("secretKeyRef", "Secret"), ("configMapKeyRef", "ConfigMap")):
            if (ref := (variable.get("valueFrom") or {}).get(kind)) and not ref.get("optional"):
                found.append(f"{label} {ref.get('name')} (key {ref.get('key')})")
    for whole in container.get("envFrom") or []:
        for kind, label in (("secretRef", "Secret"), ("configMapRef", "ConfigMap")):
            if (ref := whole.get(kind)) and not ref.get("optional"):
                found.append(f"{label} {ref.get('name')}")
    return list(dict.fromkeys(found))


def ended(scene: Scene, pod: Object) -> Trouble | None:
    """Why a pod that is done did not end well, and what to set."""
    if (gone := disruption(pod)) is not None:
        why = gone.get("reason") or "Evicted"
        return Trouble(
            "evicted",
            subject(pod),
            f"Pod {name(pod)} was taken away by the cluster ({why}){quoted(gone.get('message'))}",
            "What it had verified stays on the volume; the next pod goes on from there.",
        )
    end = End.of(pod)
    if end is None or end.exit_code == 0:
        return None
    if end.reason == "OOMKilled":
        return _memory(pod)
    said = end.summary.get("error")
    message = f"Pod {name(pod)} ended with exit code {end.exit_code}{quoted(said)}"
    return Trouble(f"exit-{end.exit_code}", subject(pod), message, advice(scene, pod, end))


def _memory(pod: Object) -> Trouble:
    limit = (pod["spec"]["containers"][0].get("resources") or {}).get("limits", {}).get("memory", "none")
    return Trouble(
        "out-of-memory",
        subject(pod),
        f"Pod {name(pod)} was killed for memory: its limit is {limit}.",
        "Set kubernetes.job.resources.memory_limit higher; pages not yet written to NFS count too. "
        "Running it again continues.",
    )


def advice(scene: Scene, pod: Object, end: End) -> str:
    """What to do about an exit code of ours, in a pod."""
    own = str(end.summary.get("hint") or "")
    if end.exit_code == 8:
        return f"{own} {identity(scene, pod)}".strip()
    if end.exit_code == 5:
        reach = "Does a NetworkPolicy, a proxy or DNS keep the pod from it? kubectl get networkpolicy shows them."
        return f"{own} {reach}".strip()
    if end.exit_code == 6:
        named = ", ".join(_references(pod["spec"]["containers"][0])) or "none are set"
        return f"{own} In the pod credentials come from kubernetes.job.secrets: {named}.".strip()
    if 3 <= end.exit_code <= 7:
        return own
    return own or f"Its log: provision job logs; kubectl logs {name(pod)} -c {main_container(pod)}."


def identity(scene: Scene, pod: Object) -> str:
    """Who the pod was on the volume, and which setting changes it."""
    context = pod["spec"].get("securityContext") or {}
    words = (("uid", "runAsUser"), ("group", "runAsGroup"), ("fsGroup", "fsGroup"))
    who = ", ".join(f"{word} {context[key]}" for word, key in words if key in context)
    ranges = _openshift(scene)
    if ranges:
        first = ranges.partition("/")[0].partition(",")[0]
        return (
            f"If it is about permissions: the pod ran as {who or 'the uid that OpenShift chose'}, and the "
            f"namespace's groups are {ranges}: make the volume's folder writable for group {first}."
        )
    return (
        f"If it is about permissions: the pod ran as {who or 'the uid of the image'}; set kubernetes.fs_group to the "
        "group that owns the volume's folder. On NFS and SMB fsGroup does nothing: there set kubernetes.user and group "
        "to the owner, or the mount's uid and gid."
    )


def _openshift(scene: Scene) -> str:
    annotations = (scene.namespace.get("metadata") or {}).get("annotations") or {}
    return str(annotations.get("openshift.io/sa.scc.supplemental-groups", ""))
