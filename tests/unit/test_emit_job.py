"""`emit job`, `emit verify` and `emit inspector`: the objects, what they refuse, and the golden text of both."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest

from provisioner import __version__
from provisioner.cli.main import cli
from provisioner.emit.kubernetes.facts import CONFIG_MAP_LIMIT, Facts
from provisioner.emit.kubernetes.jobs import deadline, inspector, pods, prune, verify
from provisioner.emit.kubernetes.jobs import mirror as job
from provisioner.emit.kubernetes.objects import RELEASE
from provisioner.emit.kubernetes.settings import read
from provisioner.emit.yaml import dump
from provisioner.errors import InvalidDocument, InvalidInput, ProvisionError, UsageError
from provisioner.render.streams import Gone
from tests.support import manifests
from tests.support.faults_process import provision
from tests.support.locks import document, small, write

Object = dict[str, Any]

GOLDEN = Path(__file__).parents[1] / "golden" / "job"
NAS = {"nas": {"kind": "nfs", "server": "nas.example", "path": "/export/models"}}
RWO = {"pvc": {"kind": "rwo"}}
BUCKET = {
    "pvc": {"kind": "s3", "address": "minio://minio.storage:9000/models/llm", "endpoint": "http://minio.storage:9000"}
}
AIR_GAPPED = {
    "namespace": "search",
    "image": "registry.example/model-provisioner@sha256:" + "a" * 64,
    "openshift": True,
    "job": {
        "sources": ["minio://minio.storage:9000/models", "s3://backup/llm", "hub"],
        "env": {"MINIO_SECURE": "false", "AWS_ENDPOINT_URL": "https://s3.example:8443"},
        "secrets": {"MINIO_ACCESS_KEY": "minio/access", "MINIO_SECRET_KEY": "minio/secret", "HF_TOKEN": "hf/token"},
        "https_proxy": "http://proxy.example:3128",
        "ca": "corporate-ca/bundle.pem",
        "completions": 3,
        "verify": "full",
        "gitops": "hook",
    },
}
CASES: dict[str, tuple[str, Object, Object, str]] = {  # command, [kubernetes], [targets], target
    "defaults": ("job", {}, {}, "pvc"),
    "air-gapped-indexed": ("job", AIR_GAPPED, NAS, "nas"),
    "rwo": ("job", {"job": {"gitops": "none", "network_policy": False}}, RWO, "pvc"),
    "bucket": ("job", {"job": {"lock_path": "/opt/models.lock"}}, BUCKET, "pvc"),
    "verify": ("verify", {"verify": {"schedule": "0 4 * * *"}}, NAS, "nas"),
    "verify-rwo": ("verify", {"verify": {"mode": "recorded"}}, RWO, "pvc"),
    "inspector": ("inspector", {"namespace": "search"}, NAS, "nas"),
}


def facts_of(size: int | None = None) -> Facts:
    found = document(small())
    facts = Facts.of(found.lock, found.text, found.digest)
    return facts if size is None else replace(facts, size=size)


def emitted(
    kubernetes: Object, targets: Object | None = None, to: str = "pvc", facts: Facts | None = None
) -> list[Object]:
    settings = read(kubernetes, targets or {})
    return job.objects(settings, to, settings.target(to), facts or facts_of())


def case(name: str) -> list[Object]:
    command, kubernetes, targets, to = CASES[name]
    settings = read(kubernetes, targets)
    target, facts = settings.target(to), facts_of()
    if command == "verify":
        return verify.objects(settings, target, facts)
    if command == "inspector":
        return inspector.objects(settings, target, facts, 3600)
    return job.objects(settings, to, target, facts)


def of_kind(objects: list[Object], kind: str) -> list[Object]:
    return [one for one in objects if one["kind"] == kind]


def job_spec(objects: list[Object]) -> Object:
    (found,) = of_kind(objects, "Job")
    spec: Object = found["spec"]
    return spec


def pod(one: Object) -> Object:
    spec: Object = one["spec"]["jobTemplate"]["spec"] if one["kind"] == "CronJob" else one["spec"]
    found: Object = spec["template"]["spec"]
    return found


def containers(objects: list[Object]) -> list[Object]:
    return [pod(one)["containers"][0] for one in objects if one["kind"] in ("Job", "CronJob")]


def env_of(container: Object) -> dict[str, str]:
    return {one["name"]: one["value"] for one in container["env"] if "value" in one}


def ports(kubernetes: Object, targets: Object | None = None, to: str = "pvc") -> set[int]:
    (policy,) = of_kind(emitted(kubernetes, targets, to), "NetworkPolicy")
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"] and "ingress" not in policy["spec"]
    _, reached = policy["spec"]["egress"]
    return {one["port"] for one in reached["ports"]}


@pytest.mark.parametrize("name", CASES)
def test_the_text(name: str) -> None:
    """PROVISION_UPDATE_GOLDEN=1 writes them again."""
    text = dump(case(name)).replace(__version__, "VERSION")
    path = GOLDEN / f"{name}.yaml"
    if os.environ.get("PROVISION_UPDATE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize("name", CASES)
def test_old_and_new_clusters_take_every_object(name: str) -> None:
    manifests.validate(manifests.load(dump(case(name))))


def test_checkov_finds_nothing() -> None:
    every = [one for name in CASES for one in case(name)]
    found = manifests.checkov(dump(every))
    # On OpenShift the uid is the namespace's, and high.
    assert [one for one in found if not one.startswith("CKV_K8S_40 Job.search.models-mirror")] == []


@pytest.mark.parametrize("name", CASES)
def test_names_are_unique_and_every_pod_is_named_after_its_release(name: str) -> None:
    objects = case(name)
    assert len({(one["kind"], one["metadata"]["name"]) for one in objects}) == len(objects)
    for one in objects:
        if one["kind"] != "NetworkPolicy":  # it is no release's
            assert one["metadata"]["annotations"][RELEASE] == facts_of().release


def test_outputs_of_all_commands_fit_one_kustomization(tmp_path: Path) -> None:
    """Kustomize refuses two objects of one name, and GitOps would let two owners fight over them."""
    write(tmp_path, small())
    for command in ("job", "verify", "inspector"):
        assert provision("emit", command, "-o", str(tmp_path / command), cwd=tmp_path).code == 0
    (tmp_path / "kustomization.yaml").write_text("resources: [job, verify, inspector]\n")
    assert len(manifests.kustomize(tmp_path)) == 9


# The lock


def test_the_lock_arrives_byte_for_byte() -> None:
    facts = facts_of()
    (config_map,) = of_kind(manifests.load(dump(emitted({}))), "ConfigMap")
    assert config_map["data"]["models.lock"].encode() == document(small()).text
    name = f"models-lock-{facts.digest[:12]}"
    assert config_map["metadata"]["name"] == name and config_map["immutable"] is True
    assert {"name": "lock", "configMap": {"name": name}} in pod(emitted({})[-1])["volumes"]


def test_two_installations_in_one_namespace_share_no_object() -> None:
    def names(kubernetes: Object) -> set[tuple[str, str]]:
        settings, facts = read(kubernetes, {}), facts_of()
        target = settings.target("pvc")
        made = [
            *job.objects(settings, "pvc", target, facts),
            *verify.objects(settings, target, facts),
            *inspector.objects(settings, target, facts, 600),
            *prune.objects(settings, target, facts, 2, ()),
        ]
        mounted = {volume["configMap"]["name"] for one in made for volume in volumes_of(one) if "configMap" in volume}
        assert mounted <= {one["metadata"]["name"] for one in made if one["kind"] == "ConfigMap"}
        return {(one["kind"], one["metadata"]["name"]) for one in made}

    assert not names({}) & names({"name": "a2"})


def volumes_of(one: Object) -> list[Object]:
    found: list[Object] = pod(one)["volumes"] if one["kind"] in ("Job", "CronJob") else []
    return found


def test_a_lock_that_is_too_large_is_refused() -> None:
    facts = replace(facts_of(), text="x" * (CONFIG_MAP_LIMIT + 1))
    with pytest.raises(InvalidInput, match="ConfigMap") as raised:
        emitted({}, facts=facts)
    assert "kubernetes.job.lock_path" in raised.value.hint
    objects = emitted({"job": {"lock_path": "/opt/models.lock"}}, facts=facts)
    assert not of_kind(objects, "ConfigMap")
    assert "/opt/models.lock" in containers(objects)[0]["args"]


# The command


@pytest.mark.parametrize("name", CASES)
def test_the_command_is_one_that_there_is(name: str) -> None:
    for container in containers(case(name)):
        if "command" in container:
            continue
        command, *args = [one.replace("$(JOB_COMPLETION_INDEX)", "0") for one in container["args"]]
        found = cli.get_command(click.Context(cli), command)
        assert found is not None
        context = found.make_context(command, list(args))
        assert context.args == []
        assert not any("$" in one for one in args)


def test_sources_keep_their_order() -> None:
    (container,) = containers(emitted({"job": {"sources": ["s3://b/x", "hub", "azurefiles://acct/share/x"]}}))
    args = container["args"]
    assert [args[n + 1] for n, one in enumerate(args) if one == "--from"] == [
        "s3://b/x",
        "hub",
        "azurefiles://acct/share/x",
    ]
    assert args[:3] == ["mirror", "--to", "pvc"] and "--shard" not in args


@pytest.mark.parametrize(
    "source",
    ["/mnt/models", "./x", "pvc", "nfs", "file:///x", "HUB", "s3://", "s3:///x", "minio://minio:9000", "http://h/x",
     "minio://key:pw@minio:9000/models", "s3://b/x?sig=y", "azurefiles://acct", "s3://b/a b"],
)  # fmt: skip
def test_what_a_pod_cannot_read_is_refused_and_not_repeated(source: str) -> None:
    with pytest.raises(UsageError) as raised:
        emitted({"job": {"sources": ["hub", source]}})
    assert "pw@" not in str(raised.value) + raised.value.hint


def test_a_dollar_is_not_expanded() -> None:
    """https://kubernetes.io/docs/tasks/inject-data-application/define-interdependent-environment-variables/"""
    (container,) = containers(emitted({"job": {"sources": ["s3://b/$(HOME)"], "env": {"A": "$(HOME)$"}}}))
    assert "s3://b/$$(HOME)" in container["args"]
    assert env_of(container)["A"] == "$$(HOME)$$"


