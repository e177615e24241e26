"""The chart in manifests/chart renders what `provision emit` writes, and takes the same settings.

`make manifests` writes its values.yaml and values.schema.json again.
"""

from __future__ import annotations

import copy
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML

from provisioner import __version__, lockfile
from provisioner.emit.kubernetes import chart_values
from provisioner.emit.kubernetes.facts import Facts
from provisioner.emit.kubernetes.jobs import mirror as job
from provisioner.emit.kubernetes.jobs import verify
from provisioner.emit.kubernetes.servers import onyx
from provisioner.emit.kubernetes.settings import Settings, read
from provisioner.emit.kubernetes.targets import Claim, Mountpoint
from provisioner.emit.kubernetes.volumes import objects as volumes
from provisioner.emit.yaml import dump
from provisioner.ops.documents import LockDocument
from tests.support import chart_schema, manifests

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "manifests" / "chart"
UPDATE = os.environ.get("PROVISION_UPDATE_GOLDEN") == "1"
SCHEMA, VALUES = CHART / "values.schema.json", CHART / "values.yaml"


def facts() -> Facts:
    text = (ROOT / "models.lock").read_bytes()
    document = LockDocument(lockfile.parse(text), text)
    return Facts.of(document.lock, document.text, document.digest)


@pytest.fixture(scope="module", autouse=True)
def updated() -> None:
    if UPDATE:
        SCHEMA.write_text(schema_text())
        VALUES.write_text(chart_schema.values_text(facts()))


def schema_text() -> str:
    return json.dumps(chart_schema.chart(), indent=1) + "\n"


def test_values_and_schema_are_those_of_the_settings() -> None:
    assert SCHEMA.read_text() == schema_text(), "make manifests"
    assert VALUES.read_text() == chart_schema.values_text(facts()), "make manifests"
    assert YAML(typ="safe").load(VALUES) == chart_schema.default_values(facts())


def test_versions() -> None:
    found = YAML(typ="safe").load(CHART / "Chart.yaml")
    assert (found["version"], found["appVersion"]) == (__version__, __version__)


def test_lint() -> None:
    assert "0 chart(s) failed" in manifests.helm("lint", "--strict", str(CHART))


