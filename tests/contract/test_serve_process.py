"""The model server as a process: what it refuses to start with, where it runs, and how it ends."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.faults_process import REPOSITORY, Done, environment, provision
from tests.support.patience import PATIENCE, until
from tests.support.readonly import UIDS, Pod, pod
from tests.support.serve_models import EMBEDDER_REPO, GRAPH, RERANKER_REPO, int8_embedder, shared
from tests.support.served import Served, at_work, await_event, await_ready, int8_release, release, serving, start

TEXTS = ["Every byte of this model matched the lock.", "Nothing else is served."]


SIGNALLED = """
import os, signal, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "provisioner.serve.server":
            try:
                os.kill(os.getpid(), signal.SIGTERM)
            except KeyboardInterrupt:
                if "--check" in sys.argv:
                    raise
sys.meta_path.insert(0, Finder())
from provisioner.cli.main import main
main()
"""


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return int8_release(tmp_path_factory.mktemp("store"))


@pytest.fixture
def copy(good: Path, tmp_path: Path) -> Path:
    """A release of its own, to be damaged."""
    return Path(shutil.copytree(good, tmp_path / "store" / "releases" / good.name))


def snapshot(folder: Path, repo: str) -> Path:
    (found,) = (folder / "hub" / f"models--{repo.replace('/', '--')}" / "snapshots").iterdir()
    return found


def refused(at: Path, tmp_path: Path, *options: str, **variables: str) -> Done:
    """How a server ends that must not start."""
    own = {"MODEL_SERVER_PORT": "0", "MODEL_SERVER_BIND": "127.0.0.1", "TMPDIR": str(tmp_path), "LOG_FORMAT": "json"}
    return provision("serve", "--at", at, *options, cwd=tmp_path, timeout=PATIENCE, **(own | variables))


def sentence(done: Done) -> str:
    """What it says for people; the lines of the log are left out."""
    return "\n".join(line for line in done.err.splitlines() if not line.startswith("{"))


def test_it_embeds_reranks_and_says_what_it_serves(good: Path, tmp_path: Path) -> None:
    with serving(good, tmp_path, EMBEDDER_BATCH_SIZE="4") as served:
        strange = served.event("misspelt")
        assert strange is not None and "EMBEDDER_BATCH_MAX_SIZE" in strange["message"]
        status, answer = served.ask("/embed", {"texts": TEXTS})
        assert status == 200 and [len(vector) for vector in answer["embeddings"]] == [384, 384]
        status, answer = served.ask("/rerank", {"query": TEXTS[0], "documents": [TEXTS[1], TEXTS[0]], "top_n": 1})
        assert status == 200 and [one["index"] for one in answer["results"]] == [1]
        assert served.ask("/readyz")[0] == 200
        facts = served.ask("/status.json")[1]
        assert facts["release"]["release"] == good.name
        ready = served.event("ready")
        assert ready is not None and ready["seconds"] > 0
        assert served.stop() == 0
    assert not any(text in served.log.read_text() for text in TEXTS)


def truncated(folder: Path) -> None:
    weights = snapshot(folder, EMBEDDER_REPO) / GRAPH
    data = weights.read_bytes()
    weights.unlink()
    weights.write_bytes(data[:-1])


def missing(folder: Path) -> None:
    (snapshot(folder, EMBEDDER_REPO) / "tokenizer.json").unlink()


def added(folder: Path) -> None:
    (snapshot(folder, EMBEDDER_REPO) / "onnx" / "model_optimized.onnx").write_bytes(b"another graph")


def without_record(folder: Path) -> None:
    (folder / "release.json").unlink()


@pytest.mark.parametrize(
    ("damage", "code", "named"),
    [
        (truncated, 3, "onnx/model.onnx: size"),
        (missing, 3, "tokenizer.json: missing"),
        (added, 3, "model_optimized.onnx: extra"),
        (without_record, 7, "release.json"),
    ],
)
def test_a_damaged_release_is_refused_by_its_record(
    copy: Path, tmp_path: Path, damage: Callable[[Path], None], code: int, named: str
) -> None:
    damage(copy)
    done = refused(copy, tmp_path)
    assert (done.code, named in sentence(done)) == (code, True), done.err
    assert "Traceback" not in done.err


def flip(file: Path, place: int) -> None:
    data = bytearray(file.read_bytes())
    data[place] ^= 0x01
    file.unlink()
    file.write_bytes(data)


@pytest.mark.parametrize("name", ["release.json", "models.lock"])
def test_a_pipe_in_place_of_a_record_holds_nothing_up(copy: Path, tmp_path: Path, name: str) -> None:
    (copy / name).unlink()
    os.mkfifo(copy / name)
    assert refused(copy, tmp_path).code == 3


def test_one_bit_in_the_weights_is_found_when_every_byte_is_read(copy: Path, tmp_path: Path) -> None:
    weights = snapshot(copy, EMBEDDER_REPO) / GRAPH
    flip(weights, weights.stat().st_size // 2)
    done = refused(copy, tmp_path, VERIFY="full")
    assert done.code == 3 and "onnx/model.onnx: digest" in sentence(done), done.err
    assert '"event":"ready"' not in done.err
    (failed,) = (line for line in map(json.loads, done.err.splitlines()[:-2]) if line.get("event") == "failed")
    assert (failed["level"], failed["exit_code"]) == ("error", 3) and "onnx/model.onnx" in failed["message"]


def test_weights_that_compute_no_numbers_are_refused_without_reading_every_byte(copy: Path, tmp_path: Path) -> None:
    """The embedding table of words filled with NaN: the graph loads without a word."""
    import numpy as np
    import onnx
    from onnx import numpy_helper

    path = snapshot(copy, EMBEDDER_REPO) / GRAPH
    size = path.stat().st_size
    graph = onnx.load(path)
    for tensor in graph.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.dtype == np.float32 and array.ndim == 1 and array.size == 384:
            tensor.CopyFrom(numpy_helper.from_array(np.full_like(array, np.nan), tensor.name))
    data = graph.SerializeToString()
    assert len(data) <= size
    path.unlink()
    # The same size, so that the record has nothing against it: a field that protobuf skips fills the rest.
    path.write_bytes(data + _filler(size - len(data)))
    done = refused(copy, tmp_path)
    assert done.code == 3 and "onnx/model.onnx: digest" in sentence(done), done.err
    assert '"event":"rehash"' in done.err


def test_weights_that_do_not_load_are_read_again_to_say_why(copy: Path, tmp_path: Path) -> None:
    weights = snapshot(copy, EMBEDDER_REPO) / GRAPH
    flip(weights, 0)
    done = refused(copy, tmp_path)
    assert done.code == 3 and "onnx/model.onnx: digest" in sentence(done), done.err


def _filler(size: int) -> bytes:
    """A length-delimited field 15999 of so many bytes in all, which no reader of ONNX knows."""
    if size == 0:
        return b""
    key = _varint(15999 << 3 | 2)
    for width in range(1, 6):
        rest = size - len(key) - width
        if rest >= 0 and len(_varint(rest)) == width:
            return key + _varint(rest) + bytes(rest)
    raise AssertionError(f"{size} bytes cannot be a field")


def _varint(number: int) -> bytes:
    result = bytearray()
    while number > 0x7F:
        result.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*result, number])


def test_another_commit_than_the_lock_at_hand_is_refused(good: Path, tmp_path: Path) -> None:
    own = (good / "models.lock").read_text()
    commit = snapshot(good, EMBEDDER_REPO).name
    other = tmp_path / "other.lock"
    other.write_text(own.replace(commit, "b" * 40))
    done = refused(good, tmp_path, "--lock", str(other))
    assert done.code == 3 and commit in sentence(done) and "b" * 40 in sentence(done), done.err
    (tmp_path / "own.lock").write_text(own)
    assert refused(good, tmp_path, "--lock", str(tmp_path / "own.lock"), "--check").code == 0


def test_a_model_that_is_named_and_not_there_is_refused(good: Path, tmp_path: Path) -> None:
    done = refused(good, tmp_path, MODEL_EMBEDDER_NAME="BAAI/bge-large-en-v1.5")
    assert done.code == 3 and EMBEDDER_REPO in sentence(done), done.err


def test_two_candidates_have_to_be_chosen_from(tmp_path: Path) -> None:
    folder = shared(int8_embedder)
    both = release(tmp_path / "store", {"local/one": folder, "local/two": folder})
    done = refused(both, tmp_path)
    assert done.code == 4 and "local/one, local/two" in sentence(done) and "MODEL_EMBEDDER_NAME" in sentence(done)
    done = refused(both, tmp_path, "--check", "--json", MODEL_EMBEDDER_NAME="two")
    assert done.code == 0 and [one["repo"] for one in done.json["models"]] == ["local/two"]


def test_a_store_without_an_active_release_says_how_to_make_one_active(good: Path, tmp_path: Path) -> None:
    store = Path(shutil.copytree(good.parent.parent, tmp_path / "inactive"))
    (store / "current").unlink()
    done = refused(store, tmp_path)
    assert done.code == 7 and f"releases activate {good.name}" in sentence(done)
    (store / "current").write_text(good.name)
    (store / "releases" / good.name / "release.json").unlink()
    done = refused(store, tmp_path)
    assert done.code == 3 and "release.json" in sentence(done)


def test_nothing_mounted_and_wrong_variables_have_exit_codes_of_their_own(good: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert refused(tmp_path / "empty", tmp_path).code == 7
    done = refused(good, tmp_path, EMBEDDER_BATCH_MAX_SIZE="many")
    assert done.code == 4 and "EMBEDDER_BATCH_MAX_SIZE" in sentence(done)


def test_a_mounted_store_serves_its_active_release(good: Path, tmp_path: Path) -> None:
    with serving(good.parent.parent, tmp_path) as served:
        assert served.ask("/status.json")[1]["release"]["release"] == good.name


def test_it_is_alive_while_it_loads_and_ready_only_then(good: Path, tmp_path: Path) -> None:
    """A pipe in place of the lock at hand holds the start up for as long as nobody writes to it."""
    gate = tmp_path / "lock"
    os.mkfifo(gate)
    served = start(good, tmp_path, "--lock", str(gate))
    try:
        served.url = await_event(served, "listening")["url"]
        assert [served.ask(path)[0] for path in ("/health", "/healthz")] == [200, 200]
        # Onyx's own server does not listen before it has loaded, and its health means that it can be asked.
        assert [served.ask(path)[0] for path in ("/readyz", "/api/health")] == [503, 503]
        assert served.ask("/embed", {"texts": TEXTS})[0] == 503
        gate.write_bytes((good / "models.lock").read_bytes())
        await_ready(served)
        assert served.ask("/readyz")[0] == 200
        assert served.ask("/embed", {"texts": TEXTS})[0] == 200
    finally:
        served.process.kill()
        served.process.wait()


def test_sigterm_before_it_listens_is_a_quiet_end(good: Path, tmp_path: Path) -> None:
    with serving(good, tmp_path, ready=False) as served:
        while not Path(f"/proc/{served.process.pid}/maps").read_text().count("msgspec"):  # imports are under way
            assert served.process.poll() is None
        assert served.stop() in (0, -signal.SIGTERM)
        assert "Run the same command again" not in served.log.read_text()


@pytest.mark.parametrize(("options", "code"), [((), 0), (("--check",), 130)])
def test_sigterm_between_the_imports_is_never_lost(tmp_path: Path, options: tuple[str, ...], code: int) -> None:
    """Python swallows what is raised in its own callbacks: the server would start, and here miss its release."""
    done = subprocess.run(
        [sys.executable, "-c", SIGNALLED, "serve", "--at", str(tmp_path), *options],
        cwd=REPOSITORY,
        env=environment(TMPDIR=str(tmp_path)),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == code, done.stderr


def test_a_task_that_the_release_has_no_model_for_is_named(tmp_path: Path) -> None:
    alone = release(tmp_path / "store", {EMBEDDER_REPO: shared(int8_embedder)})
    done = refused(alone, tmp_path, TASKS="rerank")
    assert done.code == 3 and "no model that reranks" in sentence(done) and "TASKS" in sentence(done)


def test_check_says_what_would_be_served_and_ends(good: Path, tmp_path: Path) -> None:
    done = refused(good, tmp_path, "--check", "--json")
    assert done.code == 0, done.err
    assert {one["task"]: one["repo"] for one in done.json["models"]} == {
        "embed": EMBEDDER_REPO,
        "rerank": RERANKER_REPO,
    }
    assert done.json["release"]["evidence"] == "recorded"


@pytest.mark.parametrize("signals", [1, 2])
def test_what_is_not_done_in_time_is_refused_and_the_end_is_an_orderly_one(
    good: Path, tmp_path: Path, signals: int
) -> None:
    more = {"DRAIN_DELAY": "0", "DRAIN_SECONDS": "1" if signals == 1 else "3000", "INDEXING_ONLY": "True"}
    with serving(good, tmp_path, EMBEDDER_BATCH_MAX_SIZE="64", EMBEDDER_BATCH_MAX_TOKENS="16384", **more) as served:
        body = {"texts": ["word " * 250] * 1000}  # four of these take a minute of both cores; none is waited for
        with ThreadPoolExecutor(4) as pool:
            asked = at_work(served, pool, 4, body)
            for _ in range(signals):
                served.process.send_signal(signal.SIGTERM)
                await_event(served, "draining")
            answers = [one.result() for one in asked]
        assert served.process.wait(PATIENCE) == 0
    assert {status for status, _ in answers} <= {200, 503} and 503 in {status for status, _ in answers}
    assert all(answer["request_id"] for status, answer in answers if status == 503)
    assert "terminate called" not in served.log.read_text()


@pytest.mark.parametrize(
    "command",
    [
        ("-m", "provisioner.serve"),
        ("-m", "uvicorn", "provisioner.serve.app:app", "--host", "127.0.0.1"),
    ],
)
def test_it_starts_in_the_other_ways_too(good: Path, tmp_path: Path, command: tuple[str, ...]) -> None:
    log = tmp_path / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, *command, "--port", "0"],
            cwd=REPOSITORY,
            env=environment(PROVISION_SERVE_AT=str(good), TMPDIR=str(tmp_path), MODEL_SERVER_BIND="127.0.0.1"),
            stdout=file,
            stderr=file,
        )
    served = Served(process, log)
    try:
        assert await_event(served, "ready")["seconds"] > 0
        served.url = until(lambda: listening(served))
        assert [served.ask("/readyz")[0], served.ask("/embed", {"texts": TEXTS})[0]] == [200, 200]
        served.stop()
    finally:
        process.kill()
        process.wait()


def listening(served: Served) -> str:
    """The address that uvicorn, or our own command, logged; "" until it has."""
    found = re.search(r"http://127\.0\.0\.1:[1-9]\d*", "\n".join(json.dumps(line) for line in served.lines))
    return found[0] if found else ""


def test_uvicorn_ends_with_the_sentence_and_the_code_when_the_release_is_damaged(copy: Path, tmp_path: Path) -> None:
    truncated(copy)
    done = subprocess.run(
        [sys.executable, "-m", "uvicorn", "provisioner.serve.app:app", "--port", "0"],
        cwd=REPOSITORY,
        env=environment(PROVISION_SERVE_AT=str(copy), TMPDIR=str(tmp_path)),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 3 and "onnx/model.onnx: size" in done.stderr, done.stderr


def test_uvicorn_refuses_what_only_our_own_command_has(good: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "uvicorn", "provisioner.serve.app:app", "--port", "0"],
        cwd=REPOSITORY,
        env=environment(PROVISION_SERVE_AT=str(good), TMPDIR=str(tmp_path), GRPC_PORT="0"),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 2 and "GRPC_PORT" in done.stderr, done.stderr


def test_a_model_that_nobody_asks_for_may_be_broken(tmp_path: Path) -> None:
    folder = shared(int8_embedder)
    broken = Path(shutil.copytree(folder, tmp_path / "broken"))
    (broken / "config.json").write_text("{")
    both = release(tmp_path / "store", {"local/good": folder, "local/broken": broken})
    assert refused(both, tmp_path, "--check", MODEL_EMBEDDER_NAME="good", TASKS="embed").code == 0
    done = refused(both, tmp_path, "--check", MODEL_EMBEDDER_NAME="broken", TASKS="embed")
    assert done.code == 4 and "config.json" in sentence(done), done.err


def test_importing_the_application_does_nothing(tmp_path: Path) -> None:
    script = (
        "import os, sys; before = dict(os.environ); import provisioner.serve.app; "
        "assert dict(os.environ) == before; "
        "print([name for name in ('fastapi', 'onnxruntime', 'tokenizers', 'huggingface_hub') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment(), capture_output=True, text=True, timeout=PATIENCE
    )
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


# Python calls this in the server's process before anything else: a way out that is only tried is found too.
GUARD = """
import os, sys

