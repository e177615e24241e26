"""The process that starts SeaweedFS, and ends it once its last user is gone (see `seaweed.py`).

python seaweed_keeper.py FOLDER '{"admin": [ACCESS_KEY, SECRET_KEY], "reader": [ACCESS_KEY, SECRET_KEY]}'
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import TextIO

READY_SECONDS = 300.0
PORTS = ("master", "filer", "volume", "s3", "s3-tls", "admin")
Users = dict[str, tuple[str, str]]


def keep(folder: Path, users: Users) -> None:
    """Run the server until its last user is gone. Nothing of it stays."""
    data = folder / "data"
    with open(folder / "keeper", "w") as keeper, open(folder / "users", "w") as used:
        fcntl.flock(keeper, fcntl.LOCK_EX)
        _sweep(folder)  # after a keeper that was killed
        data.mkdir()
        ports = _free_ports()
        (folder / "ports").write_text(json.dumps(ports))
        process = subprocess.Popen(_command(data, ports, users), env=_environment(data), preexec_fn=_die_with_parent)
        try:
            _wait_ready(process, ports["s3"])
            _announce(folder, data, ports)
            while process.poll() is None and not _alone(used):
                time.sleep(0.2)
        finally:
            (folder / "server.json").unlink(missing_ok=True)
            process.kill()  # an orderly stop takes 4 s, and the data goes anyway
            process.wait()
            _sweep(folder)


def _sweep(folder: Path) -> None:
    """Remove the data, and the sockets that weed leaves in /tmp whatever TMPDIR says."""
    shutil.rmtree(folder / "data", ignore_errors=True)
    if (folder / "ports").exists():
        for port in json.loads((folder / "ports").read_text()).values():
            for left in Path("/tmp").glob(f"seaweedfs-*-grpc-{port + 10000}.sock"):
                left.unlink(missing_ok=True)
        (folder / "ports").unlink()


def weed() -> str | None:
    """The program, from this environment or the PATH."""
    return shutil.which("weed", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))


def _command(data: Path, ports: dict[str, int], users: Users) -> list[str]:
    (data / "s3.json").write_text(json.dumps(_users(users)))
    _certificates(data)
    options = f"""
        -dir={data} -ip=127.0.0.1 -ip.bind=127.0.0.1 -master.telemetry=false -master.volumeSizeLimitMB=256
        -volume.max=4000 -admin.ui=false -webdav=false -s3.port.iceberg=0 -s3.port.lance=0 -s3.autoCreateBucket=false
        -s3.config={data}/s3.json -s3.cert.file={data}/tls.pem -s3.key.file={data}/tls.key -s3.cacheCapacityMB=0
        -s3.readerCacheSizeMB=64 -volume.concurrentUploadLimitMB=64 -volume.concurrentDownloadLimitMB=64
        -filer.localSocket={data}/filer.sock -s3.localSocket={data}/s3.sock
        -master.port={ports["master"]} -filer.port={ports["filer"]} -volume.port={ports["volume"]}
        -s3.port={ports["s3"]} -s3.port.https={ports["s3-tls"]} -admin.port={ports["admin"]}"""
    return [weed() or "weed", f"-logdir={data}", "mini", *options.split()]


def _users(users: Users) -> dict[str, object]:
    actions = {"admin": ["Admin", "Read", "List", "Tagging", "Write"], "reader": ["Read", "List"]}
    return {
        "identities": [
            {"name": name, "credentials": [{"accessKey": keys[0], "secretKey": keys[1]}], "actions": actions[name]}
            for name, keys in users.items()
        ]
    }


def _certificates(data: Path) -> None:
    """`ca.pem`, and `tls.pem` with `tls.key` for 127.0.0.1 and localhost signed by it."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

    now = datetime.now(UTC)
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_id = x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key())

    def base(subject: str, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        builder = x509.CertificateBuilder().issuer_name(name("provisioner tests CA")).subject_name(name(subject))
        builder = builder.public_key(public).serial_number(x509.random_serial_number())
        return builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(days=2))

    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    ca = base("provisioner tests CA", ca_key.public_key()).add_extension(ca_id, False).add_extension(usage, True)
    ca = ca.add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
    names = [x509.IPAddress(IPv4Address("127.0.0.1")), x509.DNSName("localhost")]
    issuer = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ca_id)
    leaf = base("127.0.0.1", key.public_key()).add_extension(x509.SubjectAlternativeName(names), False)
    leaf = leaf.add_extension(issuer, False)

    pem, algorithm = serialization.Encoding.PEM, hashes.SHA256()
    (data / "ca.pem").write_bytes(ca.sign(ca_key, algorithm).public_bytes(pem))
    (data / "tls.pem").write_bytes(leaf.sign(ca_key, algorithm).public_bytes(pem))
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (data / "tls.key").write_bytes(private)


def _environment(data: Path) -> dict[str, str]:
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(data),
        "TMPDIR": str(data),
        "GOMEMLIMIT": "256MiB",  # Go's own limit: it collects earlier, 0.15 GB at rest and 0.3 GB at most were seen
        "GOGC": "50",
        "WEED_MASTER_VOLUME_GROWTH_COPY_1": "1",  # one volume file per new bucket, not seven: 0.2 s less
    }


def _free_ports() -> dict[str, int]:
    """Ports below the ephemeral range of which the gRPC twin, 10,000 higher, is free as well."""
    free: dict[str, int] = {}
    while len(free) < len(PORTS):
        port = random.SystemRandom().randrange(11000, 21000)
        if port not in free.values() and _is_free(port) and _is_free(port + 10000):
            free[PORTS[len(free)]] = port
    return free


def _is_free(port: int) -> bool:
    with socket.socket() as trial:
        try:
            trial.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _wait_ready(process: subprocess.Popen[bytes], port: int) -> None:
    until = time.monotonic() + READY_SECONDS
    while process.poll() is None and time.monotonic() < until:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30)
        except urllib.error.HTTPError:
            return  # 403: it answers
        except OSError:
            time.sleep(0.05)
    raise SystemExit("weed is not ready")


def _announce(folder: Path, data: Path, ports: dict[str, int]) -> None:
    written = folder / "server.new"
    written.write_text(
        json.dumps(
            {
                "endpoint": f"http://127.0.0.1:{ports['s3']}",
                "tls_endpoint": f"https://127.0.0.1:{ports['s3-tls']}",
                "ca_file": str(data / "ca.pem"),
                "data_dir": str(data),
            }
        )
    )
    written.replace(folder / "server.json")


def _alone(users: TextIO) -> bool:
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


if __name__ == "__main__":
    keep(Path(sys.argv[1]), json.loads(sys.argv[2]))