# provision.toml's tables, each rendered both ways.
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "defaults": ({}, {}),
    "named": (
        {
            "name": "search",
            "namespace": "prod",
            "image": "registry.example:5000/team/provision:1@sha256:" + "0" * 64,
            "pull_policy": "Always",
            "pull_secrets": ["one", "two"],
            "service_account": "reader",
            "labels": {"team": "search", "example.com/tier": "1", "app.kubernetes.io/name": "mine"},
            "annotations": {"example.com/note": 'a "quoted" $(TEXT): with # and {{ braces }}'},
            "node_selector": {"disk": "fast", "numbered": "1"},
            "tolerations": [
                {"key": "gpu", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 1001130000},
                {"key": "team", "value": "search"},
            ],
            "user": 1001130000,
            "group": 1001130001,
            "fs_group": 1001130002,
            "scratch_size": "4Gi",
        },
        {},
    ),
    "openshift": ({"openshift": True}, {"kind": "rwo", "claims": ["one", "two", "three"], "storage_class": "gp3"}),
    "job": (
        {
            "job": {
                "sources": ["minio://minio.storage:9000/models/llm", "s3://bucket/$(HOME)", "hub"],
                "endpoint": "https://hub.example:8443",
                "env": {"MINIO_SECURE": "false", "TEXT": "$(HOME) yes: 'no'"},
                "secrets": {"HF_TOKEN": "hf-token/token", "MINIO_SECRET_KEY": "minio/secret.key"},
                "https_proxy": "http://proxy:3128",
                "ca": "corporate-ca/bundle.pem",
                "completions": 4,
                "retries": 2,
                "deadline": 1_000_000_000,
                "ttl": 60,
                "verify": "full",
                "gitops": "hook",
                "resources": {"cpu": 2, "memory": "1Gi", "cpu_limit": 4.5, "memory_limit": "2Gi"},
                "egress_ports": [9000, 8080],
            },
            "verify": {"schedule": "@daily", "mode": "recorded", "deadline": 600},
        },
        {"kind": "claim", "claim": "theirs", "readers": "theirs-ro"},
    ),
    "lock in the image": ({"job": {"lock_path": "/opt/models.lock", "network_policy": False, "gitops": "none"}}, {}),
    "no limits": ({"job": {"resources": {"memory": "1Gi"}, "no_proxy": ".corp", "http_proxy": "http://p:1"}}, {}),
    "nfs": ({"namespace": "prod"}, {"kind": "nfs", "server": "nas.example", "path": "/export/models"}),
    "nfs, one claim": (
        {},
        {"kind": "nfs", "server": "10.0.0.1", "path": "/", "claim": "one", "readers": "one", "size": "100Gi"}
        | {"version": "3", "nconnect": 1, "options": ["sec=krb5p", "noresvport"]},
    ),
    "azure": ({"namespace": "prod"}, {"kind": "azure-files", "account": "store", "share": "models"}),
    "azure, all": (
        {"openshift": True},
        {"kind": "azure-files", "account": "store", "share": "models", "folder": "a/b", "resource_group": "prod-rg"}
        | {"server": "store.privatelink.example", "secret": "key", "secret_namespace": "kube-system"}
        | {"claim": "ml", "readers": "ml-ro", "options": ["vers=3.1.1"]},
    ),
    "storage class": ({}, {"kind": "storage-class"}),
    "storage class, named": ({}, {"kind": "storage-class", "storage_class": "cephfs", "claim": "c", "size": "1Ti"}),
    "rwo": ({}, {"kind": "rwo"}),
    "aws": ({}, {"kind": "s3", "address": "s3://bucket"}),
    "aws, all": (
        {},
        {"kind": "s3", "address": "s3://bucket/a/b/", "region": "eu-central-1", "path_style": True, "size": "9Gi"}
        | {"authentication": "pod"},
    ),
    "minio": ({"namespace": "prod"}, {"kind": "s3", "address": "minio://minio.storage:9000/models/llm"}),
    "minio over http": (
        {"openshift": True, "job": {"env": {"MINIO_SECURE": "false"}}},
        {"kind": "s3", "address": "minio://m:9000/models", "endpoint": "http://m:9000", "path_style": False},
    ),
}


# The same for the servers of [kubernetes.onyx], which are off unless `parts.onyx` says otherwise.
ONYX: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "defaults": ({}, {}),
    "two claims": ({"namespace": "onyx"}, {"kind": "rwo"}),
    "openshift": ({"openshift": True, "onyx": {"user": 0}}, {"kind": "nfs", "server": "nas", "path": "/models"}),
    "all": (
        {
            "mount_path": "/app/.cache/huggingface",
            "onyx": {
                "image": "registry.example/onyx:2",
                "command": ["serve"],
                "args": ["--verbose", "$(HOME)"],
                "env": {"LOG_LEVEL": "debug", "HF_HUB_OFFLINE": "yes"},
                "secrets": {"KEY": "onyx/key"},
                "user": 0,
                "read_only_root": False,
                "writable": [],
                "port": 9100,
                "health": "/api/health/ready",
                "config_map": "hosts",
                "inference": {"name": "fast", "replicas": 3, "env": {"LOG_LEVEL": "info"}},
                "indexing": {"resources": {"cpu": "8", "cpu_limit": None, "memory": "16Gi", "memory_limit": "16Gi"}},
            },
        },
        {},
    ),
}


def emitted(settings: Settings) -> list[manifests.Object]:
    target, known = settings.target("pvc"), facts()
    made = [] if isinstance(target, Claim) else volumes.objects(settings, target, known)
    made = made + job.objects(settings, "pvc", target, known)
    return written(made + verify.objects(settings, target, known))


def written(objects: list[manifests.Object]) -> list[manifests.Object]:
    return manifests.load(dump(objects))


def rendered(values: dict[str, Any], folder: Path, *more: str) -> list[manifests.Object]:
    path = folder / "values.yaml"
    path.write_text(dump([values]))
    return manifests.load(manifests.helm("template", "here", str(CHART), "-f", str(path), *more))