# Variables


def test_credentials_are_keys_of_secrets() -> None:
    (container,) = containers(case("air-gapped-indexed"))
    found = {one["name"]: one["valueFrom"]["secretKeyRef"] for one in container["env"] if "valueFrom" in one}
    assert found == {
        "MINIO_ACCESS_KEY": {"name": "minio", "key": "access"},
        "MINIO_SECRET_KEY": {"name": "minio", "key": "secret"},
        "HF_TOKEN": {"name": "hf", "key": "token"},
    }


def test_the_ca_is_mounted_where_every_client_looks() -> None:
    (container,) = containers(case("air-gapped-indexed"))
    env = env_of(container)
    (mount,) = [one for one in container["volumeMounts"] if one["name"] == "ca"]
    assert mount["readOnly"] is True
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "AWS_CA_BUNDLE"):
        assert env[name] == f"{mount['mountPath']}/ca.crt"
    volumes = {one["name"]: one for one in pod(case("air-gapped-indexed")[-1])["volumes"]}
    assert volumes["ca"]["configMap"] == {"name": "corporate-ca", "items": [{"key": "bundle.pem", "path": "ca.crt"}]}


def test_a_proxy_leaves_the_cluster_out() -> None:
    env = env_of(containers(emitted({"job": {"https_proxy": "http://proxy:3128"}}))[0])
    assert (env["HTTPS_PROXY"], env["NO_PROXY"]) == ("http://proxy:3128", "localhost,127.0.0.1,.svc,.cluster.local")
    env = env_of(containers(emitted({"job": {"http_proxy": "http://p:1", "no_proxy": "minio"}}))[0])
    assert (env["HTTP_PROXY"], env["NO_PROXY"]) == ("http://p:1", "minio")
    assert "NO_PROXY" not in env_of(containers(emitted({}))[0])


