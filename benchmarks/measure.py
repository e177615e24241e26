"""One child process at a time: wall seconds, CPU seconds, peak RSS; and several of them in turn."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

SKIPPED = "not asked for"
TIMEOUT = 900.0  # seconds; a hung child must not hang the benchmark


class Unusable(Exception):
    """Something that a row needs is not there, or a command failed; one sentence."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One run. `rss` is the largest single process among the child and its descendants, in MiB."""

    seconds: float
    cpu: float
    rss: float


@dataclass(frozen=True, slots=True)
class Side:
    """One of those that a row compares.

    Attributes:
        command, env: what is timed; env is added to a clean environment.
        target: removed before and after every run, or None where a run writes nothing or must find what is there.
        warm: read once before every run, so that sources come from the page cache.
        setup: brings about the state that every run starts from; called once.
        before, after: what `target` cannot say: make an empty place for every run, and take it away.
        check: called after every run; raises Unusable where the work was not done.
    """

    name: str
    command: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    target: Path | None = None
    warm: tuple[Path, ...] = ()
    setup: Callable[[], None] = lambda: None
    check: Callable[[], None] = lambda: None
    before: Callable[[], None] = lambda: None
    after: Callable[[], None] = lambda: None


def remove(path: Path | None) -> None:
    if path is not None and path.exists():
        shutil.rmtree(path)


def files_below(root: Path) -> Iterator[Path]:
    """One at a time: tens of thousands of paths would swell this process, and with it every child's RSS."""
    for folder, _, names in os.walk(root):
        for name in names:
            if (path := Path(folder, name)).is_file():
                yield path


def read_once(roots: tuple[Path, ...]) -> None:
    buffer = bytearray(2**20)
    for path in (file for root in roots for file in files_below(root)):
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass


def holds(root: Path, files: int, size: int) -> None:
    """Raise Unusable unless at least so many files and bytes are below root."""
    sizes = [path.stat().st_size for path in files_below(root) if not path.is_symlink()]
    if len(sizes) < files or sum(sizes) < size:
        raise Unusable(f"{root} holds {len(sizes)} files of {sum(sizes)} bytes, not {files} of {size}.")


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    """This process's environment without what could steer either side, or keep it from caching its bytecode."""
    steering = (
        "HF_",
        "HUGGING",
        "PROVISION_",
        "http_proxy",
        "https_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "AWS_",
        "S3_",
        "S5CMD_",
        "RCLONE_",
        "PYTHONDONTWRITEBYTECODE",
    )
    return {k: v for k, v in os.environ.items() if not k.startswith(steering)} | dict(extra)


def run(command: tuple[str, ...], env: Mapping[str, str], cwd: Path) -> Sample:
    """Run a command and wait for it. Raises Unusable with the end of its stderr."""
    with tempfile.TemporaryFile() as errors:
        begin = time.perf_counter()
        try:
            process = subprocess.Popen(
                command, env=environment(env), cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=errors,
            )  # fmt: skip
        except OSError as error:
            raise Unusable(f"{command[0]}: {error.strerror}") from None
        timer = threading.Timer(TIMEOUT, process.kill)
        timer.start()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begin
        timer.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            errors.seek(0)
            tail = errors.read().decode(errors="replace").strip()[-600:]
            raise Unusable(f"`{' '.join(command)}` ended with {process.returncode}: {tail}")
    return Sample(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def measure(side: Side, cwd: Path) -> Sample:
    """One run from a known state: target gone, nobody's dirty pages pending, source in the page cache."""
    remove(side.target)
    side.before()
    os.sync()
    read_once(side.warm)
    try:
        sample = run(side.command, side.env, cwd)
        side.check()
    finally:
        remove(side.target)
        side.after()
    return sample


@dataclass(slots=True)
class Series:
    """The runs of one side, or why there are none."""

    side: Side
    samples: list[Sample] = field(default_factory=list)
    failure: str = ""

    @property
    def failed(self) -> bool:
        return self.failure not in ("", SKIPPED)

    def add(self, cwd: Path, *, first: bool) -> None:
        if self.failure:
            return
        try:
            if first:
                remove(self.side.target)
                self.side.setup()
            self.samples.append(measure(self.side, cwd))
        except Unusable as error:
            self.failure = str(error)

    def median(self, what: str) -> float | None:
        values = [getattr(sample, what) for sample in self.samples]
        return statistics.median(values) if values else None


def in_turn(all_series: Sequence[Series], runs: int, cwd: Path) -> None:
    """A B C A B C ...: whatever the machine does meanwhile meets all."""
    for turn in range(runs):
        for series in all_series:
            series.add(cwd, first=turn == 0)
