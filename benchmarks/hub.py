"""A Hub on loopback: nginx serving the files and the API's answers, so that no Python server is the brake."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.measure import Unusable

_CONFIG = """\
{user}daemon off;
worker_processes 2;
pid {work}/nginx.pid;
error_log {work}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 1000000;
  keepalive_timeout 60s;
  open_file_cache max=4096 inactive=600s;
  etag off;
  client_body_temp_path {work}/body;
  proxy_temp_path {work}/proxy;
  fastcgi_temp_path {work}/fastcgi;
  uwsgi_temp_path {work}/uwsgi;
  scgi_temp_path {work}/scgi;
  map_hash_max_size 131072;
  map_hash_bucket_size 256;
  map $uri $bench_file {{ "~^/bench/([^/]+)/resolve/[^/]+/(.+)$" "$1/$2"; }}
  include {root}/maps.conf;
  server {{
    listen 127.0.0.1:{port};
    default_type application/octet-stream;
    location ~ "^/bench/([^/]+)/resolve/[^/]+/(.+)$" {{
      alias {root}/models/$1/$2;
      add_header ETag $bench_etag;
      add_header X-Linked-Etag $bench_etag;
      add_header X-Linked-Size $bench_size;
      add_header X-Repo-Commit $bench_commit;
    }}
    location ~ "^/api/models/bench/([^/]+)(/revision/[^/]+)?$" {{
      default_type application/json;
      alias {root}/api/$1/revision.json;
    }}
    location ~ "^/api/models/bench/([^/]+)/tree/[^/]+$" {{
      default_type application/json;
      alias {root}/api/$1/tree.json;
    }}
  }}
}}
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def find_nginx() -> str:
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    if found := shutil.which("nginx", path=path):
        return found
    raise Unusable("nginx is not installed; install it (Debian: apt-get install nginx-light).")


@contextmanager
def nginx(root: Path, work: Path) -> Iterator[int]:
    """Serve the data below root; yields the port."""
    work.mkdir(parents=True, exist_ok=True)
    port = free_port()
    user = "user root;\n" if os.geteuid() == 0 else ""  # else its workers cannot read a private scratch folder
    config = work / "nginx.conf"
    config.write_text(_CONFIG.format(user=user, work=work, root=root, port=port))
    command = [find_nginx(), "-e", str(work / "error.log"), "-p", str(work), "-c", str(config)]
    with child(command, port):
        yield port


@contextmanager
def delayed(port: int, round_trip: float) -> Iterator[int]:
    """The same hub behind a round trip in seconds; yields the port."""
    here = free_port()
    command = [sys.executable, str(Path(__file__).with_name("delay.py")), str(here), str(port), str(round_trip)]
    with child(command, here):
        yield here


@contextmanager
def child(
    command: list[str], port: int, wait: float = 10, log: Path | None = None, env: Mapping[str, str] | None = None
) -> Iterator[None]:
    """A server process, from the moment it listens until the end of the block.

    Args:
        wait: seconds until it must listen.
        log: where its stderr goes, instead of ours.
        env: added to this process's environment.
    """
    with ExitStack() as stack:
        errors = stack.enter_context(log.open("wb")) if log else None
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors, env=os.environ | dict(env or {}))
        stack.callback(stop, process)
        wait_for(process, port, wait)
        yield


def stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def wait_for(process: subprocess.Popen[bytes], port: int, wait: float) -> None:
    deadline = time.monotonic() + wait
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.02)
    raise Unusable(f"The server did not start: {process.args!r}")