@pytest.mark.parametrize(
    ("table", "place"),
    [
        ({"env": {"HF_TOKEN": "hf_x"}}, "env.HF_TOKEN"),
        ({"env": {"aws_secret_access_key": "x"}}, "env.aws_secret_access_key"),
        ({"env": {"AZURE_STORAGE_KEY": "x"}}, "env.AZURE_STORAGE_KEY"),
        ({"env": {"MC_HOST_prod": "https://minio"}}, "env.MC_HOST_prod"),
        ({"env": {"X": "https://user:pw@host"}}, "env.X"),
        ({"env": {"X": "https://host/?sv=1&sig=pw"}}, "env.X"),
        ({"env": {"X": "a\x00b"}}, "env.X"),
        ({"https_proxy": "http://user:pw@proxy:3128"}, "https_proxy"),
        ({"http_proxy": "user:pw@proxy:3128"}, "http_proxy"),
        ({"no_proxy": "http://user:pw@proxy"}, "no_proxy"),
        ({"no_proxy": "user:pw@proxy"}, "no_proxy"),
        ({"env": {"JAVA_OPTS": "-Dstore.password=pw@1"}}, "env.JAVA_OPTS"),
        ({"endpoint": "https://user:pw@hub"}, "endpoint"),
        ({"secrets": {"HOME": "a/b"}}, "secrets.HOME"),
        ({"secrets": {"X": "a/b"}, "env": {"X": "1"}}, "secrets.X"),
    ],
)
def test_nothing_secret_and_nothing_twice(table: Object, place: str) -> None:
    with pytest.raises(InvalidDocument) as raised:
        emitted({"job": table})
    assert [one.place for one in raised.value.problems] == [place]
    assert "pw" not in str(raised.value)


