"""The tables of docs/kubernetes.md: every key of `[kubernetes]` and `[targets.*]`, its default and what it means."""

from __future__ import annotations

import json
import re
from typing import Any

from msgspec import NODEFAULT, Struct, structs

from provisioner.emit.kubernetes.chart_values import plain
from provisioner.emit.kubernetes.resources import Resources
from provisioner.emit.kubernetes.servers import settings as servers
from provisioner.emit.kubernetes.servers.serve_settings import ServeSettings
from provisioner.emit.kubernetes.settings import JobSettings, Settings, VerifySettings
from provisioner.emit.kubernetes.targets import KINDS

BEGIN, END = "<!-- settings: written by `make manifests` -->\n", "<!-- end of settings -->\n"
# What a name alone says to those who know Kubernetes.
NOTES = {
    "pull_policy": "Always, IfNotPresent or Never.",
    "pull_secrets": "Secrets for the registry, by name.",
    "user": "The uid of our pods.",
    "group": "Their gid.",
    "fs_group": "The group of a writable volume's files, for the mirror Job alone.",
    "labels": "More labels, of objects and pods; ours cannot be changed.",
    "annotations": "More annotations of objects.",
    "node_selector": "Labels of the nodes that our pods may run on.",
    "tolerations": 'As the API has them: `[{key = "gpu", operator = "Exists"}]`.',
    "endpoint": "The Hub's address, where it is a mirror.",
    "resources": "See below.",
    "schedule": "Five fields of cron.",
    "mode": "What is compared: full reads every byte, recorded the store's digests, size the sizes.",
    "cpu": "Requested.",
    "memory": "Requested.",
    "cpu_limit": "None where it is empty.",
    "memory_limit": "None where it is empty.",
    "port": "Of the server.",
    "replicas": "Pods.",
    "name": "Of the objects.",
    "head": "Resources of Ray's head.",
    "worker": "Resources of each worker.",
    "server": "Host name or address of the NFS server.",
    "claim": "What the claim is called.",
    "claims": "What they are called.",
    "version": "Of NFS: 3, 4.1 or 4.2.",
    "account": "The storage account.",
    "share": "The file share.",
    "storage_class": "The cluster's default one where it is empty.",
    "size": "Of each volume; two releases of the lock and headroom where it is empty.",
}
TABLES: dict[str, type[Struct]] = {
    "[kubernetes]": Settings,
    "[kubernetes.job]": JobSettings,
    "[kubernetes.verify]": VerifySettings,
    "[kubernetes.serve]": ServeSettings,
    "[kubernetes.onyx]": servers.OnyxSettings,
    "[kubernetes.onyx.inference]": servers.Inference,
    "[kubernetes.onyx.indexing]": servers.Indexing,
    "[kubernetes.qwiser]": servers.QwiserSettings,
    "[kubernetes.kserve]": servers.KserveSettings,
    "[kubernetes.ray]": servers.RaySettings,
    "[kubernetes.compose]": servers.ComposeSettings,
    "resources, everywhere": Resources,
    **{f'[targets.NAME], kind = "{name}"': kind for name, kind in KINDS.items()},
}


def text() -> str:
    """All tables."""
    return "\n".join(f"### {title}\n\n{_table(kind)}" for title, kind in TABLES.items())


def placed(document: str) -> str:
    """The document with the tables between their marks."""
    before, _, rest = document.partition(BEGIN)
    return before + BEGIN + "\n" + text() + "\n" + END + rest.partition(END)[2]


def said(kind: type, key: str) -> str:
    """What the docstrings of a table say about a key under Attributes; "" for nothing."""
    return next((found for one in kind.__mro__ if (found := _said(one, key))), "")


def _said(kind: type, key: str) -> str:
    attributes = (kind.__dict__.get("__doc__") or "").partition("Attributes:")[2]
    for entry in re.split(r"\n {8}(?=\S)", attributes):
        names, colon, meaning = entry.partition(": ")
        if colon and key in names.strip().split(", "):
            sentence = " ".join(meaning.split()).replace("where it is None", "where it is empty")
            sentence = re.sub(r"\bNone\b", "empty", sentence)
            return sentence[:1].upper() + sentence[1:]
    return ""


def _table(kind: type[Struct]) -> str:
    rows = [_row(kind, field) for field in structs.fields(kind) if not _is_table(field)]
    return "\n".join(["| key | default | |", "|---|---|---|", *rows]) + "\n"


def _is_table(field: Any) -> bool:
    """Whether it has a table of its own here."""
    return field.name == "targets" or (isinstance(field.default, Struct) and not isinstance(field.default, Resources))


def _row(kind: type[Struct], field: Any) -> str:
    meaning = said(kind, field.name) or NOTES[field.name]
    return f"| `{field.name}` | {_default(field)} | {meaning.replace('|', chr(92) + '|')} |"


def _default(field: Any) -> str:
    if field.default is NODEFAULT and field.default_factory is NODEFAULT:
        return "required"
    value = field.default if field.default is not NODEFAULT else field.default_factory()
    if value is None:
        return ""
    if isinstance(value, Resources):
        return ", ".join(f"{key} {one}" for key, one in plain(value).items())
    found = plain(value)
    return f"`{found if isinstance(found, str) else json.dumps(found)}`"
