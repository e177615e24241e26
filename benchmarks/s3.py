"""The little of S3 that the benchmark itself needs: buckets, puts, listings. No SDK: every child would inherit its RSS.

Signed with AWS signature version 4, path style, plain HTTP on loopback.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import re
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import local
from urllib.parse import quote

from benchmarks.measure import Unusable, files_below, run

ACCESS_KEY, SECRET_KEY, REGION = "benchmark", "benchmark-secret", "us-east-1"
FILLERS = 8
_PAYLOAD = "UNSIGNED-PAYLOAD"
_SIZE = re.compile(rb"<Size>(\d+)</Size>")
_NEXT = re.compile(rb"<NextContinuationToken>([^<]+)</NextContinuationToken>")


def environment(port: int) -> dict[str, str]:
    """What points any S3 client at a server, and at nobody else."""
    return {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "127.0.0.1",
    }


def _mac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def _authorization(method: str, path: str, query: str, headers: Mapping[str, str], moment: str) -> str:
    signed = ";".join(sorted(headers))
    lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    request = "\n".join([method, path, query, lines, signed, _PAYLOAD])
    scope = f"{moment[:8]}/{REGION}/s3/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", moment, scope, hashlib.sha256(request.encode()).hexdigest()])
    key = f"AWS4{SECRET_KEY}".encode()
    for word in scope.split("/"):
        key = _mac(key, word)
    signature = _mac(key, text).hex()
    return f"AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/{scope}, SignedHeaders={signed}, Signature={signature}"


@dataclass(frozen=True, slots=True)
class Server:
    """An S3 server on loopback."""

    name: str
    port: int

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=120, blocksize=2**18)

    def send(
        self,
        via: http.client.HTTPConnection,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: Path | None = None,
    ) -> bytes:
        """One request and its answer. Raises Unusable unless the answer is 2xx or 404."""
        at, asked = quote(path), "&".join(f"{quote(k, safe='')}={quote(query[k], safe='')}" for k in sorted(query))
        moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        headers = {"host": f"127.0.0.1:{self.port}", "x-amz-content-sha256": _PAYLOAD, "x-amz-date": moment}
        sent = headers | {"Authorization": _authorization(method, at, asked, headers, moment)}
        sent["Content-Length"] = str(body.stat().st_size if body else 0)
        with open(body or "/dev/null", "rb") as content:
            via.request(method, f"{at}?{asked}" if asked else at, content, sent)
        answer = via.getresponse()
        text = answer.read()
        if answer.status // 100 != 2 and answer.status != 404:
            raise Unusable(f"{self.name}: {method} {path} was answered {answer.status}: {text[:300].decode()}")
        return text

    def new_bucket(self, bucket: str) -> None:
        """An empty bucket whose first write waits for nothing: SeaweedFS allocates volumes on the first one."""
        via = self.connect()
        self.send(via, "DELETE", f"/{bucket}", {})
        self.send(via, "PUT", f"/{bucket}", {})
        self.send(via, "PUT", f"/{bucket}/first", {}, Path(__file__))
        via.close()

    def remove_bucket(self, bucket: str) -> None:
        via = self.connect()
        self.send(via, "DELETE", f"/{bucket}", {})
        via.close()

    def fill(self, bucket: str, prefix: str, folder: Path) -> None:
        """A new bucket with every file of a folder, one PUT each, by a child process: see files_below."""
        self.new_bucket(bucket)
        words = (self.name, str(self.port), bucket, prefix, str(folder))
        run((sys.executable, "-m", "benchmarks.s3", *words), {}, Path(__file__).resolve().parents[1])

    def put_all(self, bucket: str, prefix: str, folder: Path) -> None:
        """One PUT for each file of a folder."""
        own = local()

        def put(path: Path) -> None:
            if not hasattr(own, "via"):
                own.via = self.connect()
            self.send(own.via, "PUT", f"/{bucket}/{prefix}/{path.relative_to(folder).as_posix()}", {}, path)

        with ThreadPoolExecutor(FILLERS) as pool:
            for _ in pool.map(put, files_below(folder)):
                pass

    def amount(self, bucket: str, prefix: str) -> tuple[int, int]:
        """Objects and bytes below a prefix, by listing all of it."""
        query, count, size, via = {"list-type": "2", "prefix": f"{prefix}/"}, 0, 0, self.connect()
        while True:
            page = self.send(via, "GET", f"/{bucket}", query)
            sizes = [int(found) for found in _SIZE.findall(page)]
            count, size = count + len(sizes), size + sum(sizes)
            if not (token := _NEXT.search(page)):
                via.close()
                return count, size
            query["continuation-token"] = token[1].decode()

    def holds(self, bucket: str, prefix: str, files: int, size: int) -> None:
        """Raise Unusable unless at least so many objects and bytes are listed below the prefix."""
        count, total = self.amount(bucket, prefix)
        if count < files or total < size:
            raise Unusable(
                f"{self.name}/{bucket}/{prefix} lists {count} objects of {total} bytes, not {files} of {size}."
            )


if __name__ == "__main__":
    Server(sys.argv[1], int(sys.argv[2])).put_all(sys.argv[3], sys.argv[4], Path(sys.argv[5]))