@pytest.mark.parametrize(
    "env", [{"HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}, {"AWS_ACCESS_KEY_ID": "AK"}, {"AZURE_STORAGE_ACCOUNT": "acct"}]
)
def test_what_only_sounds_secret_is_taken(env: Object) -> None:
    assert env.items() <= env_of(containers(emitted({"job": {"env": env}}))[0]).items()


def test_the_settings_are_stronger_than_ours() -> None:
    env = env_of(containers(emitted({"job": {"endpoint": "http://hub:8080", "env": {"HF_ENDPOINT": "http://b"}}}))[0])
    assert env["HF_ENDPOINT"] == "http://b"


# The network


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({}, {443}),
        ({"endpoint": "http://hub.search:8080"}, {8080}),
        ({"env": {"HF_ENDPOINT": "http://hub"}}, {80}),
        ({"sources": ["s3://b"]}, {443}),
        ({"sources": ["s3://b"], "env": {"AWS_ENDPOINT_URL": "http://seaweed:8333"}}, {8333}),
        ({"sources": ["minio://minio:9000/b"]}, {9000}),
        ({"sources": ["minio://minio/b"]}, {443}),
        ({"sources": ["minio://minio/b"], "env": {"MINIO_SECURE": "false"}}, {80}),
        ({"sources": ["minio:///b"], "env": {"MINIO_ENDPOINT": "https://minio:9443"}}, {9443}),
        ({"sources": ["azurefiles://acct/share"]}, {443}),
        ({"https_proxy": "proxy:3128", "http_proxy": "http://proxy"}, {443, 3128, 80}),
        ({"egress_ports": [9001, 443]}, {443, 9001}),
    ],
)
def test_ports(table: Object, expected: set[int]) -> None:
    assert ports({"job": table}) == expected


