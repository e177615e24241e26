"""Who may do what: shared key, shared access signature, bearer token, and the clock."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import unquote, urlsplit

from .wire import Asked, Refused, Target

SKEW_SECONDS = 15 * 60
_SIGNED_HEADERS = (
    "content-encoding", "content-language", "content-length", "content-md5", "content-type", "date",
    "if-modified-since", "if-match", "if-none-match", "if-unmodified-since", "range",
)  # fmt: skip
_SAS_FIELDS = ("sip", "spr", "sv", "rscc", "rscd", "rsce", "rscl", "rsct")
_CHALLENGE = {
    "WWW-Authenticate": "Bearer authorization_uri=https://login.microsoftonline.com/tenant/oauth2/authorize "
    "resource_id=https://storage.azure.com"
}


@dataclass
class Keeper:
    """Checks every request.

    Attributes:
        tokens: Bearer tokens that are good.
        sas: False refuses every shared access signature, as an account can be told to.
    """

    account: str
    key: str
    tokens: set[str] = field(default_factory=set)
    sas: bool = True

    def admit(self, asked: Asked, now: float) -> str:
        """The kind of authorization used.

        Raises:
            Refused: With the status and code Azure gives for what is wrong.
        """
        kind, _, given = asked.headers.get("authorization", "").partition(" ")
        if not kind and "sig" in asked.query:
            self.admit_sas(asked.target, needed(asked), now)
            return "SAS"
        if not kind:
            raise Refused(401, "NoAuthenticationInformation", headers=_CHALLENGE)
        if kind == "Bearer":
            return self._admit_bearer(asked, given)
        if kind != "SharedKey":
            raise Refused(400, "InvalidAuthenticationInfo")
        _check_date(asked, now)
        if not hmac.compare_digest(given, f"{self.account}:{self.sign(string_to_sign(asked, self.account))}"):
            raise Refused(403, "AuthenticationFailed", "The MAC signature found in the HTTP request is not the same")
        return "SharedKey"

    def sign(self, text: str) -> str:
        return base64.b64encode(hmac.digest(base64.b64decode(self.key), text.encode(), hashlib.sha256)).decode()

    def admit_sas(self, target: Target, letters: str, now: float) -> None:
        """Any one of the letters suffices.

        Raises:
            Refused: For a signature that is wrong, too old, too young or not meant for this.
        """
        query = target.query
        text = _account_sas(query, self.account) if "ss" in query else _service_sas(target, self.account)
        if not self.sas:
            raise Refused(403, "KeyBasedAuthenticationNotPermitted")
        if not hmac.compare_digest(query["sig"], self.sign(text)):
            raise Refused(403, "AuthenticationFailed", "Signature did not match.")
        if not _instant(query.get("st"), 0.0) <= now < _instant(query.get("se"), 0.0):
            raise Refused(403, "AuthenticationFailed", "Signature not valid in the specified time frame")
        _check_scope(target)
        if not set(letters) & set(query.get("sp", "")):
            raise Refused(403, "AuthorizationPermissionMismatch")

    def _admit_bearer(self, asked: Asked, token: str) -> str:
        if token not in self.tokens:
            raise Refused(401, "InvalidAuthenticationInfo", headers=_CHALLENGE)
        if asked.headers.get("x-ms-file-request-intent") != "backup":
            raise Refused(400, "MissingRequiredHeader", headers={"x-ms-missing": "x-ms-file-request-intent"})
        return "Bearer"


def needed(asked: Asked) -> str:
    """The letters of permission of which a request needs one."""
    comp, restype = asked.query.get("comp", ""), asked.query.get("restype", "")
    if comp == "list":
        return "l"
    if asked.method in ("GET", "HEAD"):
        return "r"
    if asked.method == "DELETE":
        return "d"
    creates = not comp and (restype or "x-ms-type" in asked.headers or "x-ms-copy-source" in asked.headers)
    return "cw" if creates else "w"


def string_to_sign(asked: Asked, account: str) -> str:
    """What a shared key signs, of the request as it came."""
    headers = dict(asked.headers)
    if headers.get("content-length") == "0":
        headers["content-length"] = ""
    mine = sorted((name for name in headers if name.startswith("x-ms-")), key=_order)
    query = "".join(f"\n{name}:{value}" for name, value in sorted(asked.query.items()))
    return (
        asked.method
        + "\n"
        + "".join(headers.get(name, "") + "\n" for name in _SIGNED_HEADERS)
        + "".join(f"{name}:{headers[name].strip()}\n" for name in mine)
        + f"/{account}{urlsplit(asked.raw).path}{query}"
    )


def _order(name: str) -> tuple[str, str]:
    """Azure sorts names as words: a hyphen only counts where all else is equal, an underscore before digits."""
    return name.replace("-", "").replace("_", "\x01"), name


def _check_date(asked: Asked, now: float) -> None:
    given = asked.headers.get("x-ms-date") or asked.headers.get("date")
    if not given:
        raise Refused(403, "AuthenticationFailed", "The request has no date header")
    if abs(parsedate_to_datetime(given).timestamp() - now) > SKEW_SECONDS:
        raise Refused(403, "AuthenticationFailed", f"Request date header too old: '{given}'")


def _account_sas(query: Mapping[str, str], account: str) -> str:
    fields = [query.get(name, "") for name in ("sp", "ss", "srt", "st", "se", "sip", "spr", "sv")]
    return "\n".join([account, *fields, "", ""])


def _service_sas(target: Target, account: str) -> str:
    query = target.query
    named = target.share if query.get("sr") == "s" else f"{target.share}/{target.path}"
    fields = [query.get(name, "") for name in ("sp", "st", "se")]
    return "\n".join(
        [*fields, f"/file/{account}/{unquote(named)}", query.get("si", ""), *map(query.get, _SAS_FIELDS, [""] * 8)]
    )


def _check_scope(target: Target) -> None:
    kind = "o" if target.path or target.query.get("restype") == "directory" else "c" if target.share else "s"
    if "ss" not in target.query:
        if kind != "o":  # a service SAS says nothing about the share itself
            raise Refused(403, "AuthorizationFailure")
    elif "f" not in target.query["ss"]:
        raise Refused(403, "AuthorizationServiceMismatch")
    elif kind not in target.query.get("srt", ""):
        raise Refused(403, "AuthorizationResourceTypeMismatch")


def _instant(text: str | None, default: float) -> float:
    if not text:
        return default
    at = datetime.fromisoformat(text)
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
