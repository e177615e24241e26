"""What Kubernetes accepts as a name, label, quantity or reference; each checked once, when it is made."""

from __future__ import annotations

import re
from typing import Self

_LABEL = r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
_DNS_LABEL = re.compile(_LABEL)
_SUBDOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_VALUE = re.compile(r"(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_KEY_NAME = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_DATA_KEY = re.compile(r"[-._A-Za-z0-9]{1,253}")
_QUANTITY = re.compile(r"(?:0|[1-9][0-9]*)(?:\.[0-9]{1,3})?(?:m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?")
_ENV = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HOST = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9.]{0,251}[A-Za-z0-9])?|[0-9A-Fa-f:]{2,39}")
_PATH = re.compile(r"(?:/[A-Za-z0-9_.@+-]+)+")
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_IMAGE = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]{1,5})?/)?"  # registry
    rf"{_COMPONENT}(?:/{_COMPONENT})*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?"
)
_CRON_FIELD = r"[0-9A-Za-z*/,?-]+"
_CRON = re.compile(rf"{_CRON_FIELD}(?: {_CRON_FIELD}){{4}}|@(?:yearly|annually|monthly|weekly|daily|midnight|hourly)")


def _check(pattern: re.Pattern[str], text: str, longest: int, what: str) -> None:
    if len(text) > longest or not pattern.fullmatch(text):
        raise ValueError(f"not {what}")


class Name(str):
    """A DNS label, as namespaces, services and claims of ours are called. Raises ValueError for anything else.

    At most 40 characters, since a release and a component are appended to some (63 is the limit).
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        _check(_DNS_LABEL, text, 40, "a name (lower-case letters, digits and -, at most 40)")
        return super().__new__(cls, text)


class Subdomain(str):
    """The name of an object that somebody else made: a DNS subdomain. Raises ValueError for anything else."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        _check(_SUBDOMAIN, text, 253, "a name (lower-case letters, digits, - and ., at most 253)")
        return super().__new__(cls, text)


class LabelKey(str):
    """`name` or `prefix/name`. Raises ValueError for anything else."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        prefix, slash, name = text.rpartition("/")
        if (slash and (len(prefix) > 253 or not _SUBDOMAIN.fullmatch(prefix))) or not _KEY_NAME.fullmatch(name):
            raise ValueError("not the key of a label or annotation (NAME or PREFIX/NAME)")
        return super().__new__(cls, text)


class LabelValue(str):
    """The value of a label, may be empty. Raises ValueError for anything else."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        _check(_VALUE, text, 63, "the value of a label (letters, digits, -, _ and ., at most 63)")
        return super().__new__(cls, text)


class Quantity(str):
    """`500m`, `2`, `4Gi`. Raises ValueError for anything else, exponents included."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        _check(_QUANTITY, text, 32, "a quantity (such as 500m, 2 or 4Gi)")
        return super().__new__(cls, text)


class EnvName(str):
    """The name of an environment variable. Raises ValueError for anything else."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        _check(_ENV, text, 253, "the name of an environment variable")
        return super().__new__(cls, text)


class KeyRef(str):
    """`OBJECT/KEY`: one key of a Secret or ConfigMap. Raises ValueError for anything else."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        owner, _, key = text.partition("/")
        if len(owner) > 253 or not _SUBDOMAIN.fullmatch(owner) or not _DATA_KEY.fullmatch(key) or key in (".", ".."):
            raise ValueError("not a reference (OBJECT/KEY)")
        return super().__new__(cls, text)

    @property
    def owner(self) -> str:
        """The Secret or ConfigMap."""
        return self.partition("/")[0]

    @property
    def key(self) -> str:
        """The key in it."""
        return self.partition("/")[2]


class Image(str):
    """A container image, best with its digest. Raises ValueError for anything else."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        _check(_IMAGE, text, 512, "an image (REGISTRY/NAME:TAG, or with @sha256:DIGEST)")
        return super().__new__(cls, text)


class Host(str):
    """A host name or an address. Raises ValueError for anything else."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        _check(_HOST, text, 253, "a host name or an address")
        return super().__new__(cls, text)


class AbsolutePath(str):
    """An absolute path in a container or of an export, without `..`. Raises ValueError for anything else."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        _check(_PATH, text, 1024, "an absolute path of letters, digits, ., _, @, + and -")
        if any(part in (".", "..") for part in text.split("/")):
            raise ValueError("a path with a '.' or '..' component")
        return super().__new__(cls, text)


class Schedule(str):
    """Five fields of cron, or @daily and its like. Raises ValueError for anything else."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        _check(_CRON, text, 200, "a schedule of cron (five fields)")
        return super().__new__(cls, text)
