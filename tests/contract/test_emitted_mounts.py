"""The mount options of emitted volumes, on a real NFS and a real SMB server: writer and readers on one node."""

from __future__ import annotations

import shlex
from typing import Any

import pytest

from provisioner.emit.kubernetes.facts import Facts
from provisioner.emit.kubernetes.settings import read
from provisioner.emit.kubernetes.volumes.objects import objects
from tests.support.locks import document, small
from tests.support.real_mounts import cannot_boot, run_in_guest

TARGETS: dict[str, dict[str, Any]] = {
    "nfs": {"kind": "nfs", "server": "127.0.0.1", "path": "/"},
    "smb": {"kind": "azure-files", "account": "acmestore", "share": "export"},
}
DRIVER = ["vers=3.1.1", "username=root", "password=guest"]  # what the CSI driver adds, from the secret
SERVED = {"nfs": ("nfs", "127.0.0.1:/"), "smb": ("cifs", "//127.0.0.1/export")}

# The readers' mount comes first: a client that took its read-only flag for both would refuse the writer.
SCRIPT = """
set -x
mkdir -p /mnt/rw /mnt/ro && chmod 777 /mnt/export || exit 9
mount -t {kind} -o {reader} {what} /mnt/ro || exit 10
mount -t {kind} -o {writer} {what} /mnt/rw || exit 11
setpriv --reuid 10001 --regid 0 --clear-groups sh -c 'umask 022; echo bytes >/mnt/rw/file' || exit 12
test "$(setpriv --reuid 12345 --regid 12345 --clear-groups cat /mnt/ro/file)" = bytes || exit 13
echo other >/mnt/ro/file && exit 14
touch /mnt/ro/new && exit 15
test "$(cat /mnt/rw/file)" = bytes || exit 16
setpriv --reuid 12345 --regid 12345 --clear-groups sh -c 'echo other >/mnt/rw/file' && exit 17
exit 0
"""


@pytest.mark.parametrize("kind", TARGETS)
def test_the_writer_writes_and_readers_of_any_uid_read(kind: str) -> None:
    if reason := cannot_boot(kind):
        pytest.skip(reason)
    made = document(small())
    settings = read({}, {"pvc": TARGETS[kind]})
    emitted = objects(settings, settings.target("pvc"), Facts.of(made.lock, made.text, made.digest))
    extra = DRIVER if kind == "smb" else []
    writer, reader = (",".join([*volume["spec"]["mountOptions"], *extra]) for volume in emitted[:2])
    filesystem, what = SERVED[kind]
    script = SCRIPT.format(kind=filesystem, what=what, writer=shlex.quote(writer), reader=shlex.quote(reader))
    guest = run_in_guest(kind, "bash", "-c", script, seconds=60)
    assert guest.code == 0, guest.output
