"""`[kubernetes]` and `[targets.*]`: strict, with every problem and its place; flags over the file."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from provisioner.emit.kubernetes import names
from provisioner.emit.kubernetes.facts import CONFIG_MAP_LIMIT, Facts
from provisioner.emit.kubernetes.jobs import lock_map
from provisioner.emit.kubernetes.objects import pod_defaults
from provisioner.emit.kubernetes.overrides import override
from provisioner.emit.kubernetes.quantities import amount
from provisioner.emit.kubernetes.servers import parts
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
        (names.Namespace, ["a", "a-1", "a" * 63], ["", "-a", "A", "a.b", "a" * 64, "a\n"]),
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
        (
            names.Host,
            ["nas", "10.0.0.1", "fd00::1", "::ffff:10.0.0.1", "a.b.example", "NAS-1.example", "1.nas", "fd00"],
            [
                *("", "a b", "a/b", "-a", "a_b", "a..b", ".a", "a.", "a-.b", "a\n", "a" * 64, ":::::", "1::2::3"),
                *("fd00::g", "fe80::1%eth0", "10.0.0.256", "10.0.0", "1", "010.0.0.1", "[fd00::1]"),
            ],
        ),
        (names.AbsolutePath, ["/a", "/a/b.c"], ["", "/", "a", "/a/", "/a/../b", "/a//b", "/a b", "/$(x)"]),
        (
            names.Schedule,
            [
                "17 3 * * 0",
                "*/5 0-6 1,15 * MON",
                "@daily",
                "0 23 31 12 6",
                "5/15 8-18/2 ? jan-JUN sun,Tue-sat",
                "00 07 01 01 *",
            ],
            [
                *("", "* * * *", "@never", "a b c d e f", "a b c d e", "99 99 99 99 99", "60 * * * *", "* 24 * * *"),
                *("* * 0 * *", "* * 32 * *", "* * * 13 *", "* * * 0 *", "* * * * 7", "* * * mon *", "* * * * jan"),
                *("5-1 * * * *", "* * * * fri-mon", "* * * jun-2 *", "*/0 * * * *", "1, * * * *", "*  * * * *"),
                "* * * * *\n",
            ],
        ),
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
    assert [lock_map.name(read(one, {}), found) for one in ({}, {"name": "a2"})] == [
        f"models-lock-{made.digest[:12]}",
        f"a2-lock-{made.digest[:12]}",
    ]
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


# What no type says


@pytest.mark.parametrize(
    ("table", "place", "words"),
    [
        ({"job": {"resources": {"memory": "4Gi"}}}, "job.resources.memory", "4Gi is above memory_limit, which is 1Gi"),
        ({"job": {"resources": {"cpu": 2, "cpu_limit": "1500m"}}}, "job.resources.cpu", "2 is above cpu_limit"),
        ({"verify": {"resources": {"memory_limit": "100M"}}}, "verify.resources.memory", "which is 100M"),
        ({"onyx": {"inference": {"resources": {"cpu": "3"}}}}, "onyx.inference.resources.cpu", "which is 2"),
        ({"ray": {"head": {"memory": "5Gi"}}}, "ray.head.memory", "which is 4Gi"),
        ({"kserve": {"image": "vllm:1", "runtime": "theirs"}}, "kserve.runtime", "beside image"),
        ({"tolerations": [{"operator": "Exists"}, {"value": "a"}]}, "tolerations[1].key", "missing"),
        ({"tolerations": [{"key": "a", "operator": "Exists", "value": "b"}]}, "tolerations[0].value", "not compared"),
        ({"tolerations": [{"key": "a", "tolerationSeconds": 5}]}, "tolerations[0].tolerationSeconds", "NoExecute"),
        ({"tolerations": [{"key": "a", "tolerationSeconds": "5"}]}, "tolerations[0].tolerationSeconds", "int"),
        ({"tolerations": [{"key": "a b"}]}, "tolerations[0].key", "not the key"),
        ({"tolerations": [{"key": "a", "operator": "In"}]}, "tolerations[0].operator", "enum"),
        ({"tolerations": [{"key": "a", "effect": "Never"}]}, "tolerations[0].effect", "enum"),
        ({"tolerations": [{"key": "a", "colour": "b"}]}, "tolerations[0].colour", "unknown key"),
        ({"job": {"no_proxy": "a\n"}}, "job.no_proxy", "regex"),
    ],
)
def test_what_the_api_server_would_refuse_is_named(table: dict[str, Any], place: str, words: str) -> None:
    ((where, what),) = problems_of(table, {}).items()
    assert where == f"kubernetes.{place}"
    assert words in what


@pytest.mark.parametrize(
    "one",
    [
        {"operator": "Exists"},
        {"key": "a"},
        {"key": "example.com/gpu", "operator": "Equal", "value": "x", "effect": "NoSchedule"},
        {"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 0},
    ],
)
def test_tolerations_are_as_they_were_given(one: dict[str, Any]) -> None:
    settings = read({"tolerations": [one]}, {})
    assert pod_defaults(settings)["tolerations"] == [one]


def test_namespaces_may_be_longer_than_our_names() -> None:
    target = {"kind": "azure-files", "account": "store", "share": "models", "secret_namespace": "b" * 63}
    settings = read({"namespace": "a" * 63}, {"pvc": target})
    assert settings.namespace == "a" * 63
    assert problems_of({"namespace": "a" * 64}, {"pvc": target | {"secret_namespace": "b" * 64}}).keys() == {
        "kubernetes.namespace",
        "targets.pvc.secret_namespace",
    }


def test_a_quantity_may_be_a_number() -> None:
    kubernetes: dict[str, Any] = {}
    override(kubernetes, {}, ("job.resources.cpu=2", "job.resources.cpu_limit=2.5", "job.resources.memory=1_000_000"))
    found = read(kubernetes, {}).job.resources
    assert (found.cpu, found.cpu_limit, found.memory) == ("2", "2.5", "1000000")
    assert read({"job": {"resources": {"cpu": 2.0}}}, {}).job.resources.cpu == "2"


@pytest.mark.parametrize(
    "wrong", [-1, 0.0005, 1.2345, float("nan"), float("inf"), 1e22, True, [1], {"a": 1}, 10**40, "1e3"]
)
def test_not_every_number_is_a_quantity(wrong: Any) -> None:
    assert problems_of({"job": {"resources": {"cpu": wrong}}}, {}).keys() == {"kubernetes.job.resources.cpu"}


def test_no_other_text_may_be_a_number() -> None:
    assert problems_of({"namespace": 5, "image": 1.5}, {}).keys() == {"kubernetes.namespace", "kubernetes.image"}


@pytest.mark.parametrize(
    "text",
    [
        *("0", "2", "500m", "1.5", "3k", "1.5M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1.5Gi", "1Ti", "1Pi", "1Ei"),
        *("1e3", "5e-1", "12e+2"),
    ],
)
def test_quantities_are_the_numbers_that_others_read(text: str) -> None:
    from lightkube.utils.quantity import parse_quantity

    assert amount(text) == parse_quantity(text)


@pytest.mark.parametrize(("text", "number"), [("250u", "0.00025"), ("100n", "0.0000001"), ("1E3", "1000")])
def test_quantities_that_only_the_api_server_writes(text: str, number: str) -> None:
    assert amount(text) == Decimal(number)


@pytest.mark.parametrize("text", ["", "x", "1 Gi", "Gi", "-1", "1Gib", "1e", "1ee3", "1" * 31, "\u0661", None, "."])
def test_what_is_no_quantity_is_no_number(text: str | None) -> None:
    assert amount(text) is None


# Secrets in the open

SECRET = "sk-123"


@pytest.mark.parametrize(
    "words",
    [
        [f"--api-key={SECRET}"],
        ["--api-key", SECRET],
        ["-token", SECRET],
        ["sh", "-c", f"export HF_TOKEN={SECRET}; serve"],
        ["sh", "-c", f"PASSWORD='{SECRET}' serve"],
        [f'--config={{"api_key": "{SECRET}"}}'],
        [f"--header=Authorization: Bearer {SECRET}"],
        [f"https://user:{SECRET}@hub.example/x"],
        [f"https://hub.example/x?sig={SECRET}"],
        [f"-Dspring.datasource.password={SECRET}"],
    ],
    ids=str,
)
@pytest.mark.parametrize("key", ["args", "command"])
def test_no_secret_is_in_a_command_line(words: list[str], key: str) -> None:
    program = read({"kserve": {key: ["serve", *words]}}, {}).kserve
    with pytest.raises(InvalidDocument) as raised:
        parts.check(program, "kserve", ())
    (problem,) = raised.value.problems
    assert problem.place == f"{key}[{len(words)}]"
    assert SECRET not in f"{raised.value} {problem.message} {raised.value.hint}"


@pytest.mark.parametrize(
    "words",
    [
        ["--api-key=$(VLLM_API_KEY)"],
        ["--api-key", "$(VLLM_API_KEY)"],
        ["sh", "-c", 'exec serve --token="$HF_TOKEN"'],
        ["sh", "-c", "API_KEY=$(cat /run/secrets/key) serve"],
        ["--tokenizer=a/b", "--max-num-batched-tokens", "8192", "--enable-token=true"],
        ["--use-token", "--port=8080"],
        ["--header=Authorization: Bearer $(TOKEN)"],
        ["--model=/mnt/models", "--served-model-name={{.Name}}"],
    ],
    ids=str,
)
def test_what_only_mentions_a_secret_is_taken(words: list[str]) -> None:
    parts.check(read({"kserve": {"args": words}}, {}).kserve, "kserve", ())


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("example.com/note", f"user=me password={SECRET}"),
        ("example.com/dsn", f"postgres://me:{SECRET}@db/x"),
        ("example.com/config", f'{{"token": "{SECRET}"}}'),
        ("example.com/password", SECRET),
        ("api-token", SECRET),
    ],
)
def test_no_secret_is_in_an_annotation(key: str, text: str) -> None:
    ((place, message),) = problems_of({"annotations": {key: text}}, {}).items()
    assert place == f"kubernetes.annotations.{key}"
    assert SECRET not in message


def test_an_annotation_may_name_a_secret() -> None:
    named = {
        "nginx.ingress.kubernetes.io/auth-secret": "basic-auth",
        "vault.hashicorp.com/agent-inject-token": "true",
        "example.com/note": "the token: see the vault; password rules at https://wiki.example/passwords",
    }
    assert read({"annotations": named}, {}).annotations == named
