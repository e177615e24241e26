"""values.schema.json of the chart, from the types that check provision.toml: one set of rules for both."""

from __future__ import annotations

import re
import textwrap
from typing import Any

from msgspec import NODEFAULT, Struct, inspect, structs

from provisioner.emit.kubernetes import exposed, names, places
from provisioner.emit.kubernetes.chart_values import ABSENT, ABSENT_OF_JOB, plain, values
from provisioner.emit.kubernetes.facts import Facts
from provisioner.emit.kubernetes.names import Subdomain
from provisioner.emit.kubernetes.servers.settings import ServiceName
from provisioner.emit.kubernetes.settings import Settings
from provisioner.emit.kubernetes.targets import Claim, Target
from provisioner.emit.yaml import dump
from tests.support import settings_reference
from tests.support.settings_reference import said

# The patterns that each checked text has in provisioner/emit/kubernetes/names.py.
PATTERNS = {
    ServiceName: (re.compile("[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?"), 40),
    names.Name: (names._DNS_LABEL, 40),
    names.Namespace: (names._DNS_LABEL, 63),
    names.Subdomain: (names._SUBDOMAIN, 253),
    names.LabelValue: (names._VALUE, 63),
    names.Quantity: (names._QUANTITY, 32),
    names.EnvName: (names._ENV, 253),
    names.Image: (names._IMAGE, 512),
    names.Host: (names._HOST, 253),
    names.AbsolutePath: (names._PATH, 1024),
    names.Schedule: (names._CRON, 200),
}
ENVIRONMENT = {"type": "object", "additionalProperties": {"type": "string"}}
_SECONDS = {"type": "integer", "minimum": 1}
FACTS: dict[str, Any] = {
    "parts": {
        "type": "object",
        "properties": {key: {"type": "boolean"} for key in ("volume", "mirror", "verify", "onyx")},
        "additionalProperties": False,
    },
    "lock": {"type": "string", "minLength": 1},
    "release": {
        "type": "object",
        "properties": {
            "id": {"type": "string", "pattern": "^[0-9a-f]{12}$"},
            "capacity": {"type": "string", "pattern": "^[1-9][0-9]*Gi$"},
            "mirror_deadline": _SECONDS,
            "verify_deadline": _SECONDS,
            "environment": ENVIRONMENT,
        },
        "required": ["id", "capacity", "mirror_deadline", "verify_deadline", "environment"],
        "additionalProperties": False,
    },
}
NOTES = {
    "job": "[kubernetes.job]: the mirror Job.",
    "verify": "[kubernetes.verify]: the CronJob that reads every byte at rest again.",
    "onyx": "[kubernetes.onyx]: Onyx's inference and indexing model servers.",
    "job.env": "Plain variables; the endpoint and proxies of provision.toml are here too.",
    "job.egress_ports": "The TCP ports that the Job's pods reach; `provision emit chart-values` computes them.",
    "parts": "What is rendered. The volume of a target of the kind claim is nothing: the claim exists.",
    "target": "[targets.NAME]: kind is claim, nfs, azure-files, storage-class, rwo or s3; other keys are the kind's.",
    "release": "Computed from the lock by `provision emit chart-values`; a template cannot.",
    "lock": "models.lock.",
}
TEXTS = {  # what Go's regular expressions, which have no lookahead, can say of the others
    places.Account: "^[a-z0-9]{3,24}$",
    places.BucketAddress: "^(?:s3://|minio://[A-Za-z0-9.:-]+/)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](?:/[A-Za-z0-9_.@+=-]+)*/?$",
    places.Export: rf"^(?:/|{names._PATH.pattern})$",
    places.Folder: "^[A-Za-z0-9_.@+=-]+(?:/[A-Za-z0-9_.@+=-]+)*$",
    places.MountOption: f"^{places._OPTION.pattern}$",
    places.Share: "^[a-z0-9]+(?:-[a-z0-9]+)*$",
    places.Url: "^https?://[A-Za-z0-9.:-]+$",
    names.KeyRef: rf"^{names._SUBDOMAIN.pattern}/{names._DATA_KEY.pattern}$",
    names.LabelKey: rf"^(?:{names._SUBDOMAIN.pattern}/)?{names._KEY_NAME.pattern}$",
}


def schema(kind: Any) -> dict[str, Any]:
    """The JSON schema of a type: unknown keys refused, every text and number bounded as msgspec bounds it."""
    return _schema(inspect.type_info(kind))


def chart() -> dict[str, Any]:
    """The schema of the chart's values."""
    whole = schema(Settings)
    keys = {name: one for name, one in whole["properties"].items() if name not in ABSENT}
    job = keys["job"]["properties"]
    onyx = keys["onyx"]["properties"]
    for one in (job, onyx, onyx["inference"]["properties"], onyx["indexing"]["properties"]):
        refuse_secrets(one["env"])
    for name in ABSENT_OF_JOB:
        del job[name]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **whole,
        "properties": {**keys, **FACTS, "target": target(), "global": {"type": "object"}},
        "required": ["target", "release", "lock"],
    }


def target() -> dict[str, Any]:
    """The schema of a target: by its kind, so that a message is about that kind and not about all."""
    kinds = schema(Target)["oneOf"]
    (exists,) = (one for one in kinds if one["properties"]["kind"]["const"] == "claim")
    exists["required"] = ["kind"]
    names = [one["properties"]["kind"] for one in kinds]
    chosen = [{"if": {"properties": {"kind": name}}, "then": one} for name, one in zip(names, kinds, strict=True)]
    head = {"type": "object", "properties": {"kind": {"enum": [name["const"] for name in names]}}, "required": ["kind"]}
    return head | {"allOf": chosen}


