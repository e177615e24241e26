"""The server: authorization, and which operation a request is."""

from __future__ import annotations

import base64
import hashlib
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from . import certificate, copies
from .auth import Keeper
from .connections import Connections
from .disk import Disk
from .faults import Action, Fault, Hook
from .files import Files
from .folders import Folders
from .wire import Asked, Logged, Refused, Reply

ACCOUNT = "devacct"
KEY = base64.b64encode(hashlib.sha512(b"the stand-in's account key").digest()).decode()
_Operation = Callable[[Asked], Reply]


class AzureFiles:
    """An Azure Files account on 127.0.0.1, its shares below `root`.

    Attributes:
        account, key: For SharedKey; really verified.
        faults: Asked in turn, before each request; the first action wins. `Fault(...)` or any `Asked -> Action | None`.
        log: Every request.
        keeper: `tokens` for OAuth, `sas = False` to refuse signatures.
        files: `largest` sizes of shares, `polls` a copy stays pending.
        folders: `page` entries of a listing.
        skew: Seconds the server's clock is ahead.
        bugs: What went wrong in the server itself; the first is raised when it closes.
    """

    def __init__(self, root: str | Path, account: str = ACCOUNT, key: str = KEY, *, tls: bool = False) -> None:
        self.root = Path(root) / "azure-files"
        self.root.mkdir(parents=True, exist_ok=True)
        self.account, self.key, self.skew = account, key, 0.0
        self.faults: list[Fault | Hook] = []
        self.log: list[Logged] = []
        self.lock = threading.RLock()
        self.closing = threading.Event()
        self.bugs: list[Exception] = []
        self.keeper = Keeper(account, key)
        disk = Disk(self.root, self.now)
        self.files, self.folders = Files(disk), Folders(disk)
        self.ca_file = certificate.make(Path(root) / "azure-files-tls") if tls else None
        self._http = Connections(self)
        self._operations = self._table()

    @property
    def port(self) -> int:
        return int(self._http.server_address[1])

    @property
    def url(self) -> str:
        """The account's endpoint, without a trailing slash."""
        return f"{'https' if self.ca_file else 'http'}://127.0.0.1:{self.port}/{self.account}"

    @property
    def connection_string(self) -> str:
        scheme = self.url.partition(":")[0]
        named = f"AccountName={self.account};AccountKey={self.key}"
        return f"DefaultEndpointsProtocol={scheme};{named};FileEndpoint={self.url};"

    def now(self) -> float:
        return time.time() + self.skew

    def create_share(self, name: str, quota: int = 5120) -> Path:
        """A share, and the folder its files are in."""
        with self.lock:
            place = self.folders.disk.new_share(name)
            self.folders.disk.renew(place).quota = quota
        return place

    def path(self, share: str, path: str = "") -> Path:
        """Where a file lies on disk, to be looked at or damaged."""
        return self.root / share / path

    def asked_for(self, operation: str) -> list[Logged]:
        return [line for line in self.log if line.operation == operation]

    def __enter__(self) -> Self:
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closing.set()
        self._http.shutdown()
        self._http.close_connections()
        self._http.server_close()
        if self.bugs and error is None:
            raise self.bugs[0]

    def fault(self, asked: Asked) -> Action | None:
        with self.lock:
            return next((action for fault in self.faults if (action := fault(asked)) is not None), None)

    def carry_out(self, asked: Asked) -> Reply:
        """Admit a request and do what it asks.

        Raises:
            Refused: As Azure would.
        """
        with self.lock:
            kind = self.keeper.admit(asked, self.now())
            if "x-ms-copy-source" in asked.headers:
                self._admit_source(asked, kind)
            if "x-ms-version" not in asked.headers and kind != "SAS":
                raise Refused(400, "MissingRequiredHeader")
            operation = self._operations.get((self._level(asked), asked.operation))
            if operation is None:
                raise Refused(400, "InvalidQueryParameterValue")
            return operation(asked)

    def _admit_source(self, asked: Asked, kind: str) -> None:
        """A copy may read within the account; a range from an URL, and any copy by SAS, must say so itself."""
        source = copies.source_target(asked)
        if "sig" in source.query:
            self.keeper.admit_sas(source, "r", self.now())
        elif "x-ms-copy-source-authorization" in asked.headers:
            if asked.headers["x-ms-copy-source-authorization"].removeprefix("Bearer ") not in self.keeper.tokens:
                raise Refused(401, "CannotVerifyCopySource")
        elif kind == "SAS" or asked.query.get("comp") == "range":
            raise Refused(404, "CannotVerifyCopySource")

    def _level(self, asked: Asked) -> str:
        if not asked.share:
            return "account"
        return "path" if asked.path or asked.query.get("restype") == "directory" else "share"

    def _table(self) -> Mapping[tuple[str, str], _Operation]:
        files, folders = self.files, self.folders
        path: dict[str, _Operation] = {
            "PUT": lambda asked: files.copy(asked) if "x-ms-copy-source" in asked.headers else files.create(asked),
            "HEAD": files.properties,
            "GET": files.download,
            "DELETE": files.delete,
            "PUT range": files.put_range,
            "GET rangelist": files.ranges,
            "PUT metadata": files.set_meta,
            "PUT properties": files.set_properties,
            "PUT rename": files.rename,
            "PUT lease": files.lease,
            "PUT copy": files.abort_copy,
            "PUT directory": folders.create,
            "GET directory": folders.properties,
            "HEAD directory": folders.properties,
            "DELETE directory": folders.delete,
            "PUT directory rename": folders.rename,
            "PUT directory metadata": folders.set_meta,
            "PUT directory properties": folders.set_properties,
            "GET directory list": lambda asked: folders.list(asked, self.url + "/"),
        }
        share: dict[str, _Operation] = {
            "PUT share": folders.create_share,
            "GET share": folders.share_properties,
            "HEAD share": folders.share_properties,
            "DELETE share": folders.delete_share,
            "GET share stats": folders.share_stats,
            "PUT share properties": folders.set_share_properties,
            "PUT share metadata": folders.set_share_meta,
            "PUT share lease": folders.lease_share,
        }
        account: dict[str, _Operation] = {"GET list": lambda asked: folders.list_shares(asked, self.url + "/")}
        levels = {"path": path, "share": share, "account": account}
        return {(level, name): run for level, table in levels.items() for name, run in table.items()}
