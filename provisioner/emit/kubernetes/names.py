"""What Kubernetes accepts as a name, label, quantity or reference; each checked once, when it is made."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, ClassVar, Self

from msgspec import Meta

Port = Annotated[int, Meta(ge=1, le=65535)]
Text = Annotated[str, Meta(min_length=1, max_length=2048, pattern=r"^[^\x00-\x1f\x7f]+\Z")]

_LABEL = r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
_DNS_LABEL = re.compile(_LABEL)
_SUBDOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_VALUE = re.compile(r"(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_KEY_NAME = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_DATA_KEY = re.compile(r"[-._A-Za-z0-9]{1,253}")
_QUANTITY = re.compile(r"(?:0|[1-9][0-9]*)(?:\.[0-9]{1,3})?(?:m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?")
_ENV = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HOST_LABEL = r"[A-Za-z0-9](?:[-A-Za-z0-9]{0,61}[A-Za-z0-9])?"
_HOST = re.compile(rf"{_HOST_LABEL}(?:\.{_HOST_LABEL})*|[0-9A-Fa-f:.]{{2,45}}")
_HOST_NAME = re.compile(rf"(?:{_HOST_LABEL}\.)*(?![0-9]+\Z){_HOST_LABEL}")  # a last part of digits is an address's
_PATH = re.compile(r"(?:/[A-Za-z0-9_.@+-]+)+")
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_IMAGE = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]{1,5})?/)?"  # registry
    rf"{_COMPONENT}(?:/{_COMPONENT})*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?"
)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
# What https://github.com/robfig/cron, which Kubernetes reads schedules with, takes in each field.
_CRON_VALUES = (
    r"[0-5]?[0-9]",
    r"(?:[01]?[0-9]|2[0-3])",
    r"(?:0?[1-9]|[12][0-9]|3[01])",
    rf"(?:0?[1-9]|1[0-2]|(?i:{'|'.join(_MONTHS)}))",
    rf"(?:0?[0-6]|(?i:{'|'.join(_DAYS)}))",
)
_CRON_PARTS = [rf"(?:[*?]|{one}(?:-{one})?)(?:/[1-9][0-9]?)?" for one in _CRON_VALUES]
_CRON_FIELDS = " ".join(f"{part}(?:,{part})*" for part in _CRON_PARTS)
_CRON = re.compile(rf"{_CRON_FIELDS}|@(?:yearly|annually|monthly|weekly|daily|midnight|hourly)")
_CRON_NUMBERS = {name: n for names in (("", *_MONTHS), _DAYS) for n, name in enumerate(names)}


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


class Namespace(str):
    """The name of a namespace: a DNS label, nothing is appended to it. Raises ValueError for anything else."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        _check(_DNS_LABEL, text, 63, "a namespace (lower-case letters, digits and -, at most 63)")
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
    """`500m`, `2`, `4Gi`, or a number. Raises ValueError for anything else, exponents included."""

    __slots__ = ()
    takes_numbers: ClassVar[bool] = True  # for lockfile.schema.parsed

    def __new__(cls, given: str | float) -> Self:
        text = given if isinstance(given, str) else str(given).removesuffix(".0")
        _check(_QUANTITY, text, 32, "a quantity (such as 500m, 2 or 4Gi; at most three decimals)")
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
        if not _HOST_NAME.fullmatch(text):
            try:
                ipaddress.ip_address(text)
            except ValueError:
                raise ValueError("not a host name or an address") from None
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
        _check(_CRON, text, 200, "a schedule of cron (five fields, such as 17 3 * * 0)")
        for field in re.findall(r"\w+-\w+", text.lower()):
            first, last = (int(one) if one.isdigit() else _CRON_NUMBERS[one] for one in field.split("-"))
            if first > last:
                raise ValueError(f"not a schedule of cron: {field} ends before it begins")
        return super().__new__(cls, text)
