"""Variables given for our server that would say otherwise than the objects around it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from provisioner.emit.kubernetes.names import EnvName, KeyRef
from provisioner.errors import InvalidDocument, Problem

# What each is part of beside the variable.
_HELD = {
    "DRAIN_DELAY": "the pod's time to end counts on it",
    "DRAIN_SECONDS": "serve.drain says it, and the pod's time to end counts on it",
    "GRPC_PORT": "serve.grpc_port says it, for pod and Service",
    "INDEXING_ONLY": "which server this is says it",
    "MODEL_SERVER_BIND": "probes and Services ask from outside of the pod",
    "MODEL_SERVER_PORT": "the key `port` says it, for probes and Services",
    "PROVISION_SERVE_AT": "the release is mounted there",
    "TASKS": "the models that are chosen say it",
    "VERIFY": "serve.verify says it, and the time to start counts on it",
}
_EVERYWHERE = ("::", "0.0.0.0")
_YES = ("true", "1", "yes", "on")


def refuse(
    table: str,
    emitted: Mapping[str, str],
    given: Mapping[EnvName, str],
    secrets: Mapping[EnvName, KeyRef],
    free: Iterable[str] = (),
) -> None:
    """Raises InvalidDocument where `given` or `secrets` say otherwise than `emitted`, but for the names in `free`."""
    found = tuple(_problems(emitted, given, secrets, frozenset(free)))
    if found:
        hint = "Leave the variable out, and change the key that says it."
        raise InvalidDocument(f"[kubernetes.{table}]", found, hint=hint)


def _problems(
    emitted: Mapping[str, str], given: Mapping[EnvName, str], secrets: Mapping[EnvName, KeyRef], free: frozenset[str]
) -> Iterator[Problem]:
    for name, why in _HELD.items():
        if name in free or (name == "TASKS" and name not in emitted):  # fewer tasks than models: nothing else changes
            continue
        key = EnvName(name)
        if key in given and _meaning(name, given[key]) != _meaning(name, emitted.get(name, "")):
            yield Problem(f"env.{name}", f"cannot be {given[key]!r} here: {why}")
        if key in secrets:
            yield Problem(f"secrets.{name}", f"cannot come from a Secret: {why}")


def _meaning(name: str, value: str) -> str | float | bool:
    """The same for what the server reads alike."""
    text = value.strip().lower()
    if name == "INDEXING_ONLY":
        return text in _YES
    if name == "MODEL_SERVER_BIND":
        return "" if text in _EVERYWHERE else text
    try:
        return float(text)
    except ValueError:
        return text
