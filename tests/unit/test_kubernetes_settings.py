"""`[kubernetes]` and `[targets.*]`: strict, with every problem and its place; flags over the file."""

from __future__ import annotations

from typing import Any

import pytest

from provisioner.emit.kubernetes import names
from provisioner.emit.kubernetes.facts import CONFIG_MAP_LIMIT, Facts
from provisioner.emit.kubernetes.overrides import override
from provisioner.emit.kubernetes.settings import Settings, read
from provisioner.emit.kubernetes.targets import Claim, Nfs, readers, writers
from provisioner.errors import InvalidDocument, InvalidInput, NotFound, UsageError
from provisioner.lockfile import parse
from provisioner.model import Layout
from tests.support.locks import document, small


def problems_of(kubernetes: Any, targets: Any) -> dict[str, str]:
    with pytest.raises(InvalidDocument) as raised:
        read(kubernetes, targets)
    assert raised.value.exit_code == 4
    return {problem.place: problem.message for problem in raised.value.problems}


def test_no_tables_are_the_defaults() -> None:
    settings = read({}, {})
    assert settings == Settings()
    assert settings.target("pvc") == Claim(claim=names.Subdomain("models"))


def test_every_problem_is_named_with_its_place() -> None:
    found = problems_of(
        {"imag": "x", "labels": {"a b": "c", "ok": "not ok"}, "job": {"secrets": {"1": "a/b", "A": "b"}, "ttl": -1}},
        {"pvc": {"kind": "nfs", "server": "h h"}, "x": {"kind": "q"}, "A-": {"kind": "claim", "claim": "c"}, "y": 3},
    )
    assert set(found) == {
        "kubernetes.imag",
        "kubernetes.labels.a b",
        "kubernetes.labels.ok",
        "kubernetes.job.secrets.1",
        "kubernetes.job.secrets.A",
        "kubernetes.job.ttl",
        "targets.A-",
        "targets.pvc.server",
        "targets.pvc.path",
        "targets.x.kind",
        "targets.y",
    }
    assert found["kubernetes.imag"] == "unknown key"
    assert found["targets.pvc.path"] == "missing"


@pytest.mark.parametrize("tables", [(3, {}), ({}, 3), ([], {}), ({"targets": {}}, {}), ({"job": 3}, {})])
def test_what_is_no_table_is_refused(tables: tuple[Any, Any]) -> None:
    assert problems_of(*tables)


def test_claims_of_a_target() -> None:
    settings = read({}, {"pvc": {"kind": "nfs", "server": "nas", "path": "/x"}, "two": {"kind": "rwo"}})
    target = settings.target("pvc")
    assert isinstance(target, Nfs)
    assert (writers(target), readers(target)) == (("models",), ("models-ro",))
    assert writers(settings.target("two")) == readers(settings.target("two")) == ("inference", "indexing")
    with pytest.raises(NotFound, match="no target nfs"):
        settings.target("nfs")


def test_set_is_stronger_than_the_file_and_checked_like_it() -> None:
    kubernetes: dict[str, Any] = {"job": {"completions": 2}}
    targets: dict[str, Any] = {}
    override(
        kubernetes,
        targets,
        ("job.completions=4", "openshift=true", "targets.pvc.kind=nfs", "targets.pvc.server=10.0.0.1"),
    )
    override(kubernetes, targets, ("targets.pvc.path=/models", 'job.sources=["minio://m:9000/b", "hub"]'))
    settings = read(kubernetes, targets)
    assert (settings.job.completions, settings.openshift) == (4, True)
    assert settings.job.sources == ("minio://m:9000/b", "hub")
    assert settings.target("pvc") == Nfs(server=names.Host("10.0.0.1"), path=names.AbsolutePath("/models"))


@pytest.mark.parametrize("given", ["job", "=4", "job..x=3", "name.x=3"])
def test_a_set_without_a_key_is_a_usage_error(given: str) -> None:
    with pytest.raises(UsageError):
        override({"name": "models"}, {}, (given,))


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (names.Name, ["a", "a-1", "a" * 40], ["", "-a", "a-", "A", "a.b", "a" * 41, "a\n", "1\u00b2"]),
        (names.Subdomain, ["a.b", "x-1.y"], ["a..b", ".a", "a_b", "a" * 254]),
        (names.LabelKey, ["a", "example.com/A_b.c"], ["", "/a", "a/", "a b", "e_x/a", "a/b/c"]),
        (names.LabelValue, ["", "A.b_c-1"], ["-", "a b", "a" * 64, "a\n"]),
        (names.Quantity, ["1", "500m", "1.5", "4Gi", "0"], ["", "1e3", "-1", "01", "4gi", "1 Gi", ".5"]),
        (names.EnvName, ["A", "_a1"], ["", "1A", "A-B", "A\n"]),
        (names.KeyRef, ["hf-token/token", "a.b/tls.crt"], ["a", "a/", "/k", "A/k", "a/b/c", "a/.."]),
        (
            names.Image,
            ["model-provisioner:0.1.0", "r.example:5000/a/b_c@sha256:" + "0" * 64, "a"],
            ["", "A", "a b", "a:", "a@sha256:0", "a/", "http://a/b"],
        ),
        (names.Host, ["nas", "10.0.0.1", "fd00::1", "a.b.example"], ["", "a b", "a/b", "-a", "a_b"]),
        (names.AbsolutePath, ["/a", "/a/b.c"], ["", "/", "a", "/a/", "/a/../b", "/a//b", "/a b", "/$(x)"]),
        (names.Schedule, ["17 3 * * 0", "*/5 0-6 1,15 * MON", "@daily"], ["", "* * * *", "@never", "a b c d e f"]),
    ],
)
def test_names(kind: type[str], good: list[str], bad: list[str]) -> None:
    assert [str(kind(text)) for text in good] == good
    for text in bad:
        with pytest.raises(ValueError, match=r"not|path"):
            kind(text)


def test_facts_name_the_release_and_the_lock() -> None:
    made = document(small())
    found = Facts.of(made.lock, made.text, made.digest)
    assert found.lock_name == f"models-lock-{made.digest[:12]}"
    assert parse(found.text.encode(), "models.lock") == made.lock
    assert found.model(None) is made.lock.models[0]
    assert found.model(made.lock.models[0].repo.name.upper()) is made.lock.models[0]
    with pytest.raises(NotFound, match="no model other"):
        found.model("other")
    with pytest.raises(NotFound, match="in the layout flat"):
        found.model(None, Layout.FLAT)


def test_a_lock_that_no_config_map_holds_is_refused_with_what_to_do() -> None:
    made = document(small())
    found = Facts.of(made.lock, made.text + b"# " + b"x" * CONFIG_MAP_LIMIT, made.digest)
    with pytest.raises(InvalidInput, match="ConfigMap holds") as raised:
        found.require_small()
    assert "lock_path" in raised.value.hint
