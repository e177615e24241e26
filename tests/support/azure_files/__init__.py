"""Azure Files on this machine: what the real SDK asks of it, answered as Azure does.

No emulator of the file service exists (Azurite has none), so this is one for tests:

    with AzureFiles(tmp_path) as server:
        server.create_share("models")
        ShareServiceClient.from_connection_string(server.connection_string)
        server.faults.append(Fault(BUSY, "PUT range", times=2))

Bytes lie below `server.root / SHARE / PATH`, to be looked at and damaged.
"""

from __future__ import annotations

from .faults import (
    BROKEN,
    BUSY,
    EXPIRED,
    FULL,
    Action,
    Answer,
    CutDownload,
    CutUpload,
    Fault,
    FlipBit,
    Hold,
    Hook,
    Late,
    Lie,
    LoseAnswer,
    Stall,
)
from .server import ACCOUNT, KEY, AzureFiles
from .wire import Asked, Logged

__all__ = [
    "ACCOUNT",
    "BROKEN",
    "BUSY",
    "EXPIRED",
    "FULL",
    "KEY",
    "Action",
    "Answer",
    "Asked",
    "AzureFiles",
    "CutDownload",
    "CutUpload",
    "Fault",
    "FlipBit",
    "Hold",
    "Hook",
    "Late",
    "Lie",
    "Logged",
    "LoseAnswer",
    "Stall",
]
