"""NFS 4.2 and SMB 3.1.1: everything a store must do, and what only such mounts show, inside a guest that has them."""

from __future__ import annotations

import sys

import pytest

from tests.support.real_mounts import BOOT_SECONDS, KINDS, VARIABLES, cannot_boot, given, run_in_guest

SECONDS = 1400  # two or three minutes on an idle machine; all kinds together, with their boots, stay below an hour
QUIET = ("-q", "--no-header", "--color=no", "-p", "no:cacheprovider", "-p", "no:xdist", "--basetemp=/mnt/tests")
SUITES = tuple(f"tests/contract/test_{name}.py" for name in ("store", "shares", "pods_on_shares"))


@pytest.mark.at_most(SECONDS + BOOT_SECONDS + 60)
@pytest.mark.parametrize("kind", KINDS)
def test_a_real_network_mount_passes_the_suites_of_a_store(kind: str) -> None:
    if kind in given():
        pytest.skip(f"{VARIABLES[kind]} gives one, and the suites run on it directly")
    if reason := cannot_boot(kind):
        pytest.skip(reason)
    guest = run_in_guest(kind, sys.executable, "-m", "pytest", *QUIET, *SUITES, "-k", kind, seconds=SECONDS)
    assert guest.code == 0, f"pytest in the guest ended with {guest.code}:\n{guest.output}"
    assert " passed" in guest.output
    assert " skipped" not in guest.output, guest.output


@pytest.mark.parametrize(("command", "seconds", "code"), [(("sleep", "10000"), 2, 124), (("false",), 300, 1)])
def test_a_guest_always_ends_and_says_how(command: tuple[str, ...], seconds: int, code: int) -> None:
    if reason := cannot_boot("smb"):
        pytest.skip(reason)
    assert run_in_guest("smb", *command, seconds=seconds).code == code
