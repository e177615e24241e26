"""`--set KEY=VALUE` over the tables of provision.toml."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Sequence
from typing import Any

from provisioner.errors import UsageError


def describe(targets: dict[str, Any], name: str, table: dict[str, Any]) -> None:
    """Put a target into a copy of the tables: over the keys of one of its kind, in the place of any other."""
    before = targets.get(name)
    if isinstance(before, dict) and before.get("kind") == table.get("kind", before.get("kind")):
        table = before | table
    targets[name] = table


def override(kubernetes: dict[str, Any], targets: dict[str, Any], given: Iterable[str]) -> None:
    """Put `job.completions=4` or `targets.pvc.server=nfs` into copies of the tables that the caller owns.

    Raises UsageError for what is no KEY=VALUE; whether the key exists is for `settings.read` to say.
    """
    for one in given:
        key, equals, value = one.partition("=")
        parts = key.split(".")
        if not equals or not all(parts):
            raise UsageError(f"--set {one} is not KEY=VALUE.", hint="As in: --set job.completions=4")
        table, parts = (targets, parts[1:]) if parts[0] == "targets" and len(parts) > 1 else (kubernetes, parts)
        put(table, parts, _value(value))


def put(table: dict[str, Any], parts: Sequence[str], value: Any) -> None:
    """Set a key of a table of tables. Raises UsageError where something else stands in the way."""
    for part in parts[:-1]:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise UsageError(f"{'.'.join(parts)}: {part} is no table.", hint="docs/kubernetes.md lists the keys.")
    table[parts[-1]] = value


def _value(text: str) -> Any:
    """As TOML reads it, else the text itself: 4, true, ["hub"] and also nfs.example need no quotes."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