def test_a_bucket_is_reached_as_its_target_says() -> None:
    assert ports({"job": {"sources": ["hub"]}}, BUCKET) == {443, 9000}
    (container,) = containers(case("bucket"))
    assert env_of(container)["MINIO_SECURE"] == "false"
    own = {"kind": "s3", "address": "s3://models/x", "endpoint": "http://s3.example:9", "region": "eu"}
    assert ports({}, {"pvc": own}) == {443, 9}
    env = env_of(containers(emitted({"job": {"env": {"AWS_REGION": "us"}}}, {"pvc": own}))[0])
    assert (env["AWS_ENDPOINT_URL"], env["AWS_REGION"]) == ("http://s3.example:9", "us")
    assert "--to" in container["args"] and "minio://minio.storage:9000/models/llm" in container["args"]
    assert not [one for one in pod(case("bucket")[-1])["volumes"] if "persistentVolumeClaim" in one]
    assert "fsGroup" not in pod(case("bucket")[-1])["securityContext"]


@pytest.mark.parametrize("key", ["endpoint", "https_proxy"])
def test_an_endpoint_that_is_no_url_is_refused(key: str) -> None:
    with pytest.raises(InvalidInput):
        emitted({"job": {key: "http://h:port"}})


def test_the_policy_selects_the_job_alone() -> None:
    objects = case("defaults")
    (policy,) = of_kind(objects, "NetworkPolicy")
    wanted = policy["spec"]["podSelector"]["matchLabels"]
    (mirror,) = of_kind(objects, "Job")
    assert wanted.items() <= mirror["spec"]["template"]["metadata"]["labels"].items()
    for name in ("verify", "inspector"):
        for one in of_kind(case(name), "Job") + [
            cron["spec"]["jobTemplate"] for cron in of_kind(case(name), "CronJob")
        ]:
            assert not wanted.items() <= one["spec"]["template"]["metadata"]["labels"].items()


# The Job


def test_every_exit_code_has_one_rule() -> None:
    def every(kind: type[ProvisionError]) -> set[type[ProvisionError]]:
        return {kind}.union(*(every(one) for one in kind.__subclasses__()))

    disrupted, final, counted = job_spec(case("defaults"))["podFailurePolicy"]["rules"]
    assert disrupted["action"] == "Ignore" and disrupted["onPodConditions"][0]["type"] == "DisruptionTarget"
    codes = {rule["action"]: rule["onExitCodes"]["values"] for rule in (final, counted)}
    assert codes == {"FailJob": [1, 2, 3, 4, 6, 7, 8], "Count": [5, 130]}
    ruled = {code for values in codes.values() for code in values}
    unruled = {Gone.exit_code}  # the log's reader went away: counted and retried, as every code without a rule
    assert {one.exit_code for one in every(ProvisionError)} - unruled == ruled
    for kind in every(ProvisionError) - {Gone}:
        assert not kind.retryable or kind.exit_code in codes["Count"]


def test_the_deadline_grows_with_the_size() -> None:
    assert job_spec(emitted({}, facts=facts_of(0)))["activeDeadlineSeconds"] == deadline.START
    large = facts_of(48_000_000_000)
    assert job_spec(emitted({}, facts=large))["activeDeadlineSeconds"] == deadline.START + 9600
    again = emitted({"job": {"verify": "full"}}, facts=large)
    assert job_spec(again)["activeDeadlineSeconds"] == deadline.START + 19200
    assert job_spec(emitted({"job": {"deadline": 60}}, facts=large))["activeDeadlineSeconds"] == 60


