"""How the doctor judges; what it does to real stores is in cli/test_doctor.py."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from provisioner.errors import Unavailable
from provisioner.ops.doctor import examine
from provisioner.report.health import Answer, Health, Outcome, Probe, fine
from provisioner.stores.examine.check import Check, shown
from provisioner.stores.examine.directory import DirectoryExamination
from provisioner.stores.examine.mounts import judged, mount_of
from provisioner.stores.examine.network import Server, skew
from tests.support.stores import files_below

MOUNTINFO = r"""22 1 0:1 / / rw,relatime - overlay overlay rw,lowerdir=/a
23 22 0:2 / /mnt rw - tmpfs tmpfs rw,size=1m
24 23 0:3 / /mnt/my\040models rw,relatime - nfs4 10.0.0.1:/m rw,vers=4.2,hard,nconnect=4
25 23 0:4 / /mnt/smb ro,relatime shared:7 - cifs //acct/m rw,vers=3.1.1,username=acct,nobrl,actimeo=30
26 23 0:5 / /mnt/bucket rw - fuse.rclone s3:models rw,user_id=0
27 23 0:6 / /mnt/soft rw - nfs4 10.0.0.1:/m rw,vers=4.1,soft
28 22 0:7 / /mnt/smb rw,relatime - cifs //acct/m rw,vers=3.1.1,username=acct,password=hunter2,nobrl,actimeo=30
cut short
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "overlay"),
        ("/mntx", "overlay"),
        ("/mnt", "tmpfs"),
        ("/mnt/my models/store", "nfs4"),
        ("/mnt/bucket/a", "fuse.rclone"),
    ],
)
def test_a_folder_is_on_the_nearest_mount_above(path: str, kind: str) -> None:
    found = mount_of(path, MOUNTINFO)
    assert found
    assert found.kind == kind


def test_a_later_mount_covers_an_earlier_one() -> None:
    first = mount_of("/mnt/smb", MOUNTINFO.replace("28 22", "28"))
    second = mount_of("/mnt/smb", MOUNTINFO)
    assert first and second
    assert (first.is_read_only, second.is_read_only) == (True, False)
    assert str(first).endswith("(ro, vers=3.1.1, nobrl, actimeo=30)")


@pytest.mark.parametrize(
    ("path", "outcome", "advice"),
    [
        ("/mnt/my models", Outcome.OK, ""),
        ("/mnt/soft", Outcome.WARNING, "hard"),
        ("/mnt/smb", Outcome.WARNING, "mfsymlinks,nconnect=4"),
        ("/mnt/bucket", Outcome.WARNING, "s3://"),
        ("/mnt", Outcome.WARNING, "memory"),
        ("/", Outcome.WARNING, "container"),
    ],
)
def test_advice_on_mounts(path: str, outcome: Outcome, advice: str) -> None:
    found = mount_of(path, MOUNTINFO)
    assert found
    answer = judged(found)
    assert answer.outcome is outcome
    assert advice in answer.advice
    assert "acct" not in answer.detail and "hunter2" not in answer.detail


def row(code: int) -> Probe:
    return Probe("x", Outcome.FAILED if code else Outcome.OK, "", "", code, 0.0)


@pytest.mark.parametrize(
    ("codes", "worst"), [((), 0), ((0, 0), 0), ((0, 5), 5), ((5, 6, 8), 6), ((8, 7, 5), 8), ((5, 0, 7), 7)]
)
def test_what_no_retry_mends_decides_the_exit_code(codes: tuple[int, ...], worst: int) -> None:
    assert Health("t", tuple(map(row, codes))).exit_code == worst


@pytest.mark.parametrize(
    ("ahead", "outcome"),
    [(0.0, Outcome.OK), (-4.0, Outcome.OK), (6.0, Outcome.WARNING), (-299.0, Outcome.WARNING), (301.0, None)],
)
def test_clocks(ahead: float, outcome: Outcome | None) -> None:
    answer = skew(ahead, "the server's", "set it")
    assert (answer and answer.outcome) == outcome


@pytest.mark.parametrize(
    "address",
    ["minio://KEY:hunter2@host/b", "azurefiles://a/share/x?sig=hunter2", "azurefiles://a/s/sig=hunter2", "u:hunter2@h"],
)
def test_a_secret_in_an_address_is_not_shown(address: str) -> None:
    assert "hunter2" not in shown(address)


def test_a_login_in_a_url_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://me:hunter2@proxy.example:3128")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    server = Server("https://me:hunter2@s3.example/x?y")
    assert server.shown == "https://s3.example:443"
    assert server.near() == ("proxy.example", 3128)


@dataclass
class Cut:
    """A folder's examination with one more step in the middle."""

    inner: DirectoryExamination
    error: BaseException

    @property
    def target(self) -> str:
        return self.inner.target

    def checks(self) -> tuple[Check, ...]:
        checks = self.inner.checks()
        at = [check.name for check in checks].index("hard links")
        return (*checks[:at], Check("cut", self._cut, ("write",)), Check("after", fine, ("cut",)), *checks[at:])

    def _cut(self) -> Answer:
        assert files_below(Path(self.inner.target)), "there is something to clean up"
        raise self.error

    def clean(self) -> None:
        self.inner.clean()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("a bug")], ids=["ctrl-c", "bug"])
def test_nothing_is_left_when_it_is_cut_off(tmp_path: Path, error: BaseException) -> None:
    with pytest.raises(type(error)):
        examine(Cut(DirectoryExamination(str(tmp_path / "store")), error))
    assert list(tmp_path.iterdir()) == []


def test_a_failure_stops_only_what_builds_on_it(tmp_path: Path) -> None:
    health = examine(Cut(DirectoryExamination(str(tmp_path)), Unavailable("It broke.", hint="Mend it.")))
    rows = {probe.name: probe for probe in health.probes}
    assert (rows["cut"].outcome, rows["cut"].detail, rows["cut"].advice) == (Outcome.FAILED, "It broke.", "Mend it.")
    assert (rows["after"].outcome, rows["after"].detail) == (Outcome.SKIPPED, "needs cut")
    assert rows["delete"].outcome is Outcome.OK
    assert health.exit_code == 5
    assert list(tmp_path.iterdir()) == []