def comparable(objects: list[manifests.Object]) -> dict[str, manifests.Object]:
    """By kind and name, without what says who manages an object, and variables in order of their names."""
    found = copy.deepcopy(objects)
    for one in found:
        for mapping in _mappings(one):
            mapping.pop("helm.sh/chart", None)
            if "app.kubernetes.io/managed-by" in mapping:
                mapping["app.kubernetes.io/managed-by"] = "somebody"
            if isinstance(mapping.get("env"), list):
                mapping["env"].sort(key=lambda variable: variable["name"])
    result = {f"{one['kind']} {one['metadata']['name']}": one for one in found}
    assert len(result) == len(objects)
    return result


def differences(one: Any, other: Any, place: str = "") -> list[str]:
    """Where two values are not the same, and what each has there."""
    if isinstance(one, dict) and isinstance(other, dict):
        keys = sorted({*one, *other})
        return [line for key in keys for line in differences(one.get(key), other.get(key), f"{place}.{key}")]
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return [
            line for i, pair in enumerate(zip(one, other, strict=True)) for line in differences(*pair, f"{place}[{i}]")
        ]
    return [] if one == other and type(one) is type(other) else [f"{place}: chart {one!r}, emit {other!r}"]


def _mappings(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, dict):
        return [value, *(one for inner in value.values() for one in _mappings(inner))]
    return [one for inner in value for one in _mappings(inner)] if isinstance(value, list) else []


def settings_of(name: str, cases: Any = CASES) -> Settings:
    kubernetes, target = cases[name]
    return read(copy.deepcopy(kubernetes), {"pvc": dict(target)} if target else {})


@pytest.mark.parametrize("name", CASES)
def test_the_chart_renders_what_emit_writes(name: str, tmp_path: Path) -> None:
    settings = settings_of(name)
    values = chart_values.values(settings, settings.target("pvc"), facts())
    found = rendered(values, tmp_path)
    assert differences(comparable(found), comparable(emitted(settings))) == []
    manifests.validate(found)


@pytest.mark.parametrize("name", ONYX)
def test_the_chart_renders_onyx_as_emit_does(name: str, tmp_path: Path) -> None:
    settings = settings_of(name, ONYX)
    target = settings.target("pvc")
    values = chart_values.values(settings, target, facts())
    only = {"volume": False, "mirror": False, "verify": False, "onyx": True}
    found = rendered(values | {"parts": only}, tmp_path)
    assert differences(comparable(found), comparable(written(onyx.objects(settings, target, facts())))) == []
    manifests.validate(found)


def test_the_chart_does_not_render_theirs_where_ours_is_asked_for(tmp_path: Path) -> None:
    settings = read({"onyx": {"server": "provision"}}, {})
    values = chart_values.values(settings, settings.target("pvc"), facts())
    assert rendered(values, tmp_path), "the rest can be installed"
    with pytest.raises(subprocess.CalledProcessError) as error:
        rendered(values | {"parts": {"onyx": True}}, tmp_path)
    assert "provision emit server onyx" in error.value.stderr


def test_its_own_values_are_those_of_the_default_settings(tmp_path: Path) -> None:
    assert differences(comparable(rendered({}, tmp_path)), comparable(emitted(read({}, {})))) == []


def test_it_keeps_the_policies(tmp_path: Path) -> None:
    assert manifests.checkov(rendered({}, tmp_path)) == []


def test_what_the_command_prints_is_what_the_chart_takes(tmp_path: Path) -> None:
    deployment = ROOT / "manifests" / "onyx"
    command = ["provision", "emit", "chart-values", "--set", "job.completions=3"]
    done = subprocess.run(command, cwd=deployment, capture_output=True, text=True, timeout=300, check=True)
    (tmp_path / "values.yaml").write_text(done.stdout)
    found = manifests.load(manifests.helm("template", "here", str(CHART), "-f", str(tmp_path / "values.yaml")))
    emitted_there = [*manifests.kustomize(deployment / "volume"), *manifests.kustomize(deployment / "mirror")]
    emitted_there += manifests.kustomize(deployment / "verify")
    several = f"Job models-mirror-{facts().release}"
    expected = comparable(emitted_there)
    assert {name: one for name, one in comparable(found).items() if name != several} == {
        name: one for name, one in expected.items() if name != several
    }
    assert comparable(found)[several]["spec"]["completions"] == 3