def test_completions_are_shards() -> None:
    spec = job_spec(case("air-gapped-indexed"))
    assert (spec["completionMode"], spec["completions"], spec["parallelism"]) == ("Indexed", 3, 3)
    assert spec["backoffLimit"] == 18
    assert spec["template"]["spec"]["containers"][0]["args"][-2:] == ["--shard", "$(JOB_COMPLETION_INDEX)/3"]
    (spread,) = spec["template"]["spec"]["topologySpreadConstraints"]
    assert spread["labelSelector"]["matchLabels"].items() <= spec["template"]["metadata"]["labels"].items()
    assert not {"completionMode", "topologySpreadConstraints"} & {
        *job_spec(case("defaults")),
        *job_spec(case("defaults"))["template"]["spec"],
    }


@pytest.mark.parametrize("targets", [RWO, BUCKET])
def test_only_a_shared_volume_takes_completions(targets: Object) -> None:
    with pytest.raises(UsageError, match="pvc is no volume that 2 pods"):
        emitted({"job": {"completions": 2}}, targets)


def test_each_claim_that_one_node_writes_has_a_job() -> None:
    release = facts_of().release
    found = {one["metadata"]["name"]: pod(one)["volumes"][0] for one in of_kind(case("rwo"), "Job")}
    assert found == {
        f"models-mirror-{release}-{claim}": {"name": "models", "persistentVolumeClaim": {"claimName": claim}}
        for claim in ("inference", "indexing")
    }
    assert len(of_kind(case("rwo"), "ConfigMap")) == 1


def test_a_name_that_no_label_holds_is_refused() -> None:
    with pytest.raises(InvalidInput, match="may have 63"):
        emitted({"name": "m" * 40}, {"pvc": {"kind": "rwo", "claims": ["inference"]}})
    with pytest.raises(InvalidInput, match="may have 60"):
        emitted({"name": "m" * 40, "job": {"completions": 11}}, facts=replace(facts_of(), release="0" * 13))
    settings = read({"name": "m" * 40}, {"pvc": {"kind": "rwo", "claims": ["inference"]}})
    with pytest.raises(InvalidInput, match="may have 52"):
        verify.objects(settings, settings.target("pvc"), facts_of())


def test_only_the_mirror_writes_and_only_to_its_claim() -> None:
    for name in CASES:
        for one in case(name):
            if one["kind"] not in ("Job", "CronJob"):
                continue
            spec = pod(one)
            mirrors = spec["containers"][0]["name"] == "mirror"
            for volume in spec["volumes"]:
                assert (
                    bool(volume.get("persistentVolumeClaim", {}).get("readOnly")) != mirrors
                    or "emptyDir" in volume
                    or "configMap" in volume
                )
            for mount in spec["containers"][0]["volumeMounts"]:
                writable = mount["name"] == "scratch" or (mount["name"] == "models" and mirrors)
                assert bool(mount.get("readOnly")) != writable


# GitOps


def test_ignored_by_controllers() -> None:
    for one in case("defaults"):
        found = one["metadata"]["annotations"]
        assert found["argocd.argoproj.io/hook"] == "Skip"
        assert found["kustomize.toolkit.fluxcd.io/ssa"] == "Ignore"
    assert job_spec(case("defaults"))["ttlSecondsAfterFinished"] == 86400


def test_a_hook_finds_its_lock_and_stays() -> None:
    waves = {
        one["kind"]: int(one["metadata"]["annotations"].get("argocd.argoproj.io/sync-wave", 0))
        for one in case("air-gapped-indexed")
    }
    assert waves["ConfigMap"] < waves["Job"] and waves["NetworkPolicy"] < waves["Job"]
    assert "ttlSecondsAfterFinished" not in job_spec(case("air-gapped-indexed"))
    for one in case("air-gapped-indexed"):
        assert one["metadata"]["annotations"]["argocd.argoproj.io/hook"] == "PreSync"