def guard(event, arguments):
    if event in ("socket.getaddrinfo", "socket.connect", "socket.sendto", "socket.gethostbyname"):
        place = arguments[0] if event == "socket.getaddrinfo" else arguments[-1]
        if "127.0.0.1" not in repr(place):
            with open(os.environ["GUARD_LOG"], "a") as log:
                log.write(f"{event} {place!r}\\n")

sys.addaudithook(guard)
"""


@pytest.mark.parametrize("engine", ["auto", "onnx", "openvino", "fastembed"])
def test_no_library_tries_to_reach_anybody(good: Path, tmp_path: Path, engine: str) -> None:
    (tmp_path / "guard").mkdir()
    (tmp_path / "guard" / "sitecustomize.py").write_text(GUARD)
    found = tmp_path / "found"
    more = {"PYTHONPATH": f"{tmp_path / 'guard'}:{REPOSITORY}", "GUARD_LOG": str(found), "CI": "", "TASKS": "embed"}
    with serving(good, tmp_path, ENGINE=engine, HOME=str(tmp_path), **more) as served:
        assert served.ask("/embed", {"texts": TEXTS})[0] == 200
        assert engine == "auto" or engine in served.ask("/status.json")[1]["models"][0]["engine"]
    assert not found.exists(), found.read_text()


def test_libraries_find_themselves_offline_whoever_knows_the_model(good: Path, tmp_path: Path) -> None:
    """fastembed is asked for its own names before a model is chosen, and imports huggingface_hub."""
    script = (
        "import os, sys\n"
        "from provisioner.errors import VerificationFailed\n"
        "from provisioner.serve import start\n"
        "from provisioner.serve.settings import parse\n"
        "try:\n"
        "    start.plan(parse({'PROVISION_SERVE_AT': sys.argv[1], 'MODEL_EMBEDDER_NAME': 'BAAI/bge-large-en-v1.5'}))\n"
        "except VerificationFailed:\n"
        "    from huggingface_hub import constants\n"
        "    print('fastembed' in sys.modules, constants.HF_HUB_OFFLINE)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(good)],
        env=environment(TMPDIR=str(tmp_path)),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.stdout.split() == ["True", "True"], done.stderr


@pytest.fixture
def in_pod() -> Iterator[Pod]:
    with pod() as made:
        yield made


# Runs in the pod, which has no network but a loopback of its own.
ASK = """
import json, os, subprocess, sys, time, urllib.request

