"""Fixtures for all tests: stores on several file systems, mounts, folders that other users can reach."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import pytest
from hypothesis import HealthCheck, settings

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))  # rclone, weed

from tests.support.azure_backend import REAL, AzureFilesBackend, real_share
from tests.support.azure_files import AzureFiles
from tests.support.mounts import VOLUMES, cannot_mount, tmpfs, unmount, volume
from tests.support.object_backend import object_backend
from tests.support.patience import PATIENCE
from tests.support.real_mounts import given, share
from tests.support.seaweed import cannot_serve
from tests.support.stores import Backend, DirectoryBackend

# What needs a real network mount runs where there is one: in the guest of contract/test_real_mounts.py, or given here.
collect_ignore = [] if given() else ["contract/test_shares.py", "contract/test_pods_on_shares.py"]

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # by a shell that runs this in the background; tests send it
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A slow machine is no failure.
settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("house")


SECONDS = 1200.0  # a test, unless `at_most(seconds)` gives it another time: far above what any takes


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", f"at_most(seconds): the test may take so long, instead of {SECONDS:g} seconds")


@pytest.fixture(autouse=True)
def ends(request: pytest.FixtureRequest) -> Iterator[None]:
    """What waits for ever fails, and the others still get their turn. A test with an alarm of its own has only that."""
    free = signal.getsignal(signal.SIGALRM) is signal.SIG_DFL and signal.getitimer(signal.ITIMER_REAL)[0] == 0
    if not free or threading.current_thread() is not threading.main_thread():
        yield
        return
    marker = request.node.get_closest_marker("at_most")
    seconds = float(marker.args[0]) if marker else SECONDS

    def fail(number: int, frame: FrameType | None) -> None:
        # No Exception, which somebody may catch.
        pytest.fail(f"{request.node.nodeid} takes longer than {seconds:g} s")

    signal.signal(signal.SIGALRM, fail)
    signal.setitimer(signal.ITIMER_REAL, seconds, PATIENCE)  # and again, where the end of a block waits for ever too
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGALRM) is fail:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def signals_as_they_were() -> Iterator[None]:
    """Processes that a test starts inherit what is ignored and blocked: one test's would be another's surprise."""
    before = _signals()
    yield
    assert _signals() == before, "the test left other signals ignored or blocked"


def _signals() -> list[str]:
    lines = Path("/proc/self/status").read_text().splitlines()
    return [line for line in lines if line.startswith(("SigIgn", "SigBlk"))]


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every uid can enter, which pytest's own are not."""
    folder = Path(tempfile.mkdtemp(prefix="provisioner-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def mounted(open_folder: Path) -> Iterator[Callable[..., Path]]:
    """Mounts a tmpfs of a given size (`size="1m"`, `nr_inodes="40"`); all go at the end."""
    if reason := cannot_mount():
        pytest.skip(reason)
    points: list[Path] = []

    def mount(**options: str) -> Path:
        point = open_folder / f"mount-{len(points)}"
        point.mkdir()
        points.append(point)
        assert tmpfs(point, **options) == ""
        return point

    yield mount
    for point in points:
        unmount(point)


# In the guest of contract/test_real_mounts.py only its mounts are of interest.
DIRECTORIES = (*VOLUMES, *given())
SHARES = () if given() else ("azurefiles", *(["azurefiles-real"] if REAL else []))
OBJECTS = () if given() else ("s3", "minio")


@pytest.fixture(params=(*DIRECTORIES, *SHARES, *OBJECTS))
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    """An empty store of every kind that a release can be in."""
    yield from _empty(request.param, tmp_path)


@pytest.fixture(params=(*DIRECTORIES, *SHARES))
def apart(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    """An empty store of every kind that builds a release apart from those that are there."""
    yield from _empty(request.param, tmp_path)


def _empty(kind: str, scratch: Path) -> Iterator[Backend]:
    if kind == "azurefiles-real":
        with real_share() as real:
            yield real
    elif kind in SHARES:
        with AzureFiles(scratch) as server:
            yield AzureFilesBackend(server)
    elif kind in OBJECTS:
        if reason := cannot_serve():
            pytest.skip(reason)
        with object_backend(kind) as found:
            yield found
    else:
        with share(kind) if kind in given() else volume(kind, scratch) as place:
            yield DirectoryBackend(place.path / "store", hard_links=place.hard_links, chmod=place.chmod)