def test_none_says_nothing() -> None:
    for one in case("rwo"):
        assert set(one["metadata"].get("annotations", {})) <= {RELEASE}


# verify and inspector


def test_verify_fails_loudly() -> None:
    (cron,) = of_kind(case("verify"), "CronJob")
    spec = cron["spec"]
    assert (spec["concurrencyPolicy"], spec["schedule"]) == ("Forbid", "0 4 * * *")
    assert "suspend" not in spec and spec["failedJobsHistoryLimit"] > 0
    rules = spec["jobTemplate"]["spec"]["podFailurePolicy"]["rules"]
    assert 3 in next(rule for rule in rules if rule["action"] == "FailJob")["onExitCodes"]["values"]
    assert {rule["onExitCodes"]["containerName"] for rule in rules[1:]} == {"verify"}
    assert pod(cron)["volumes"][0]["persistentVolumeClaim"] == {"claimName": "models-ro", "readOnly": True}
    (container,) = containers([cron])
    assert "--release" in container["args"] and facts_of().release in container["args"]


def test_what_a_schedule_starts_has_the_labels_of_what_started_it() -> None:
    (cron,) = of_kind(case("verify"), "CronJob")
    made = cron["spec"]["jobTemplate"]["metadata"]
    assert made["labels"] == cron["metadata"]["labels"] and made["labels"]["app.kubernetes.io/component"] == "verify"
    assert made["annotations"][RELEASE] == facts_of().release
    assert "name" not in made


def test_only_a_full_verify_needs_time_for_the_bytes() -> None:
    settings = read({"verify": {"mode": "recorded"}}, {})
    for mode, expected in (("recorded", deadline.START), ("full", deadline.START + 9600)):
        settings = read({"verify": {"mode": mode}}, {})
        (cron,) = of_kind(verify.objects(settings, settings.target("pvc"), facts_of(48_000_000_000)), "CronJob")
        assert cron["spec"]["jobTemplate"]["spec"]["activeDeadlineSeconds"] == expected


def test_the_inspector_goes_away() -> None:
    settings = read({}, {})
    spec = job_spec(inspector.objects(settings, settings.target("pvc"), facts_of(), 600))
    assert spec["activeDeadlineSeconds"] == 600 and spec["ttlSecondsAfterFinished"] == 60
    (container,) = spec["template"]["spec"]["containers"]
    assert container["command"][-1].endswith("sleep(600)")
    assert env_of(container)["PROVISION_LOCK"] == "/etc/provision/models.lock"
    assert "PROVISION_SUMMARY" not in env_of(container)  # what is run in it is no result of the pod


# prune


def pruned(kubernetes: Object, targets: Object) -> list[Object]:
    settings = read(kubernetes, targets)
    (to,) = targets
    return prune.objects(settings, settings.target(to), facts_of(), 2, {"f" * 12})


def test_a_prune_of_a_volume_has_no_secret_and_no_network() -> None:
    policy, made = pruned(AIR_GAPPED, NAS)
    assert policy["kind"] == "NetworkPolicy" and "egress" not in policy["spec"]
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    wanted = policy["spec"]["podSelector"]["matchLabels"]
    assert wanted.items() <= made["spec"]["template"]["metadata"]["labels"].items()
    (container,) = containers([made])
    assert env_of(container).keys() == pods.ENVIRONMENT.keys() and len(container["env"]) == len(pods.ENVIRONMENT)
    assert {one["name"] for one in pod(made)["volumes"]} == {"models", "scratch"}
    assert pod(made)["volumes"][0] == {"name": "models", "persistentVolumeClaim": {"claimName": "models"}}
    words = container["args"]
    assert words[:6] == ["releases", "prune", "--at", "pvc", "--keep", "2"]
    assert [words[n + 1] for n, one in enumerate(words) if one == "--spare"] == sorted([facts_of().release, "f" * 12])


