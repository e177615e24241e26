"""Policies and the other texts of `provision access`."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any

import pytest

from provisioner.emit.access.azure import PERMISSIONS, Share, access
from provisioner.emit.access.policies import Document, Place, check_key, reader, same, tls_only, writer
from provisioner.errors import UsageError

KEY = "arn:aws:kms:eu-central-1:123456789012:key/0a1b"


def allows(document: Document, action: str, resource: str, prefix: str | None = None) -> bool:
    """What AWS decides: a condition on a key that the request lacks does not hold."""
    for statement in document["Statement"]:
        patterns = statement.get("Condition", {}).get("StringLike", {}).get("s3:prefix")
        holds = patterns is None or (prefix is not None and any(fnmatchcase(prefix, one) for one in patterns))
        if holds and action in statement["Action"] and any(fnmatchcase(resource, one) for one in statement["Resource"]):
            return True
    return False


@pytest.mark.parametrize(("prefix", "start"), [("", ""), ("/teams/a/", "teams/a/"), ("teams/a", "teams/a/")])
def test_a_prefix_ends_with_one_slash_or_is_empty(prefix: str, start: str) -> None:
    place = Place.of("models", prefix)
    arn = f"arn:aws:s3:::models/{start}"
    assert place.prefix == start
    assert allows(reader(place), "s3:GetObject", f"{arn}releases/1/a/b")
    assert allows(reader(place), "s3:GetObject", f"{arn}current")
    assert not allows(reader(place), "s3:GetObject", f"{arn}staging/1.x")
    assert allows(writer(place), "s3:PutObject", f"{arn}staging/1.x")
    assert not allows(reader(place), "s3:PutObject", f"{arn}releases/1/a")
    for bad in ("s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload", "s3:ListBucketMultipartUploads"):
        assert bad not in json.dumps(reader(place))


def test_lists_are_for_the_prefix_alone() -> None:
    place, bucket = Place.of("models", "teams/a"), "arn:aws:s3:::models"
    assert allows(reader(place), "s3:ListBucket", bucket, "teams/a/releases/")
    assert not any(allows(reader(place), "s3:ListBucket", bucket, p) for p in (None, "", "teams/a/", "teams/b/"))
    assert allows(writer(place), "s3:ListBucket", bucket, "teams/a/")
    assert not any(allows(writer(place), "s3:ListBucket", bucket, p) for p in (None, "", "teams/", "teams/ab/"))
    assert allows(writer(Place.of("models", "")), "s3:ListBucket", bucket)
    assert allows(writer(place), "s3:ListBucketMultipartUploads", bucket)  # there is no prefix to ask for


def test_keys_and_partitions() -> None:
    place = Place.of("models", "")
    assert "kms:" not in json.dumps([reader(place), writer(place)])
    assert reader(place, kms_key=KEY)["Statement"][-1]["Action"] == ["kms:Decrypt"]
    assert writer(place, kms_key=KEY)["Statement"][-1] == {
        "Sid": "UseKey",
        "Effect": "Allow",
        "Action": ["kms:Decrypt", "kms:GenerateDataKey"],
        "Resource": [KEY],
    }
    assert "arn:aws:s3" not in json.dumps([writer(place, "aws-cn"), tls_only(place, "aws-cn")])
    for key, partition in ((KEY, "aws-cn"), ("alias/models", "aws"), (KEY.replace(":key/", ":alias/"), "aws")):
        with pytest.raises(UsageError):
            check_key(key, partition)


def test_two_places_never_share_a_name() -> None:
    prefixes = ["", "a", "a/b", "a+b", "a.b", "a-b", "a=b", "a@2Bb", "a@b", "a,b", "ä", "a b", "reader"]
    names = {Place.of("models", prefix).name(role) for prefix in prefixes for role in ("reader", "writer")}
    assert len(names) == 2 * len(prefixes)
    assert all(re.fullmatch(r"[A-Za-z0-9_+.@-]{3,128}", name) for name in names)  # what IAM and MinIO both take
    assert Place.of("models", "").name("reader") == "models-reader"


@pytest.mark.parametrize("prefix", ["a*", "a?", "${aws:username}", "a//b", "../a", "a/.", 'a"', "a\\b", "a\nb"])
def test_prefixes_that_would_mean_more_than_they_say(prefix: str) -> None:
    with pytest.raises(UsageError):
        Place.of("models", prefix)


@pytest.mark.parametrize("bucket", ["", "AB", "a", "models/x", "models*", "-models", "a..b"])
def test_names_that_no_bucket_has(bucket: str) -> None:
    with pytest.raises(UsageError):
        Place.of(bucket, "")


def test_a_policy_is_the_same_in_another_order_only() -> None:
    document = writer(Place.of("models", "a"))
    other: Any = json.loads(json.dumps(document))
    other["Statement"].reverse()
    other["Statement"][0]["Action"].reverse()
    other["Statement"][1]["Action"] = "s3:ListBucket"
    assert same(document, other)
    other["Statement"][0]["Action"].append("s3:PutObjectAcl")
    assert not same(document, other)
    assert not same(document, writer(Place.of("models", "b")))
    assert not same(document, {})


def test_azure_permissions_are_what_the_sdk_calls_them() -> None:
    fileshare = pytest.importorskip("azure.storage.fileshare", reason="azure-storage-file-share is not installed")
    words = {"reader": {"read", "list"}, "writer": {"read", "list", "create", "write", "delete"}}
    for role, permissions in PERMISSIONS.items():
        asked = fileshare.ShareSasPermissions.from_string(permissions)
        assert {word for word in words["writer"] if getattr(asked, word)} == words[role]
        assert str(asked) == permissions
        soon = datetime.now(UTC) + timedelta(days=1)
        assert f"sp={permissions}&" in fileshare.generate_share_sas("acme", "models", "a2V5", asked, soon)


def test_azure_commands_name_the_share_and_hold_no_secret() -> None:
    found = access(Share("acme", "models", "ml"), 7)
    assert "cannot be limited to a folder" in " ".join(found["notes"])
    for role in ("reader", "writer"):
        policy, sas = found[role]["sas"]
        assert f"--permissions {PERMISSIONS[role]} " in policy
        assert "+7 days" in policy
        assert f"--policy-name provision-{role}" in sas
        assert found[role]["role"] in found[role]["grant"]
        assert "/storageAccounts/acme/fileServices/default/fileshares/models" in found[role]["grant"]
    for account, share in (("Acme", "models"), ("acme", "Models"), ("acme", "a--b"), ("acme", "a/b"), ("ac", "models")):
        with pytest.raises(UsageError):
            Share(account, share, "")
