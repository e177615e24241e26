"""The offline environment that points consumer libraries at a release."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from enum import StrEnum

from provisioner.layout import ROOTS
from provisioner.model import Layout, Lock

OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
    "ORT_DISABLE_TELEMETRY": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
}

# Which variables point at which layout; a later one is the more specific and wins.
_POINTERS = (
    (Layout.HUB, ("HF_HUB_CACHE", "SENTENCE_TRANSFORMERS_HOME", "FASTEMBED_CACHE_PATH")),
    (Layout.HUGGINGFACE, ("HF_HUB_CACHE",)),
    (Layout.FASTEMBED, ("FASTEMBED_CACHE_PATH",)),
    (Layout.SENTENCE_TRANSFORMERS, ("SENTENCE_TRANSFORMERS_HOME",)),
)
POINTERS = tuple(dict.fromkeys(name for _, names in _POINTERS for name in names))


class Form(StrEnum):
    """How the environment is written."""

    SHELL = "shell"
    DOTENV = "dotenv"
    JSON = "json"


def environment(lock: Lock, root: str, scratch: str | None) -> dict[str, str]:
    """Variables for a process that sees the release at `root` and may write to `scratch`.

    With a scratch folder HOME and TMPDIR move there too, as a pod with a read-only root file system needs.
    """
    layouts = {layout for model in lock.models for layout in model.layouts}
    result: dict[str, str] = {}
    for layout, names in _POINTERS:
        if layout in layouts:
            result |= dict.fromkeys(names, f"{root}/{ROOTS[layout]}")
    if scratch is not None:
        result |= {
            "HOME": scratch,
            "TMPDIR": scratch,
            "HF_HOME": f"{scratch}/hf",
            "HF_MODULES_CACHE": f"{scratch}/modules",
        }
    return result | OFFLINE


def write(variables: Mapping[str, str], form: Form) -> str:
    """The variables as `export` lines, as a dotenv file or as JSON."""
    if form is Form.JSON:
        return json.dumps(dict(variables), indent=1)
    if form is Form.DOTENV:
        return "\n".join(f"{name}={_dotenv(value)}" for name, value in variables.items())
    return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in variables.items())


def _dotenv(value: str) -> str:
    plain = all(character.isalnum() or character in "/._-:@+" for character in value)
    return value if plain else "'" + value.replace("'", "\\'") + "'"
