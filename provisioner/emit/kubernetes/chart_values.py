"""Values for the chart in manifests/chart, whose keys are those of provision.toml and a few facts of the lock."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, structs

from provisioner.emit.kubernetes.facts import Facts
from provisioner.emit.kubernetes.jobs import deadline
from provisioner.emit.kubernetes.jobs.environment import plain as plain_variables
from provisioner.emit.kubernetes.jobs.network import egress
from provisioner.emit.kubernetes.jobs.pods import ENVIRONMENT
from provisioner.emit.kubernetes.mount import variables_at
from provisioner.emit.kubernetes.quantities import gibibytes, room
from provisioner.emit.kubernetes.settings import Settings
from provisioner.emit.kubernetes.targets import Target

ABSENT = ("targets", "serve", "qwiser", "kserve", "ray", "compose")  # what the chart has no templates for
ABSENT_OF_JOB = ("endpoint", "https_proxy", "http_proxy", "no_proxy")  # are variables there
COMMON = (*ENVIRONMENT, "HF_HUB_DISABLE_TELEMETRY")  # the chart knows them


def values(settings: Settings, target: Target, facts: Facts) -> dict[str, Any]:
    """What differs from the chart's own values: settings, the target, the lock, and what is computed from it.

    Raises InvalidInput for a lock that is too large or an endpoint that is no URL, InvalidDocument for a secret in the
    open.
    """
    facts.require_small()
    chosen = {key: value for key, value in changes(settings, Settings()).items() if key not in ABSENT}
    return chosen | {
        "job": _job(settings, target, chosen.get("job", {})),
        "target": plain(target),
        "release": release(settings, facts),
        "lock": facts.text,
    }


def _job(settings: Settings, target: Target, chosen: dict[str, Any]) -> dict[str, Any]:
    """The Job's keys, its variables and ports computed from those that the chart does not have."""
    variables = plain_variables(settings.job, target)
    return {
        **{key: value for key, value in chosen.items() if key not in ABSENT_OF_JOB},
        "env": {name: value for name, value in variables.items() if name not in COMMON},
        "egress_ports": egress(settings.job, target, variables),
    }


def release(settings: Settings, facts: Facts) -> dict[str, Any]:
    """What a template cannot compute from the lock: seconds, sizes, and the environment of consumers."""
    return {
        "id": facts.release,
        "capacity": gibibytes(room(facts.size)),
        "mirror_deadline": deadline.seconds(facts.size, 2 if settings.job.verify == "full" else 1),
        "verify_deadline": deadline.seconds(facts.size, 1 if settings.verify.mode == "full" else 0),
        "environment": variables_at(facts, str(settings.mount_path)),
    }


def changes(table: Struct, usual: Struct) -> dict[str, Any]:
    """The keys that are not what they are by default, at every depth."""
    found: dict[str, Any] = {}
    for name, value in structs.asdict(table).items():
        default = getattr(usual, name)
        if isinstance(value, Struct) and type(value) is type(default):
            if inner := changes(value, default):
                found[name] = inner
        elif value != default:
            found[name] = plain(value)
    return found


def plain(value: Any) -> Any:
    """A value as YAML has it."""
    if isinstance(value, Struct):
        tag = {"kind": value.__struct_config__.tag} if value.__struct_config__.tag else {}
        return tag | {name: plain(one) for name, one in structs.asdict(value).items() if one is not None}
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return str(value) if isinstance(value, str) else value