def test_who_manages_it(tmp_path: Path) -> None:
    for one in rendered({}, tmp_path):
        labels = one["metadata"]["labels"]
        assert labels["helm.sh/chart"] == f"model-provisioner-{__version__}"
        assert labels["app.kubernetes.io/managed-by"] == "Helm"


@pytest.mark.parametrize(
    "wrong",
    [
        {"colour": 1},
        {"job": {"colour": 1}},
        {"name": "Not_A_Name"},
        {"name": "a" * 41},
        {"namespace": "a" * 64},
        {"tolerations": [{"key": "gpu", "effect": "NoWhere"}]},
        {"tolerations": [{"colour": 1}]},
        {"job": {"resources": {"cpu": -1}}},
        {"image": "no image"},
        {"user": 0},
        {"user": "10001"},
        {"scratch_size": "1e3"},
        {"mount_path": "models"},
        {"job": {"sources": []}},
        {"job": {"completions": 0}},
        {"job": {"gitops": "perhaps"}},
        {"job": {"env": {"HF_TOKEN": "hf_secret"}}},
        {"job": {"env": {"aws_secret_access_key": "secret"}}},
        {"job": {"secrets": {"HF_TOKEN": "hf_secret"}}},
        {"onyx": {"env": {"API_TOKEN": "secret"}}},
        {"onyx": {"inference": {"env": {"API_TOKEN": "secret"}}}},
        {"verify": {"schedule": "daily"}},
        {"verify": {"schedule": "99 99 99 99 99"}},
        {"target": {"kind": "floppy"}},
        {"target": {"kind": "nfs", "server": "nas"}},
        {"target": {"kind": "nfs", "server": "nas", "path": "/a", "claims": ["a"]}},
        {"target": {"kind": "s3", "address": "http://bucket"}},
        {"release": {"id": "main"}},
        {"lock": ""},
        {"parts": {"everything": True}},
    ],
    ids=str,
)
def test_the_schema_refuses(wrong: dict[str, Any]) -> None:
    schema = json.loads(SCHEMA.read_text())
    assert list(problems(schema, {})) == []
    assert list(problems(schema, wrong)) != []


def problems(schema: dict[str, Any], values: dict[str, Any]) -> Iterator[Any]:
    """What a JSON schema finds in the chart's values with these over them, as helm lays them."""
    return jsonschema.Draft202012Validator(schema).iter_errors(over(YAML(typ="safe").load(VALUES), values))


def over(below: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    both = {key: over(below[key], one) for key, one in values.items() if isinstance(below.get(key), dict)}
    return below | values | both


def test_helm_keeps_to_the_schema(tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError) as error:
        rendered({"colour": 1, "target": {"kind": "nfs", "server": "nas"}}, tmp_path)
    assert "additional properties 'colour' not allowed" in error.value.stderr
    assert "missing property 'path'" in error.value.stderr


def test_quantities_may_be_numbers(tmp_path: Path) -> None:
    made = rendered(
        {"job": {"resources": {"cpu": 0, "memory": 1_000_000_000, "memory_limit": 2_000_000_000}}}, tmp_path
    )
    manifests.validate(made)
    (mirror,) = [one for one in made if one["kind"] == "Job"]
    found = mirror["spec"]["template"]["spec"]["containers"][0]["resources"]
    assert {key: {name: float(one) for name, one in of.items()} for key, of in found.items()} == {
        "requests": {"cpu": 0, "memory": 1e9},
        "limits": {"memory": 2e9},
    }


def test_many_pods_and_one_writer_are_refused(tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError) as error:
        rendered({"job": {"completions": 2}, "target": {"kind": "rwo"}}, tmp_path)
    assert "job.completions is 2" in error.value.stderr


def test_every_kind_of_target_is_among_the_cases() -> None:
    kinds = {type(settings_of(name).target("pvc")) for name in CASES}
    assert len(kinds) == len(chart_schema.target()["allOf"]) and Mountpoint in kinds
