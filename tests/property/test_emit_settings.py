"""Whatever the settings say, what is emitted is read alike by every reader, valid, read-only, and holds no secret."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st
from lightkube.utils.quantity import parse_quantity

from provisioner import lockfile
from provisioner.emit.kubernetes import mount
from provisioner.emit.kubernetes.facts import Facts
from provisioner.emit.kubernetes.jobs import inspector, verify
from provisioner.emit.kubernetes.jobs import mirror as job
from provisioner.emit.kubernetes.names import Quantity
from provisioner.emit.kubernetes.servers import kserve, onyx, qwiser, ray
from provisioner.emit.kubernetes.settings import Settings, read
from provisioner.emit.kubernetes.targets import Target, readers
from provisioner.emit.kubernetes.volumes import objects as volumes
from provisioner.emit.yaml import dump
from provisioner.errors import InvalidDocument, ProvisionError
from provisioner.model import Layout, Lock
from tests.support import manifests
from tests.support.settings_strategies import SERVERS, tables

ROOT = Path(__file__).resolve().parents[2]
SECRET = "hf_THISISSECRET"
Emit = Callable[[Settings, Target, Facts], list[manifests.Object]]


def facts() -> Facts:
    """The lock of this repository, in every layout that some server looks for."""
    import dataclasses

    lock = lockfile.parse((ROOT / "models.lock").read_bytes())
    layouts = (Layout.HUB, Layout.FLAT, Layout.SENTENCE_TRANSFORMERS)
    text = lockfile.dump(Lock(tuple(dataclasses.replace(model, layouts=layouts) for model in lock.models)))
    return Facts.of(lockfile.parse(text), text, "0" * 64)


FACTS = facts()


def is_quantity(text: str) -> bool:
    try:
        Quantity(text)
    except ValueError:
        return False
    return True


def mounted(chosen: Settings, target: Target, known: Facts) -> list[manifests.Object]:
    """The mount in a pod of somebody."""
    seen = mount.mount(chosen, known, readers(target)[0], wait=60)
    env = [{"name": name, "value": value} for name, value in seen.environment.items()]
    container = {"name": "theirs", "image": "theirs:1", "env": env, "volumeMounts": list(seen.mounts)}
    spec = {"containers": [container], "volumes": list(seen.volumes), "initContainers": list(seen.init)}
    return [{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "theirs"}, "spec": spec}]


EMITTERS: dict[str, Emit] = {
    "volume": volumes.objects,
    "job": lambda chosen, target, known: job.objects(chosen, "pvc", target, known),
    "verify": verify.objects,
    "inspector": lambda chosen, target, known: inspector.objects(chosen, target, known, 600),
    "mount": mounted,
    "onyx": onyx.objects,
    "qwiser": qwiser.objects,
    "kserve": kserve.objects,
    "ray": ray.objects,
}


@pytest.mark.parametrize("what", EMITTERS)
@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(data=st.data())
def test_what_is_emitted(what: str, data: st.DataObject) -> None:
    tables_of = data.draw(tables(what) if what in SERVERS else tables(), label="provision.toml")
    try:
        chosen = read(*tables_of)
        objects = EMITTERS[what](chosen, chosen.target("pvc"), FACTS)
    except ProvisionError as refused:
        event(f"refused: {type(refused).__name__}")
        assert refused.hint
        return
    event("emitted")
    loaded = manifests.load(dump(objects))
    assert loaded == json.loads(json.dumps(objects))
    names = [(one["kind"], one["metadata"]["name"]) for one in loaded]
    assert len(set(names)) == len(names)
    manifests.validate(loaded, newest_only=True)
    for one in loaded:
        for pod in manifests.pods_of(one):
            asks_for_no_more_than_it_may_take(pod)
            reads_only(pod, writer=one["metadata"].get("labels", {}).get("app.kubernetes.io/component") == "mirror")


def asks_for_no_more_than_it_may_take(pod: manifests.Object) -> None:
    for container in (*pod["containers"], *pod.get("initContainers", [])):
        wanted, limits = (container.get("resources", {}).get(key, {}) for key in ("requests", "limits"))
        for key in wanted.keys() & limits.keys():
            assert parse_quantity(wanted[key]) <= parse_quantity(limits[key])


QUANTITY = st.from_regex(re.compile(r"[0-9]{1,4}(\.[0-9]{1,3})?(m|k|M|G|Ki|Mi|Gi)?"), fullmatch=True).filter(
    is_quantity
)


@given(
    given=st.fixed_dictionaries(
        {}, optional=dict.fromkeys(("cpu", "memory", "cpu_limit", "memory_limit"), QUANTITY | st.integers(0, 9))
    )
)
@example({"memory": "4Gi"})
@example({"cpu": 1, "cpu_limit": "1000m", "memory": "1.5Gi", "memory_limit": "1536Mi"})
def test_requests_above_their_limits_are_refused_and_no_others(given: dict[str, Any]) -> None:
    whole = {"cpu": "1", "memory": "512Mi", "memory_limit": "1Gi"} | given
    above = {
        f"kubernetes.job.resources.{key}"
        for key in ("cpu", "memory")
        if f"{key}_limit" in whole and parse_quantity(str(whole[key])) > parse_quantity(str(whole[f"{key}_limit"]))
    }
    try:
        read({"job": {"resources": given}}, {})
        found = set()
    except InvalidDocument as refused:
        found = {one.place for one in refused.problems}
    assert found == above


def reads_only(pod: manifests.Object, *, writer: bool) -> None:
    claims = {v["name"]: v["persistentVolumeClaim"] for v in pod.get("volumes", []) if "persistentVolumeClaim" in v}
    mounts = [m for c in (*pod["containers"], *pod.get("initContainers", [])) for m in c.get("volumeMounts", [])]
    for mount_of in (one for one in mounts if one["name"] in claims):
        assert writer or (mount_of.get("readOnly") is True and claims[mount_of["name"]].get("readOnly") is True)


@pytest.mark.parametrize("what", EMITTERS)
def test_the_defaults_are_emitted_and_not_refused(what: str) -> None:
    tables = {
        "qwiser": {"image": "q:1"},
        "ray": {"image": "r:1", "embedder": "all-MiniLM-L6-v2", "reranker": "all-MiniLM-L6-v2"},
    }
    chosen = read(tables, {"pvc": {"kind": "storage-class"}})
    assert EMITTERS[what](chosen, chosen.target("pvc"), FACTS)


SECRETS: list[dict[str, Any]] = [
    {"env": {"HF_TOKEN": SECRET}},
    {"env": {"hf_token": SECRET}},
    {"env": {"AWS_SECRET_ACCESS_KEY": SECRET}},
    {"env": {"MINIO_SECRET_KEY": SECRET}},
    {"env": {"AZURE_STORAGE_CONNECTION_STRING": SECRET}},
    {"env": {"MC_HOST_minio": f"https://user:{SECRET}@minio"}},
    {"env": {"AWS_ENDPOINT_URL": f"https://user:{SECRET}@s3"}},
    {"https_proxy": f"http://user:{SECRET}@proxy:3128"},
    {"http_proxy": f"user:{SECRET}@proxy:3128"},
    {"no_proxy": f"localhost,user:{SECRET}@proxy"},
    {"env": {"JAVA_OPTS": f"-Dstore.password={SECRET}"}},
    {"endpoint": f"https://{SECRET}@hub.example"},
    {"sources": [f"minio://user:{SECRET}@minio:9000/models"]},
    {"sources": [f"azurefiles://account/share?sig={SECRET}"]},
    {"secrets": {"HF_TOKEN": SECRET}},
]


@pytest.mark.parametrize("table", SECRETS, ids=str)
@settings(max_examples=5)
@given(more=tables())
@example(more=({}, {}))
def test_a_secret_is_refused_and_not_repeated(
    table: dict[str, Any], more: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    kubernetes, targets = more
    kubernetes["job"] = {key: kubernetes.get("job", {}).get(key, one) for key, one in table.items()} | table
    with pytest.raises(ProvisionError) as refused:
        chosen = read(kubernetes, targets)
        job.objects(chosen, "pvc", chosen.target("pvc"), FACTS)
    said = f"{refused.value} {refused.value.hint}"
    if isinstance(refused.value, InvalidDocument):
        said += " ".join(one.message for one in refused.value.problems)
    assert SECRET not in said
