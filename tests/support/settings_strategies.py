"""Whatever provision.toml may say: strategies made from the types that check it, so that no key is forgotten."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from msgspec import inspect

from provisioner.emit.kubernetes import names
from provisioner.emit.kubernetes.servers.settings import KserveSettings
from provisioner.emit.kubernetes.settings import Settings
from provisioner.emit.kubernetes.targets import Target
from tests.support.chart_schema import pattern_of

SERVERS = ("onyx", "qwiser", "kserve", "ray", "compose")
_QUANTITIES: tuple[str | float, ...] = ("500m", "1", "1.5", "512Mi", "4Gi", "10Gi", "100G", "1Ti", 2, 0, 0.25)
_IMAGES = ("one", "registry.example:5000/team/one:1.0", "ghcr.io/a/b@sha256:" + "0f" * 32)
_ALWAYS = (
    "image",
    "embedder",
    "reranker",
)  # only the site knows them, so a server without them is refused, but for KServe
_TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)
_ODD = st.sampled_from(
    ["yes", "on", "~", "null", "1e3", "0x1f", "12:30", "2026-01-01", "- a", "a: b", "#a", "$(HOME)", "{{a}}"]
)
_SOURCES = st.sampled_from(
    ["hub", "s3://bucket/models", "minio://minio.storage:9000/models", "azurefiles://account/share/models"]
)


def tables(*servers: str) -> SearchStrategy[tuple[dict[str, Any], dict[str, Any]]]:
    """`[kubernetes]` with the tables of these servers, and the one table of `[targets]`, which may be missing."""
    return st.tuples(kubernetes(*servers), st.one_of(st.just({}), target().map(lambda one: {"pvc": one})))


@cache
def kubernetes(*servers: str) -> SearchStrategy[dict[str, Any]]:
    """`[kubernetes]`; of the servers' tables only those that are named, which are always there."""
    info = inspect.type_info(Settings)
    fields = {field.encode_name: field.type for field in info.fields if field.encode_name not in ("targets", *SERVERS)}
    optional = {name: _strategy(kind, name) for name, kind in fields.items()}
    every = {field.encode_name: field.type for field in info.fields}
    return st.fixed_dictionaries({name: _strategy(every[name], name) for name in servers}, optional=optional)


@cache
def target() -> SearchStrategy[dict[str, Any]]:
    """A `[targets.NAME]` of any kind."""
    return _strategy(inspect.type_info(Target), "")


def _strategy(info: Any, name: str) -> SearchStrategy[Any]:
    if name in _BY_NAME:
        return _BY_NAME[name]
    if isinstance(info, inspect.Metadata):
        return _strategy(info.type, name)
    return _RULES[type(info)](info)


def _struct(info: inspect.StructType) -> SearchStrategy[dict[str, Any]]:
    fields = info.fields
    every = {field.encode_name: _strategy(field.type, field.encode_name) for field in fields}
    always = () if info.cls is KserveSettings else _ALWAYS
    must = {field.encode_name for field in fields if field.required or field.encode_name in always}
    tag = {info.tag_field: st.just(info.tag)} if info.tag_field else {}
    return st.fixed_dictionaries(
        tag | {key: every[key] for key in must}, optional={key: one for key, one in every.items() if key not in must}
    )


def _custom(info: inspect.CustomType) -> SearchStrategy[Any]:
    kind = info.cls
    if kind is names.Quantity:
        return st.sampled_from(_QUANTITIES)
    if kind is names.Schedule:
        return st.sampled_from(["17 3 * * 0", "@daily", "*/5 0-6 1,15 ? mon-FRI"])
    if kind is names.Host:
        return st.one_of(st.sampled_from(["nas", "nas.example"]), st.ip_addresses().map(str))
    if kind is names.Image:
        return st.sampled_from(_IMAGES)
    return (
        st.from_regex(re.compile(pattern_of(kind), re.ASCII), fullmatch=True)
        .map(lambda text: _short(text, kind))
        .filter(_is(kind))
    )


def _short(text: str, kind: type) -> str:
    """Names of a readable length: they are put together to longer ones, which have a limit."""
    text = text.rstrip("\n")
    return (
        text[:14].strip("-._") if issubclass(kind, names.Name) or kind in (names.Subdomain, names.Namespace) else text
    )


def _is(kind: type) -> Any:
    def check(text: str) -> bool:
        try:
            kind(text)
        except ValueError:
            return False
        return True

    return check


def _text(info: inspect.StrType) -> SearchStrategy[str]:
    plain = _TEXT | _ODD
    if info.pattern and "x00" not in info.pattern:
        plain = st.from_regex(re.compile(info.pattern, re.ASCII), fullmatch=True)
    return plain.filter(lambda text: (info.min_length or 0) <= len(text) <= (info.max_length or 64))


def _integer(info: inspect.IntType) -> SearchStrategy[int]:
    return st.integers(info.ge if info.ge is not None else 0, info.le if info.le is not None else 2**31 - 1)


def _array(info: inspect.VarTupleType) -> SearchStrategy[list[Any]]:
    return st.lists(_strategy(info.item_type, ""), min_size=info.min_length or 0, max_size=3, unique_by=repr)


def _map(info: inspect.DictType) -> SearchStrategy[dict[str, Any]]:
    return st.dictionaries(_strategy(info.key_type, ""), _strategy(info.value_type, ""), max_size=2)


_RULES: dict[type, Any] = {
    inspect.StructType: _struct,
    inspect.CustomType: _custom,
    inspect.StrType: _text,
    inspect.IntType: _integer,
    inspect.VarTupleType: _array,
    inspect.DictType: _map,
    inspect.LiteralType: lambda info: st.sampled_from(info.values),
    inspect.UnionType: lambda info: st.one_of([_strategy(one, "") for one in info.types if not _is_none(one)]),
    inspect.BoolType: lambda _: st.booleans(),
}
# What only a sentence can describe, in the forms that it has.
_BY_NAME: dict[str, SearchStrategy[Any]] = {
    "sources": st.lists(_SOURCES, min_size=1, max_size=3, unique=True),
    "endpoint": st.sampled_from(["https://hub.example", "http://10.0.0.1:8080"]),
    "https_proxy": st.sampled_from(["http://proxy:3128", "proxy.example:8080"]),
    "http_proxy": st.sampled_from(["http://proxy:3128", "https://proxy.example"]),
    "model": st.just("all-MiniLM-L6-v2"),
    "embedder": st.just("all-MiniLM-L6-v2"),
    "reranker": st.just("sentence-transformers/all-MiniLM-L6-v2"),
    "completions": st.sampled_from([1, 1, 1, 2, 11]),
}


def _is_none(info: Any) -> bool:
    return isinstance(info, inspect.NoneType)