def test_a_prune_of_a_bucket_reaches_it_as_the_mirror_does() -> None:
    kubernetes = {"job": {key: AIR_GAPPED["job"][key] for key in ("secrets", "ca", "https_proxy")}}
    (made,) = pruned(kubernetes, BUCKET)
    (mirror,) = of_kind(emitted(kubernetes, BUCKET), "Job")
    (container,), (other,) = containers([made]), containers([mirror])
    assert container["env"] == other["env"]
    assert {one["name"] for one in pod(made)["volumes"]} == {"ca", "scratch"}
    assert container["args"][2:4] == ["--at", BUCKET["pvc"]["address"]]


def test_a_prune_of_own_claims_has_a_job_each() -> None:
    found = [one["metadata"]["name"] for one in pruned({"job": {"network_policy": False}}, RWO)]
    assert found == [f"models-prune-{facts_of().release}-{claim}" for claim in ("inference", "indexing")]
    manifests.validate(manifests.load(dump(pruned(AIR_GAPPED, NAS) + pruned({}, BUCKET))))


# The command line


def test_flags_are_stronger_than_the_file(tmp_path: Path) -> None:
    write(tmp_path, small())
    (tmp_path / "provision.toml").write_text('[kubernetes.job]\nsources = ["s3://b"]\nretries = 1\ncompletions = 9\n')
    flags = ["--from", "minio://minio:9000/m", "--from", "hub", "--completions", "2", "--no-network-policy"]
    done = provision("emit", "job", *flags, "--set", "job.retries=3", cwd=tmp_path)
    assert done.code == 0, done.err
    objects = manifests.load(done.out)
    assert [one["kind"] for one in objects] == ["ConfigMap", "Job"]
    assert job_spec(objects)["backoffLimit"] == 6
    args = containers(objects)[0]["args"]
    assert args[3:7] == ["--from", "minio://minio:9000/m", "--from", "hub"] and args[-1].endswith("/2")


def test_a_folder_holds_what_is_printed(tmp_path: Path) -> None:
    write(tmp_path, small())
    printed = manifests.load(provision("emit", "job", cwd=tmp_path).out)
    assert provision("emit", "job", "-o", "base", cwd=tmp_path).code == 0

    def by_name(objects: list[Object]) -> list[Object]:
        return sorted(objects, key=lambda one: str(one["kind"]))

    assert by_name(manifests.kustomize(tmp_path / "base")) == by_name(printed)


def test_the_inspector_says_what_to_run(tmp_path: Path) -> None:
    write(tmp_path, small())
    done = provision("emit", "inspector", "--namespace", "search", "--set", "targets.pvc.kind=rwo", cwd=tmp_path)
    assert "# " in done.out
    for claim in ("inference", "indexing"):
        assert f"kubectl -n search exec job/models-inspector-{claim} -- provision status --at pvc --check" in done.out
    assert len(of_kind(manifests.load(done.out), "Job")) == 2


@pytest.mark.parametrize(
    ("args", "code", "text"),
    [
        (["job", "--from", "pvc"], 2, "One of the sources"),
        (["job", "--to", "nowhere"], 7, "no target nowhere"),
        (["verify", "--schedule", "often"], 2, "schedule"),
        (["inspector", "--seconds", "1"], 2, "60"),
    ],
)
def test_refusals(args: list[str], code: int, text: str, tmp_path: Path) -> None:
    write(tmp_path, small())
    done = provision("emit", *args, cwd=tmp_path)
    assert (done.code, done.out) == (code, "")
    assert text in done.err and "Traceback" not in done.err


def test_a_schedule_may_be_given(tmp_path: Path) -> None:
    write(tmp_path, small())
    done = provision("emit", "verify", "--schedule", "@daily", cwd=tmp_path)
    assert of_kind(manifests.load(done.out), "CronJob")[0]["spec"]["schedule"] == "@daily"
