"""The policies as shell text that a person reads and runs."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping

from provisioner.emit.access.policies import Document, Place

_END = "EOF"


def minio_commands(place: Place, alias: str, roles: Mapping[str, Document]) -> list[str]:
    """The `mc` commands, with each policy in the file `NAME.json`; `mc admin user add` asks for the secret key."""
    commands = []
    for role in roles:
        name, to = shlex.quote(place.name(role)), shlex.quote(alias)
        commands += [
            f"mc admin policy create {to} {name} {name}.json",
            f"mc admin user add {to} {name}",
            f"mc admin policy attach {to} {name} --user {name}",
        ]
    return commands


def s3_commands(place: Place, roles: Mapping[str, Document], bucket_policy: bool) -> list[str]:
    """The `aws` commands, with each policy in the file `NAME.json`."""
    commands = [
        f"aws iam create-policy --policy-name {(name := shlex.quote(place.name(role)))} "
        f"--policy-document file://{name}.json"
        for role in roles
    ]
    if bucket_policy:  # replaces the whole policy of the bucket, so only for a bucket without one
        commands.append(
            f"aws s3api put-bucket-policy --bucket {place.bucket} --policy file://{place.name('bucket-policy')}.json"
        )
    return commands


def script(place: Place, documents: Mapping[str, Document], commands: list[str], notes: list[str]) -> str:
    """Documents into files, then the commands; the notes as comments before them."""
    parts = [f"# {note}" for note in notes]
    for role, document in documents.items():
        parts += [f"cat > {shlex.quote(place.name(role))}.json <<'{_END}'", json.dumps(document, indent=1), _END]
    return "\n".join([*parts, *commands])


def secret_env(role: str, endpoint: str, access_key: str, secret_key: str) -> str:
    """The variables of one user, as `kubectl create secret generic --from-env-file` takes them."""
    lines = [f"MINIO_ENDPOINT={endpoint}", f"MINIO_ACCESS_KEY={access_key}", f"MINIO_SECRET_KEY={secret_key}"]
    return "\n".join([f"# {role}: shown once", *lines])
