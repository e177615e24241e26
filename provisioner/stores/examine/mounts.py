"""Which mount a folder is on, and what that means for a store; pure but for the text that is handed in."""

from __future__ import annotations

import re
from dataclasses import dataclass

from provisioner.report.health import Answer, fine, warning

# Shown to people; others may name users and servers' secrets.
_SHOWN = re.compile(
    r"ro|rw|sync|hard|soft|nolock|(?:vers|proto|sec|nconnect|cache|actimeo|acregmax|acdirmax|rsize|wsize|uid|gid"
    r"|file_mode|dir_mode|size|nr_inodes)=[^,]*|mfsymlinks|nobrl|serverino|noserverino|forceuid|forcegid|noperm"
)
_OCTAL = re.compile(r"\\([0-7]{3})")
_SMB_WANTED = ("mfsymlinks", "nobrl", "actimeo=30", "nconnect=4")
_BUCKETS = {"rclone", "s3fs", "geesefs", "goofys", "mountpoint-s3", "blobfuse", "blobfuse2", "gcsfuse"}


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of /proc/self/mountinfo.

    Attributes:
        kind: of the file system: ext4, nfs4, cifs, fuse.rclone.
        options: of the mount and of its file system.
    """

    point: str
    kind: str
    options: tuple[str, ...]

    @property
    def is_read_only(self) -> bool:
        """Whether nobody can write, either here or at all."""
        return "ro" in self.options

    def has(self, option: str) -> bool:
        """Whether an option is there, whatever its value."""
        name = option.partition("=")[0]
        return any(one.partition("=")[0] == name for one in self.options)

    def __str__(self) -> str:
        shown = list(dict.fromkeys(option for option in self.options if _SHOWN.fullmatch(option)))
        if self.is_read_only and "rw" in shown:  # of the file system under a read-only mount
            shown.remove("rw")
        return f"{self.kind} at {self.point} ({', '.join(shown)})"


def mount_of(path: str, mountinfo: str) -> Mount | None:
    """The mount that an absolute, resolved path is on; the last of those at one point covers the others."""
    best: Mount | None = None
    for line in mountinfo.splitlines():
        mount = _parsed(line)
        if mount and _is_below(path, mount.point) and (best is None or len(mount.point) >= len(best.point)):
            best = mount
    return best


def _parsed(line: str) -> Mount | None:
    left, dash, right = line.partition(" - ")
    fields, more = left.split(" "), right.split(" ")
    if not dash or len(fields) < 6 or len(more) < 3:
        return None
    point = _OCTAL.sub(lambda match: chr(int(match[1], 8)), fields[4])
    return Mount(point, more[0], (*fields[5].split(","), *more[2].split(",")))


def _is_below(path: str, point: str) -> bool:
    return path == point or path.startswith(point.rstrip("/") + "/")


def judged(mount: Mount) -> Answer:
    """What the type and the options of a writable mount mean for a store."""
    if mount.kind.startswith("nfs"):
        return _nfs(mount)
    if mount.kind in ("cifs", "smb3"):
        missing = [option for option in _SMB_WANTED if not mount.has(option)]
        advice = f"Add {','.join(missing)} to the mount options, as Azure Files wants them." if missing else ""
        return warning(str(mount), advice) if missing else fine(str(mount))
    if mount.kind.removeprefix("fuse.") in _BUCKETS:
        advice = "Give the store behind it as s3://, minio:// or azurefiles://: faster, and with checksums kept."
        return warning(str(mount), advice)
    if mount.kind == "overlay":
        return warning(str(mount), "This is the container's own layer and goes with it; mount a volume there.")
    if mount.kind in ("tmpfs", "ramfs"):
        return warning(str(mount), "This is memory, which counts against the pod's limit and is empty after a restart.")
    return fine(str(mount))


def _nfs(mount: Mount) -> Answer:
    if "soft" in mount.options:
        return warning(str(mount), "Mount with hard: a soft mount gives up on a busy server in the middle of a write.")
    return fine(str(mount), "" if mount.has("nconnect") else "nconnect=4 moves large models faster.")
