"""Volumes and claims of every kind of target: who may write, what is kept, how much room there is."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from provisioner.emit.kubernetes import places
from provisioner.emit.kubernetes.facts import Facts
from provisioner.emit.kubernetes.kustomize import base
from provisioner.emit.kubernetes.names import Quantity
from provisioner.emit.kubernetes.quantities import bytes_of
from provisioner.emit.kubernetes.settings import Settings, read
from provisioner.emit.kubernetes.targets import as_toml
from provisioner.emit.kubernetes.volumes.objects import notes, objects
from provisioner.emit.yaml import dump
from provisioner.errors import InvalidDocument, InvalidInput, UsageError
from tests.support import manifests
from tests.support.faults_process import provision
from tests.support.locks import document, small, write

GOLDEN = Path(__file__).resolve().parent.parent / "golden" / "volumes"
GB = 10**9
AZURE = {"kind": "azure-files", "account": "acmestore", "share": "ml-models"}
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "nfs": ({"namespace": "search"}, {"kind": "nfs", "server": "nas.example", "path": "/export/models"}),
    "nfs-any-namespace": ({}, {"kind": "nfs", "server": "10.0.0.9", "path": "/", "nconnect": 1, "version": "3"}),
    "azure-files": (
        {"namespace": "qwiser", "user": 1000, "group": 1000},
        AZURE | {"resource_group": "qwiser-prod-rg", "claim": "ml-models-pvc", "folder": "store"},
    ),
    "azure-files-openshift": (
        {"namespace": "qwiser", "openshift": True},
        AZURE | {"server": "acmestore.privatelink.file.core.windows.net", "secret_namespace": "kube-system"},
    ),
    "storage-class": ({"namespace": "onyx"}, {"kind": "storage-class", "storage_class": "ocs-storagecluster-cephfs"}),
    "rwo": (
        {"namespace": "onyx"},
        {"kind": "rwo", "claims": ["inference-model-cache-pvc", "indexing-model-cache-pvc"], "size": "8Gi"},
    ),
    "minio": (
        {"namespace": "private-ai-demo"},
        {"kind": "s3", "address": "minio://minio.model-storage:9000/llm-models/store"}
        | {"endpoint": "http://minio.model-storage:9000"},
    ),
    "s3": (
        {"namespace": "serving", "openshift": True},
        {"kind": "s3", "address": "s3://acme-models", "region": "eu-central-1", "authentication": "pod"},
    ),
}


@pytest.fixture(scope="module")
def facts() -> Facts:
    """A small lock that says it has 6 GB."""
    made = document(small())
    return replace(Facts.of(made.lock, made.text, made.digest), size=6 * GB)


def emitted(facts: Facts, target: dict[str, Any], **kubernetes: Any) -> dict[str, Any]:
    """The objects by `volume/NAME` and `claim/NAME`."""
    settings = read(kubernetes, {"pvc": target})
    short = {"PersistentVolume": "volume", "PersistentVolumeClaim": "claim"}
    made = objects(settings, settings.target("pvc"), facts)
    found = {f"{short[one['kind']]}/{one['metadata']['name']}": one for one in made}
    assert len(found) == len(made)
    return found


@pytest.mark.parametrize("case", CASES)
def test_golden(case: str, facts: Facts) -> None:
    kubernetes, target = CASES[case]
    settings = read(kubernetes, {"pvc": target})
    found = settings.target("pvc")
    text = dump(objects(settings, found, facts), "\n".join(notes(settings, found, facts)))
    path = GOLDEN / f"{case}.yaml"
    if os.environ.get("PROVISION_UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text(), "PROVISION_UPDATE_GOLDEN=1 writes it anew"


@pytest.mark.parametrize("case", CASES)
def test_clusters_old_and_new_take_every_object(case: str, facts: Facts, tmp_path: Path) -> None:
    made = manifests.load((GOLDEN / f"{case}.yaml").read_text())
    manifests.validate(made)
    for name, text in base(made).items():
        (tmp_path / name).write_text(text)
    applied = manifests.kustomize(tmp_path)
    assert sorted(one["metadata"]["name"] for one in applied) == sorted(one["metadata"]["name"] for one in made)


def test_checkov_finds_nothing() -> None:
    assert manifests.checkov("---\n".join((GOLDEN / f"{case}.yaml").read_text() for case in CASES)) == []


@pytest.mark.parametrize("case", [case for case in CASES if case not in ("rwo", "storage-class")])
def test_what_is_bound_to_a_static_volume_is_bound_to_it_alone(case: str, facts: Facts) -> None:
    kubernetes, target = CASES[case]
    made = emitted(facts, target, **kubernetes)
    volumes = {one["metadata"]["name"]: one for key, one in made.items() if key.startswith("volume/")}
    claims = {one["metadata"]["name"]: one for key, one in made.items() if key.startswith("claim/")}
    assert len(volumes) == len(claims) == (1 if target["kind"] == "s3" else 2)
    for volume in volumes.values():
        spec = volume["spec"]
        assert "namespace" not in volume["metadata"]
        assert spec["persistentVolumeReclaimPolicy"] == "Retain"
        assert spec["storageClassName"] == ""
        (claim,) = (one for one in claims.values() if one["spec"]["volumeName"] == volume["metadata"]["name"])
        assert claim["spec"]["storageClassName"] == ""
        assert claim["spec"]["accessModes"] == spec["accessModes"]
        assert claim["spec"]["resources"]["requests"] == spec["capacity"]
        namespace = kubernetes.get("namespace")
        assert claim["metadata"].get("namespace") == namespace
        bound = {"namespace": namespace, "name": claim["metadata"]["name"]}
        assert spec.get("claimRef") == (bound if namespace else None)


@pytest.mark.parametrize("case", CASES)
def test_a_volume_for_readers_is_mounted_read_only(case: str, facts: Facts) -> None:
    kubernetes, target = CASES[case]
    specs = [one["spec"] for key, one in emitted(facts, target, **kubernetes).items() if key.startswith("volume/")]
    readers = [spec for spec in specs if spec["accessModes"] == ["ReadOnlyMany"]]
    writers = [spec for spec in specs if spec not in readers]
    expected = {"nfs": (1, 1), "azure-files": (1, 1), "s3": (1, 0)}.get(target["kind"], (0, 0))
    assert (len(readers), len(writers)) == expected
    assert all({"ro", "read-only"} & set(spec["mountOptions"]) for spec in readers)
    assert all(spec["accessModes"] == ["ReadWriteMany"] and "ro" not in spec["mountOptions"] for spec in writers)


def test_nfs_mounts_with_what_was_asked_for_and_ro_last(facts: Facts) -> None:
    target = {"kind": "nfs", "server": "fd00::1", "path": "/x", "nconnect": 8, "options": ["sec=krb5p", "noresvport"]}
    made = emitted(facts, target, namespace="a")
    options = ["nfsvers=4.1", "hard", "nconnect=8", "sec=krb5p", "noresvport"]
    assert made["volume/a.models"]["spec"]["mountOptions"] == options
    assert made["volume/a.models-ro"]["spec"]["mountOptions"] == [*options, "ro"]
    assert made["volume/a.models-ro"]["spec"]["nfs"] == {"server": "fd00::1", "path": "/x", "readOnly": True}
    assert made["volume/a.models"]["spec"]["nfs"] == {"server": "fd00::1", "path": "/x"}


@pytest.mark.parametrize("target", [{"kind": "nfs", "server": "nas", "path": "/x"}, AZURE])
def test_readers_may_have_the_claim_of_the_writer(target: dict[str, Any], facts: Facts) -> None:
    assert list(emitted(facts, target | {"readers": "models"})) == ["volume/models", "claim/models"]
    assert list(emitted(facts, target | {"readers": "seen"}))[1:3] == ["volume/seen", "claim/models"]


def test_no_two_volumes_of_a_share_have_one_handle(facts: Facts) -> None:
    made = [*emitted(facts, AZURE, namespace="a").values(), *emitted(facts, AZURE, namespace="b").values()]
    handles = [one["spec"]["csi"]["volumeHandle"] for one in made if one["kind"] == "PersistentVolume"]
    assert len(set(handles)) == len(handles) == 4
    assert not any("#" in handle for handle in handles)  # the driver would read names of its own out of it


@pytest.mark.parametrize(
    ("target", "namespace", "where"),
    [({}, None, "default"), ({}, "a", "a"), ({"secret_namespace": "kube-system"}, "a", "kube-system")],
)
def test_the_secret_is_named_with_its_namespace(
    target: dict[str, Any], namespace: str | None, where: str, facts: Facts
) -> None:
    kubernetes = {"namespace": namespace} if namespace else {}
    settings = read(kubernetes, {"pvc": AZURE | target})
    for one in objects(settings, settings.target("pvc"), facts)[:2]:
        secret = one["spec"]["csi"]["nodeStageSecretRef"]
        assert secret == {"name": "azure-storage-secret", "namespace": where}
    assert any(f"-n {where} create secret" in note for note in notes(settings, settings.target("pvc"), facts))


def test_files_of_a_share_belong_to_who_writes_them(facts: Facts) -> None:
    own = emitted(facts, AZURE, user=1234, group=99)["volume/models"]["spec"]["mountOptions"]
    assert {"uid=1234", "gid=99", "dir_mode=0755", "file_mode=0644"} <= set(own)
    openshift = emitted(facts, AZURE, openshift=True)["volume/models"]["spec"]["mountOptions"]
    assert {"gid=0", "dir_mode=0775", "file_mode=0664"} <= set(openshift)  # any uid, always group 0
    recommended = {"mfsymlinks", "nobrl", "cache=strict", "actimeo=30", "nosharesock"}
    assert recommended <= set(own) and recommended <= set(openshift)


@pytest.mark.parametrize(
    ("target", "there", "absent"),
    [
        ({"address": "s3://models"}, [], ["endpoint-url", "force-path-style", "region", "prefix"]),
        ({"address": "s3://models", "region": "eu-west-1", "path_style": True}, ["region eu-west-1"], ["endpoint-url"]),
        (
            {"address": "minio://m:9000/models/a/b/"},
            ["endpoint-url https://m:9000", "region us-east-1", "force-path-style", "prefix a/b/"],
            [],
        ),
        ({"address": "minio://m/models", "path_style": False}, ["endpoint-url https://m"], ["force-path-style"]),
        (
            {"address": "s3://models", "endpoint": "http://s3.lan"},
            ["endpoint-url http://s3.lan", "force-path-style"],
            [],
        ),
    ],
)
def test_mountpoint_is_told_where_the_bucket_is(
    target: dict[str, Any], there: list[str], absent: list[str], facts: Facts
) -> None:
    made = emitted(facts, {"kind": "s3"} | target)
    options = made["volume/models"]["spec"]["mountOptions"]
    assert {"read-only", "allow-other", *there} <= set(options)
    assert not [option for option in options if option.split()[0] in absent]
    assert made["volume/models"]["spec"]["csi"]["volumeAttributes"]["bucketName"] == "models"


def test_no_volume_names_a_secret_that_mountpoint_would_not_read(facts: Facts) -> None:
    for case in ("minio", "s3"):
        text = (GOLDEN / f"{case}.yaml").read_text()
        assert "SecretRef" not in text
    assert "aws-secret" in (GOLDEN / "minio.yaml").read_text()


def test_claims_of_a_class_leave_it_out_where_the_default_is_meant(facts: Facts) -> None:
    (claim,) = emitted(facts, {"kind": "storage-class"}).values()
    assert "storageClassName" not in claim["spec"] and "volumeName" not in claim["spec"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    two = emitted(facts, {"kind": "rwo", "claims": ["a", "b"], "storage_class": "gp3"})
    assert list(two) == ["claim/a", "claim/b"]
    assert all(one["spec"]["accessModes"] == ["ReadWriteOnce"] for one in two.values())
    assert all(one["spec"]["storageClassName"] == "gp3" for one in two.values())


@pytest.mark.parametrize(
    ("size", "expected"), [(0, "1Gi"), (6 * GB, "13Gi"), (48 * GB, "99Gi"), (10 * 2**30, "22Gi"), (2**29, "2Gi")]
)
def test_the_room_is_two_releases_and_headroom(size: int, expected: str, facts: Facts) -> None:
    (claim,) = emitted(replace(facts, size=size), {"kind": "storage-class"}).values()
    assert claim["spec"]["resources"] == {"requests": {"storage": expected}}


def test_a_size_is_taken_unless_the_release_does_not_fit(facts: Facts) -> None:
    target = {"kind": "nfs", "server": "nas", "path": "/x"}
    made = emitted(facts, target | {"size": "1.5Ti"})
    assert {one["spec"]["capacity"]["storage"] for one in made.values() if "capacity" in one["spec"]} == {"1.5Ti"}
    with pytest.raises(InvalidInput, match=r"5Gi does not hold release .* 6000000000 bytes") as raised:
        emitted(facts, target | {"size": "5Gi"})
    assert "13Gi" in raised.value.hint and "7Gi" in raised.value.hint


def test_room_for_one_release_is_said_to_be_that(facts: Facts) -> None:
    def said(size: str) -> list[str]:
        settings = read({"namespace": "a"}, {"pvc": {"kind": "storage-class", "size": size}})
        return notes(settings, settings.target("pvc"), facts)

    (only,) = said("7Gi")
    assert "holds one release" in only and "13Gi" in only
    assert said("13Gi") == []


def test_a_claim_that_exists_needs_nothing(facts: Facts) -> None:
    settings = Settings()
    with pytest.raises(UsageError, match="The claim models exists already") as raised:
        objects(settings, settings.target("pvc"), facts)
    assert "--nfs" in raised.value.hint


@pytest.mark.parametrize(
    ("text", "size"),
    [("1", 1), ("500m", 0), ("2k", 2000), ("1.5M", 1_500_000), ("1Ki", 1024), ("20Gi", 20 * 2**30), ("1E", 10**18)],
)
def test_quantities_in_bytes(text: str, size: int) -> None:
    assert bytes_of(Quantity(text)) == size


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (places.Export, ["/", "/a/b"], ["", "a", "//", "/a/", "/a b", "/a/../b"]),
        (places.Account, ["abc", "a1b2"], ["ab", "A1b", "a-b", "a" * 25, "abc\n"]),
        (places.Share, ["ml-models", "a1b"], ["ab", "a--b", "-ab", "ab-", "A1b", "a" * 64, "abc\n"]),
        (places.Folder, ["a", "a/b.c"], ["", "/a", "a/", "a//b", "..", "a/../b", "a b", "${pvc.metadata.name}"]),
        (
            places.Url,
            ["http://m:9000", "https://s3.example"],
            [
                "m:9000",
                "https://",
                "https://u:p@m",
                "https://m/x",
                "ftp://m",
                "http://m:0",
                "http://m:65536",
                "http://m a",
            ],
        ),
        (
            places.BucketAddress,
            ["s3://abc", "s3://a.b-c/x/y/", "minio://m:9000/abc/p", "minio://m/abc"],
            ["abc", "s3://", "s3://A1b", "s3://a..b", "s3://abc/../x", "s3://abc//x", "s3://abc/x=y --allow-delete"],
        ),
        (
            places.BucketAddress,
            ["minio://10.0.0.1:9000/abc/"],
            ["minio://m:9000", "minio:///abc", "minio://u:p@m/abc", "gs://abc", "s3://m:9000/abc", "minio://m/abc/?x"],
        ),
        (
            places.MountOption,
            ["sec=krb5p", "noresvport", "rsize=1048576", "max_channels=4"],
            ["", "a,b", "a b", "a=", "ro", "rw", "rw=1", "password=x", "username=x", "credentials=/x", "A", "a=b,rw"],
        ),
    ],
)
def test_places(kind: type[str], good: list[str], bad: list[str]) -> None:
    assert [str(kind(text)) for text in good] == good
    for text in bad:
        with pytest.raises(ValueError, match=r"not|path|would"):
            kind(text)


@pytest.mark.parametrize("case", CASES)
def test_the_table_for_provision_toml_means_the_same_target(case: str) -> None:
    import tomllib

    kubernetes, target = CASES[case]
    settings = read(kubernetes, {"pvc": target})
    tables = tomllib.loads(as_toml("pvc", settings.target("pvc")))["targets"]
    assert tables == {"pvc": target}
    assert read(kubernetes, tables) == settings


@pytest.mark.parametrize("wrong", [{"bucket": "b"}, {"secret": "s"}, {"address": "models"}, {"endpoint": "m:9000"}])
def test_what_a_bucket_does_not_have_is_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidDocument, match=rf"targets\.pvc\.{next(iter(wrong))}"):
        read({}, {"pvc": {"kind": "s3", "address": "s3://models"} | wrong})


SHORT: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "nfs": (("--nfs", "nas:/export"), {"kind": "nfs", "server": "nas", "path": "/export"}),
    "nfs-6": (("--nfs", "[fd00::1]:/"), {"kind": "nfs", "server": "fd00::1", "path": "/"}),
    "azure": (("--azure", "acmestore/ml-models"), AZURE),
    "azure-url": (("--azure", "azurefiles://acmestore/ml-models/a/b"), AZURE | {"folder": "a/b"}),
    "class": (("--storage-class", "cephfs", "--size", "9Gi"), {"kind": "storage-class", "storage_class": "cephfs"}),
    "rwo": (("--rwo", "a", "--rwo", "b"), {"kind": "rwo", "claims": ["a", "b"]}),
    "s3": (("--s3", "minio://m:9000/models/x"), {"kind": "s3", "address": "minio://m:9000/models/x"}),
}


@pytest.mark.parametrize("short", SHORT)
def test_the_short_way_is_the_table(short: str, tmp_path: Path) -> None:
    write(tmp_path, small())
    arguments, table = SHORT[short]
    size = {"size": "9Gi"} if "--size" in arguments else {}
    done = provision("emit", "volume", *arguments, "--namespace", "a", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    made = document(small())
    settings = read({"namespace": "a"}, {"pvc": table | size})
    expected = objects(settings, settings.target("pvc"), Facts.of(made.lock, made.text, made.digest))
    assert manifests.load(done.out) == expected
    told = as_toml("pvc", settings.target("pvc"))
    assert "".join(f"# {line}\n" for line in told.splitlines()) in done.out


def test_options_are_stronger_than_the_file_and_sets_than_options(tmp_path: Path) -> None:
    write(tmp_path, small())
    (tmp_path / "provision.toml").write_text(
        '[targets.pvc]\nkind = "nfs"\nserver = "old"\npath = "/old"\nnconnect = 16\n'
        '[targets.archive]\nkind = "rwo"\nclaims = ["archive"]\n'
    )

    def first(*arguments: str) -> Any:
        done = provision("emit", "volume", *arguments, cwd=tmp_path)
        assert (done.code, done.err) == (0, "")
        return manifests.load(done.out)[0]

    assert first()["spec"]["nfs"] == {"server": "old", "path": "/old"}
    new = first("--nfs", "new:/new", "--set", 'targets.pvc.version="4.2"')["spec"]
    assert new["nfs"] == {"server": "new", "path": "/new"}
    assert new["mountOptions"] == ["nfsvers=4.2", "hard", "nconnect=16"]
    assert first("--size", "7Gi")["spec"]["capacity"] == {"storage": "7Gi"}
    assert first("--rwo", "b")["metadata"]["name"] == "b"  # nothing of the NFS target is left
    assert first("--to", "archive")["metadata"]["name"] == "archive"


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ((), 2, "exists already"),
        (("--nfs", "nas"), 2, "SERVER:/PATH"),
        (("--azure", "acmestore"), 2, "ACCOUNT/SHARE"),
        (("--nfs", "nas:/x", "--s3", "s3://models"), 2, "one of"),
        (("--nfs", "nas:/x y"), 4, "targets.pvc.path"),
        (("--azure", "Acme/models"), 4, "targets.pvc.account"),
        (("--s3", "models"), 4, "targets.pvc.address"),
        (("--nfs", "nas:/x", "--size", "1Ki"), 4, "does not hold"),
        (("--to", "other"), 7, "no target other"),
    ],
)
def test_what_is_wrong_is_named(arguments: tuple[str, ...], code: int, says: str, tmp_path: Path) -> None:
    write(tmp_path, small())
    done = provision("emit", "volume", *arguments, cwd=tmp_path)
    assert (done.code, done.out) == (code, "")
    assert says in done.err


def test_a_folder_is_what_kustomize_applies(tmp_path: Path) -> None:
    write(tmp_path, small())
    done = provision("emit", "volume", "--azure", "acmestore/ml-models", "-o", "deploy", cwd=tmp_path)
    assert (done.code, done.out) == (0, "")
    assert "kubectl apply -k deploy" in done.err
    kinds = [(one["kind"], one["metadata"]["name"]) for one in manifests.kustomize(tmp_path / "deploy")]
    both = [(kind, name) for kind in ("PersistentVolume", "PersistentVolumeClaim") for name in ("models", "models-ro")]
    assert sorted(kinds) == both
