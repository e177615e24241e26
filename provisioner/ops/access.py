"""Policies and users on a MinIO server, brought to what they should be."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from provisioner.emit.access.policies import Document, Place, same
from provisioner.errors import UsageError
from provisioner.stores.minio_admin import MinioServer

_SECRET_BYTES = 20  # 40 hex digits, as long as MinIO's own, and without a character that a shell would read


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was looked at, and changed or not.

    Attributes:
        role: whose it is.
        what: `policy`, `user` or `attachment`.
        change: `created`, `updated`, `rotated` or `unchanged`.
        secret_key: of a user that was created or rotated; known nowhere else, and in no repr.
        others: policies that the user has beside ours.
    """

    role: str
    what: str
    name: str
    change: str
    secret_key: str | None = field(default=None, repr=False)
    others: tuple[str, ...] = ()


def apply(server: MinioServer, place: Place, policies: Mapping[str, Document], rotate: bool = False) -> Iterator[Step]:
    """Bring policies and users to what they should be, each step yielded as soon as it is done.

    A new secret key is yielded before anything else can fail, since the server never tells it again.
    Raises AccessDenied, Unavailable, NotFound where no MinIO answers, UsageError for a user that is disabled.
    """
    for role, document in policies.items():
        yield _policy(server, role, place.name(role), document)
    for role in policies:
        yield _user(server, role, place.name(role), rotate)
        yield _attachment(server, role, place.name(role))


def _policy(server: MinioServer, role: str, name: str, document: Document) -> Step:
    found = server.policy(name)
    if found is not None and same(found, document):
        return Step(role, "policy", name, "unchanged")
    server.set_policy(name, document)
    return Step(role, "policy", name, "created" if found is None else "updated")


def _user(server: MinioServer, role: str, name: str, rotate: bool) -> Step:
    found = server.user(name)
    if found and not rotate:
        return Step(role, "user", name, "unchanged")
    if found and not found.enabled:  # a new secret key would enable it
        raise UsageError(
            f"The user {name} is disabled, and a new secret key would enable it.",
            hint=f"If that is meant, enable it first: mc admin user enable ALIAS {name}",
        )
    secret = secrets.token_hex(_SECRET_BYTES)
    server.set_user(name, secret)
    return Step(role, "user", name, "rotated" if found else "created", secret)


def _attachment(server: MinioServer, role: str, name: str) -> Step:
    found = server.user(name)
    there = found.policies if found else ()
    if name not in there:
        server.attach(name, name)
    others = tuple(policy for policy in there if policy != name)
    return Step(role, "attachment", name, "unchanged" if name in there else "created", others=others)