port = 19871
server = subprocess.Popen([sys.executable, "-m", "provisioner", "serve", "--at", sys.argv[1], "--port", str(port)])
try:
    for _ in range(1800):
        assert server.poll() is None, server.returncode
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz")
            break
        except OSError:
            time.sleep(0.1)
    body = json.dumps({"texts": json.loads(sys.argv[2])}).encode()
    asked = urllib.request.Request(f"http://127.0.0.1:{port}/embed", body, {"Content-Type": "application/json"})
    vectors = json.load(urllib.request.urlopen(asked))["embeddings"]
    print(json.dumps({"vectors": vectors, "uid": os.getuid(), "interfaces": os.listdir("/sys/class/net")}))
finally:
    server.terminate()
    server.wait()
"""


@pytest.mark.parametrize("uid", UIDS)
def test_it_serves_from_a_read_only_mount_as_another_user_without_a_network(
    good: Path, tmp_path: Path, in_pod: Pod, uid: int
) -> None:
    variables = {"HOME": str(in_pod.scratch), "TMPDIR": str(in_pod.scratch)}
    found = in_pod.python(good, ASK, in_pod.models, json.dumps(TEXTS), uid=uid, variables=variables)
    with serving(good, tmp_path) as served:
        here = served.ask("/embed", {"texts": TEXTS})[1]["embeddings"]
    assert found["uid"] == uid
    assert len(found["vectors"]) == 2
    for one, other in zip(found["vectors"], here, strict=True):
        assert sum(a * b for a, b in zip(one, other, strict=True)) > 0.9999
