"""Where the MinIO of an address is and which keys belong to it: the environment's, or those of an alias of mc."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from provisioner.errors import AccessDenied, InvalidInput, NotFound, UsageError

ENDPOINT, SECURE, ALIAS = "MINIO_ENDPOINT", "MINIO_SECURE", "MC_HOST_"
KEYS = (("MINIO_ACCESS_KEY", "MINIO_SECRET_KEY"), ("MINIO_ROOT_USER", "MINIO_ROOT_PASSWORD"))
TOKEN, MC_FOLDER = "MINIO_SESSION_TOKEN", "MC_CONFIG_DIR"
_URL = re.compile(r"(https?)://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::(\d{1,5}))?/?", re.IGNORECASE)
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")  # of an alias
_DEFAULT_PORTS = {"http": 80, "https": 443}
_SWITCH = {"true": "https", "1": "https", "yes": "https", "on": "https"} | dict.fromkeys(
    ("false", "0", "no", "off"), "http"
)
_FORM = "Write minio://HOST:PORT/BUCKET/PREFIX, or an alias of mc for the host."


@dataclass(frozen=True, slots=True)
class Keys:
    """Who we are at one server."""

    access: str = field(repr=False)
    secret: str = field(repr=False)
    token: str | None = field(repr=False, default=None)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server.

    Attributes:
        url: scheme, host and port unless it is the scheme's own.
        keys: None where those have to be found that the pod or the machine is given.
    """

    url: str
    keys: Keys | None


def locate(host: str) -> Endpoint:
    """The server of an address: HOST, HOST:PORT, an alias of mc, or "" for MINIO_ENDPOINT's.

    Keys go nowhere but to the server that they were given for. Raises UsageError, AccessDenied, InvalidInput.
    """
    if "@" in host:
        raise UsageError("An address must hold no login.", hint=f"Set {KEYS[0][0]} and {KEYS[0][1]} instead.")
    if _NAME.fullmatch(host) and (endpoint := _aliased(host)):
        return endpoint
    configured = _configured()
    if not host and not configured:
        raise UsageError(f"{ENDPOINT} is not set.", hint=f"Set it, or name the server: {_FORM}")
    return _with_our_keys(_address(host, configured) if host else configured, configured)


def locate_by(url: str | None, alias: str | None) -> Endpoint:
    """The server of options: a URL, an alias of mc, else MINIO_ENDPOINT's.

    Keys go nowhere but to the server that they were given for. Raises NotFound for an alias that mc does not know,
    UsageError, AccessDenied, InvalidInput.
    """
    found = _aliased(alias) if alias is not None else None
    if alias is not None and found is None:
        raise NotFound(f"mc has no alias {alias}.", hint=f"Set {ALIAS}{alias}, or run: mc alias set {alias} URL")
    known = found.url if found else _configured()
    wanted = _given(url, known) if url else known
    if not wanted:
        raise UsageError(f"{ENDPOINT} is not set.", hint="Set it, or name the server by --endpoint or --alias.")
    if not found:
        return _with_our_keys(wanted, known)
    if wanted != found.url:
        raise AccessDenied(
            f"The keys of {alias} are for {found.url}, not for {wanted}.", hint="Leave --endpoint or --alias out."
        )
    return found


def _with_our_keys(url: str, configured: str) -> Endpoint:
    if configured and url != configured:
        raise AccessDenied(
            f"The keys in the environment are for {configured}, not for {url}.",
            hint=f"Unset {ENDPOINT}, or make an alias of mc for the other server: "
            f"{ALIAS}other=https://ACCESS:SECRET@HOST:PORT",
        )
    return Endpoint(url, _keys())


def _given(url: str, known: str) -> str:
    scheme = known.partition("://")[0] or _SWITCH[_secure()]
    found = _normal(url if "://" in url else f"{scheme}://{url}")
    if not found:
        raise UsageError(
            "The endpoint is not the URL of a MinIO server.", hint="Write https://HOST:PORT, without keys or a path."
        )
    return found


def trusted_files() -> tuple[str, ...]:
    """The private CAs that mc trusts."""
    folder = _mc_folder() / "certs" / "CAs"
    try:
        return tuple(str(file) for file in sorted(folder.iterdir()) if file.is_file())
    except OSError:
        return ()


