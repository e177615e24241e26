"""jobs/Dockerfile and what it installs, as far as that shows without building it (contract/test_image.py does)."""

from __future__ import annotations

import json
import re
import shlex
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support import pods
from tests.support.readonly import REPOSITORY
from tests.support.requirements import locked

DOCKERFILE = REPOSITORY / "jobs/Dockerfile"
EXTRAS = {
    "image": ("s3", "minio", "azure"),
    "server": ("hub", "fastembed", "serve", "grpc", "openvino", "otel"),
    "ray": ("ray", "serve", "fastembed", "openvino", "otel"),
}
APART = {"ray"}  # tested in an environment of its own


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions in order; no comments, no continuation lines."""
    lines = [line for line in DOCKERFILE.read_text().splitlines() if not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [(word, rest.strip()) for line in joined.splitlines() if line for word, rest in [line.split(None, 1)]]


def stages() -> dict[str, tuple[str, list[tuple[str, str]]]]:
    """Stage -> what it starts from, and its instructions."""
    found: dict[str, tuple[str, list[tuple[str, str]]]] = {}
    for word, rest in instructions():
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            found[name] = (base, [])
        elif found:
            found[name][1].append((word, rest))
    return found


def test_every_stage_starts_from_a_pinned_base_or_another_stage() -> None:
    arguments = dict(rest.split("=", 1) for word, rest in instructions() if word == "ARG" and "=" in rest)
    assert re.fullmatch(r"docker\.io/library/python:3\.11\.\d+-slim-\w+", arguments["BASE"])
    assert arguments["BUILD_BASE"] == "${BASE}"
    known = {"${BASE}", "${BUILD_BASE}", *stages()}
    assert {base for base, _ in stages().values()} <= known
    assert list(stages())[-1] == "mirror", "the default target"


def test_the_last_stages_only_copy() -> None:
    commands = {"mirror": {}, "server": {"EXPOSE": "9000", "CMD": '["serve"]'}, "ray": {}}
    for name, more in commands.items():
        base, lines = stages()[name]
        assert (base, {word for word, _ in lines}) == ("runtime", {"LABEL", "COPY", *more})
        assert {word: rest for word, rest in lines if word in more} == more
        assert all(rest.startswith(f"--from={name}-files ") for word, rest in lines if word == "COPY")
    runtime = dict(stages()["runtime"][1])
    assert runtime["USER"] == ":".join(map(str, pods.IMAGE_USER))
    assert json.loads(runtime["ENTRYPOINT"]) == list(pods.ENTRYPOINT)
    said = dict(word.split("=", 1) for word in shlex.split(runtime["ENV"]))
    assert said.pop("PATH").startswith("/opt/provision/bin:")
    assert said == pods.IMAGE_VARIABLES


@pytest.mark.parametrize("name", ["build", *EXTRAS])
def test_what_is_installed_has_hashes_and_is_what_the_tests_ran_with(name: str) -> None:
    text = (REPOSITORY / "requirements" / f"{name}.txt").read_text()
    blocks = re.split(r"\n(?=[A-Za-z0-9])", text.strip())
    assert len(blocks) == len(locked(name))
    assert all("--hash=sha256:" in block for block in blocks)
    tested = locked("dev")
    assert {one: version for one, version in locked(name).items() if tested.get(one, version) != version} == {}
    if name != "build" and name not in APART:
        assert locked(name).keys() <= tested.keys()


@pytest.mark.parametrize("name", EXTRAS)
def test_what_is_installed_is_what_the_project_asks_for(name: str) -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *(one for extra in EXTRAS[name] for one in extras[extra])]
    there = locked(name)
    for requirement in map(Requirement, wanted):
        if requirement.name == project["name"]:
            assert requirement.extras <= set(EXTRAS[name])
            continue
        assert requirement.specifier.contains(there[canonicalize_name(requirement.name)]), requirement
    others = {"fastembed", "openvino", "kubernetes", "sentence-transformers", "s3", "minio", "azure", "ray"}
    others -= set(EXTRAS[name])
    for extra in others:
        *_, last = map(Requirement, extras[extra])
        assert canonicalize_name(last.name) not in there, f"{name} needs no {extra}"