def refuse_secrets(env: dict[str, Any]) -> None:
    """What the emitter refuses in a table `env` by its name, refused in the chart too."""
    switches = "|".join(exposed.SWITCHES)
    env["patternProperties"] = {f"(?i)^(?:{exposed.SECRET.pattern})$": {"pattern": f"(?i)^(?:{switches})$"}}


def default_values(facts: Facts) -> dict[str, Any]:
    """values.yaml: the defaults of provision.toml, a claim that exists, and a lock."""
    own = {name: value for name, value in defaults(Settings).items() if name not in ABSENT}
    made = values(Settings(), Claim(Subdomain("models")), facts)
    return own | {
        "job": {key: value for key, value in (own["job"] | made["job"]).items() if key not in ABSENT_OF_JOB},
        "parts": {"volume": True, "mirror": True, "verify": True, "onyx": False},
        "target": {"kind": "claim"},
        "release": made["release"],
        "lock": made["lock"],
    }


def values_text(facts: Facts) -> str:
    """values.yaml with what the settings say about each key."""
    data = default_values(facts)
    kinds = {"": Settings, **{name: type(getattr(Settings(), name)) for name in ("job", "verify", "onyx")}}
    lines = [
        "# The keys of provision.toml; docs/kubernetes.md explains them. `provision emit chart-values` prints yours."
    ]
    for key, value in data.items():
        lines += ["", *_comment(kinds[""], key, key)]
        if key in kinds and value:
            lines.append(f"{key}:")
            for name, one in value.items():
                lines += [f"  {line}" for line in (*_comment(kinds[key], name, f"{key}.{name}"), *_lines({name: one}))]
        else:
            lines += _lines({key: value})
    return "\n".join(lines) + "\n"


def defaults(kind: type[Struct]) -> dict[str, Any]:
    """What a table is when nothing is given, None included."""
    return {
        field.name: _whole(field.default if field.default is not NODEFAULT else field.default_factory())
        for field in structs.fields(kind)
    }


def _whole(value: Any) -> Any:
    return (
        {name: _whole(one) for name, one in structs.asdict(value).items()}
        if isinstance(value, Struct)
        else plain(value)
    )


def _lines(value: dict[str, Any]) -> list[str]:
    return dump([value]).rstrip("\n").split("\n")


def _comment(kind: type, key: str, place: str) -> list[str]:
    text = NOTES.get(place) or said(kind, key) or (settings_reference.NOTES.get(key, "") if key != "resources" else "")
    return textwrap.wrap(text, 110, initial_indent="# ", subsequent_indent="# ") if text else []


def _schema(info: inspect.Type) -> dict[str, Any]:
    if isinstance(info, inspect.Metadata):
        return _schema(info.type)
    return _RULES[type(info)](info)


def _struct(info: inspect.StructType) -> dict[str, Any]:
    tag = {info.tag_field: {"const": info.tag}} if info.tag_field else {}
    required = [field.encode_name for field in info.fields if field.required]
    result: dict[str, Any] = {
        "type": "object",
        "properties": tag | {field.encode_name: _schema(field.type) for field in info.fields},
        "additionalProperties": False,
    }
    return result | ({"required": [*tag, *required]} if tag or required else {})


def pattern_of(kind: type) -> str:
    """A regular expression that most texts of a checked kind match; the kind itself may refuse more."""
    return TEXTS[kind] if kind in TEXTS else f"^(?:{PATTERNS[kind][0].pattern})$"


def _custom(info: inspect.CustomType) -> dict[str, Any]:
    longest = {} if info.cls in TEXTS else {"maxLength": PATTERNS[info.cls][1]}
    numbers = {"type": ["string", "number"], "minimum": 0} if getattr(info.cls, "takes_numbers", False) else {}
    return {"type": "string", "pattern": pattern_of(info.cls)} | longest | numbers


def _text(info: inspect.StrType) -> dict[str, Any]:
    pattern = info.pattern and info.pattern.replace(r"\Z", "$")
    bounds = {"pattern": pattern, "minLength": info.min_length, "maxLength": info.max_length}
    return {"type": "string"} | {key: value for key, value in bounds.items() if value is not None}


def _integer(info: inspect.IntType) -> dict[str, Any]:
    bounds = {"minimum": info.ge, "maximum": info.le}
    return {"type": "integer"} | {key: value for key, value in bounds.items() if value is not None}


def _array(info: inspect.VarTupleType) -> dict[str, Any]:
    bounds = {"minItems": info.min_length, "maxItems": info.max_length}
    return {"type": "array", "items": _schema(info.item_type)} | {k: v for k, v in bounds.items() if v is not None}


def _map(info: inspect.DictType) -> dict[str, Any]:
    keys = _schema(info.key_type)
    named = {} if keys == {"type": "string"} else {"propertyNames": keys}
    return {"type": "object", "additionalProperties": _schema(info.value_type)} | named


_RULES: dict[type, Any] = {
    inspect.StructType: _struct,
    inspect.CustomType: _custom,
    inspect.StrType: _text,
    inspect.IntType: _integer,
    inspect.VarTupleType: _array,
    inspect.DictType: _map,
    inspect.LiteralType: lambda info: {"enum": list(info.values)},
    inspect.UnionType: lambda info: {"oneOf": [_schema(one) for one in info.types]},
    inspect.BoolType: lambda _: {"type": "boolean"},
    inspect.NoneType: lambda _: {"type": "null"},
    inspect.AnyType: lambda _: {},
}