def _address(host: str, configured: str) -> str:
    scheme = configured.partition("://")[0] or _SWITCH[_secure()]
    url = _normal(f"{scheme}://{host}")
    if not url:
        raise UsageError("The address names no host that could be.", hint=_FORM)  # its text may be half a secret
    if _NAME.fullmatch(host) and host != "localhost" and url != configured:
        raise UsageError(
            f"{host} is neither an alias of mc nor HOST:PORT.", hint=f"Set {ALIAS}{host}, or write the port as well."
        )
    return url


def _configured() -> str:
    """MINIO_ENDPOINT as a URL, "" where it is not set."""
    given = os.environ.get(ENDPOINT, "")
    if not given:
        return ""
    url = _normal(given if "://" in given else f"{_SWITCH[_secure()]}://{given}")
    if not url:
        raise UsageError(
            f"{ENDPOINT} is no address of a server.", hint="Write https://HOST:PORT, without a login and a path."
        )
    return url


def _secure() -> str:
    given = os.environ.get(SECURE, "").lower() or "true"
    if given not in _SWITCH:
        raise UsageError(f"{SECURE} is neither true nor false.", hint="Set it to false for a server without TLS.")
    return given


def _normal(url: str) -> str:
    """A URL as it is compared, "" for what is none of a server."""
    match = _URL.fullmatch(url)
    if not match or int(match[3] or 1) not in range(1, 65536):
        return ""
    scheme, host, port = match[1].lower(), match[2].lower(), int(match[3] or 0)
    return f"{scheme}://{host}" + (f":{port}" if port and port != _DEFAULT_PORTS[scheme] else "")


def _keys() -> Keys | None:
    """The keys in the environment. Raises AccessDenied for half of a pair."""
    for names in KEYS:
        access, secret = (os.environ.get(name, "") for name in names)
        if access and secret:
            return Keys(access, secret, os.environ.get(TOKEN) or None)
        if access or secret:
            there, missing = names if access else reversed(names)
            raise AccessDenied(f"{there} is set without {missing}.", hint=f"Set {missing} as well.")
    return None


def _aliased(name: str) -> Endpoint | None:
    """What mc knows under a name: by the environment, else by its configuration file."""
    if given := os.environ.get(ALIAS + name):
        return _from_variable(name, given)
    path = _mc_folder() / "config.json"
    entry = _entry(path, name)
    if entry is None:
        return None
    found = {key: value for key, value in entry.items() if isinstance(value, str)}
    keys = Keys(found.get("accessKey", ""), found.get("secretKey", ""), found.get("sessionToken") or None)
    return _complete(found.get("url", ""), keys, f"The alias {name} in {path}")


def _from_variable(name: str, given: str) -> Endpoint:
    """`https://ACCESS:SECRET[:TOKEN]@HOST:PORT`, nothing of it percent-decoded: mc takes it literally.

    https://github.com/minio/mc/blob/master/cmd/config.go (parseEnvURLStr)
    """
    scheme, _, rest = given.partition("://")
    login, _, host = rest.rpartition("@")
    access, secret, token, *_ = [*login.split(":", 2), "", "", ""]
    return _complete(f"{scheme}://{host}", Keys(access, secret, token or None), ALIAS + name)


def _complete(url: str, keys: Keys, what: str) -> Endpoint:
    normal = _normal(url)
    if not normal:
        raise UsageError(
            f"{what} is no address of a server.", hint="It has to be https://ACCESS:SECRET@HOST:PORT without a path."
        )
    if not keys.access or not keys.secret:
        raise AccessDenied(f"{what} has no keys.", hint="Give the alias an access key and a secret key.")
    return Endpoint(normal, keys)


def _mc_folder() -> Path:
    return Path(os.environ.get(MC_FOLDER) or Path.home() / ".mc")


def _entry(path: Path, name: str) -> dict[str, Any] | None:
    try:
        config = json.loads(path.read_bytes())
        aliases = config.get("aliases") or config.get("hosts") or {}
        entry = aliases.get(name)
        if entry is not None and not isinstance(entry, dict):
            raise TypeError(name)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, TypeError, AttributeError):
        raise InvalidInput(
            f"{path} cannot be read as mc's configuration.", hint="Check it with: mc alias list"
        ) from None
    return entry
