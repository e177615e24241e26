"""What is compared with what."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from benchmarks.measure import Side, Unusable, holds, remove, run
from benchmarks.servers import Servers

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
ROUND_TRIP = 0.020
_HASH = str(HERE / "hash_files.py")


@dataclass(frozen=True, slots=True)
class Bench:
    """Where everything is.

    Attributes:
        data: what benchmarks.data wrote; work: targets and source stores.
        near, far: ports of the hub, directly and behind the round trip.
        peers_only: measure no command of ours, so make no store with one.
        servers: the object stores.
    """

    data: Path
    work: Path
    near: int
    far: int
    peers_only: bool
    servers: Servers

    def lock(self, model: str) -> str:
        return str(self.data / f"{model}.lock")

    def files(self, model: str) -> Path:
        return self.data / "models" / model

    def amount(self, model: str) -> tuple[int, int]:
        """Files and bytes."""
        about = json.loads((self.data / "manifest.json").read_text())[model]
        return about["files"], about["bytes"]

    def commit(self, model: str) -> str:
        return str(json.loads((self.data / "manifest.json").read_text())[model]["commit"])

    def store(self, model: str) -> Path:
        """What mirrors read and verifies check: a store of ours, or its bytes where there is none."""
        return self.files(model) if self.peers_only else self.work / f"store-{model}"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    Attributes:
        goal: the ratio of wall times to stay under, or the seconds; "" where there is none.
        make: ours and its peers.
        model: whose bytes are hashed, for the CPU floor; "" where the row is not about bytes.
        runs: at least so many pairs.
        goals: the first word of a peer's name -> its own goal.
    """

    name: str
    title: str
    goal: str
    make: Callable[[Bench], tuple[Side, ...]]
    model: str = ""
    runs: int = 1
    goals: Mapping[str, str] = field(default_factory=dict)


def provision(*words: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "provisioner", *words)


def hf() -> str:
    beside = Path(sys.executable).with_name("hf")
    if found := (str(beside) if beside.exists() else shutil.which("hf")):
        return found
    raise Unusable("hf is not installed; install huggingface_hub.")


def fetch_env(port: int, home: Path) -> dict[str, str]:
    """The hub's address, and nothing that talks to anybody else."""
    return {
        "HF_ENDPOINT": f"http://127.0.0.1:{port}",
        "HF_HOME": str(home),
        "NO_PROXY": "127.0.0.1",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_UPDATE_CHECK": "1",  # else every fresh HF_HOME asks PyPI
    }


def our_fetch(bench: Bench, model: str, port: int, store: Path, *, keep: bool = False) -> Side:
    env = fetch_env(port, bench.work / "home-ours")
    command = provision("fetch", "--lock", bench.lock(model), "--store", str(store), "--quiet")
    check = partial(holds, store / "releases", *bench.amount(model))
    target = None if keep else store
    return Side("provision fetch", command, env, target, (bench.files(model),), check=check)


def hf_download(bench: Bench, model: str, port: int, home: Path, *, keep: bool = False) -> Side:
    command = (hf(), "download", f"bench/{model}", "--revision", bench.commit(model), "--max-workers", "8", "--quiet")
    check = partial(holds, home / "hub", *bench.amount(model))
    target = None if keep else home
    return Side("hf download", command, fetch_env(port, home), target, (bench.files(model),), check=check)


def fetch(model: str, far: bool, bench: Bench) -> tuple[Side, Side]:
    port = bench.far if far else bench.near
    ours = our_fetch(bench, model, port, bench.work / "fetched")
    return ours, hf_download(bench, model, port, bench.work / "hf")


def once(side: Side) -> Callable[[], None]:
    """The setup of a row that starts where a first run ended."""

    def setup() -> None:
        run(side.command, side.env, ROOT)
        side.check()

    return setup


def again(side: Side, start: Path) -> Side:
    def setup() -> None:
        remove(start)
        once(side)()

    return replace(side, setup=setup)


def fetch_again(model: str, bench: Bench) -> tuple[Side, Side]:
    store, home = bench.work / "fetched-again", bench.work / "hf-again"
    ours = our_fetch(bench, model, bench.near, store, keep=True)
    peer = hf_download(bench, model, bench.near, home, keep=True)
    return again(ours, store), again(peer, home)


def source(bench: Bench, model: str) -> Callable[[], None]:
    """Fill the store that a row reads, unless an earlier row did."""
    store = bench.store(model)

    def setup() -> None:
        if not (store.parent / f"{store.name}.whole").exists():
            again(our_fetch(bench, model, bench.near, store, keep=True), store).setup()
            (store.parent / f"{store.name}.whole").touch()

    return setup


def mirror(model: str, bench: Bench) -> tuple[Side, Side]:
    store, target, copy = bench.store(model), bench.work / "mirrored", bench.work / "copied"
    command = provision("mirror", "--lock", bench.lock(model), "--from", str(store), "--to", str(target), "--quiet")
    env = {"HF_HOME": str(bench.work / "home-ours"), "HF_HUB_OFFLINE": "1"}
    check = partial(holds, target / "releases", *bench.amount(model))
    ours = Side("provision mirror", command, env, target, (store,), source(bench, model), check)
    peers = {
        "large": ("cp -r + sha256, 2 threads", f'cp -r "$1" "$2" && exec "{sys.executable}" "{_HASH}" "$2"'),
        "small": ("rsync -a", 'exec rsync -a "$1/" "$2"'),
    }
    name, script = peers[model]
    words = ("sh", "-c", script, "sh", str(store), str(copy))
    return ours, Side(name, words, {}, copy, (store,), check=partial(holds, copy, *bench.amount(model)))


def verify(model: str, bench: Bench) -> tuple[Side, Side]:
    store = bench.store(model)
    command = provision("verify", "--lock", bench.lock(model), "--at", str(store), "--mode", "full", "--quiet")
    ours = Side("provision verify", command, {}, None, (store,), source(bench, model))
    peer = Side("bare sha256, 2 threads", (sys.executable, _HASH, str(store)), {}, None, (store,))
    return ours, peer


def start_up(bench: Bench) -> tuple[Side, Side]:
    ours = Side("provision --help", provision("--help"))
    peer = Side("import click, rich", (sys.executable, "-c", "import click, rich"))
    return warmed(ours), warmed(peer)


def warmed(side: Side) -> Side:
    return replace(side, setup=once(side))


ROWS = (
    Row("fetch-large", "fetch A", "<= 0.40", partial(fetch, "large", False), "large"),
    Row("fetch-large-far", "fetch A, 20 ms", "<= 0.40", partial(fetch, "large", True), "large"),
    Row("fetch-small", "fetch B", "<= 0.15", partial(fetch, "small", False), "small"),
    Row("fetch-small-far", "fetch B, 20 ms", "<= 0.15", partial(fetch, "small", True), "small"),
    Row("fetch-again", "fetch B, nothing to do", "<= 0.3 s", partial(fetch_again, "small"), runs=5),
    Row("mirror-large", "mirror A", "<= 0.80", partial(mirror, "large"), "large"),
    Row("mirror-small", "mirror B", "<= 0.80", partial(mirror, "small"), "small"),
    Row("verify-large", "verify A", "<= 1.11", partial(verify, "large"), "large"),
    Row("start-up", "start-up", "<= 1.60", start_up, runs=15),
)
