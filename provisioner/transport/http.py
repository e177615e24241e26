"""Plain HTTP with urllib3: proxies and private CAs from the environment, and no redirect that carries a secret away."""

from __future__ import annotations

import os
import re
import ssl
import threading
import urllib.request
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit

from provisioner.errors import InvalidInput, Unavailable, Unusable

if TYPE_CHECKING:
    import urllib3

Result = TypeVar("Result")
CONNECT_SECONDS = 10.0
READ_SECONDS = 60.0
POOL = 256  # connections that are kept: as many as --jobs allows
_REDIRECTS = {301, 302, 303, 307, 308}
_MAX_REDIRECTS = 5
_SECRETS = ("authorization", "cookie")
_ENDS_HOST = re.compile(r"[/?#]")


def tls_context(first: str = "") -> ssl.SSLContext:
    """The trust of REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE; else of SSL_CERT_FILE and the system; else certifi's.

    `first` names a variable that is stronger than all of them. Raises InvalidInput when the file that was named holds
    no certificates.
    """
    for variable in filter(None, (first, "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")):
        if bundle := os.environ.get(variable):
            return _trusting(variable, bundle, ssl.create_default_context)
    context = ssl.create_default_context()
    if file := os.environ.get("SSL_CERT_FILE"):
        _trusting("SSL_CERT_FILE", file, context.load_verify_locations)  # OpenSSL ignores one that it cannot read
    chosen = os.environ.get("SSL_CERT_FILE") or os.environ.get("SSL_CERT_DIR")
    if not chosen and not context.get_ca_certs():
        import certifi  # a slim image may come without ca-certificates

        context.load_verify_locations(certifi.where())
    return context


def _trusting(variable: str, path: str, load: Callable[..., Result]) -> Result:
    folder = os.path.isdir(path)
    try:
        return load(cafile=None if folder else path, capath=path if folder else None)
    except OSError as error:
        why = "holds no certificates" if isinstance(error, ssl.SSLError) else f"cannot be read ({error.strerror})"
        raise InvalidInput(
            f"{variable} names {path}, which {why}.", hint="It has to be a PEM file of the CAs to trust."
        ) from None


def origin(url: str) -> tuple[str, str, int | None]:
    """Scheme, host and port: what a token is bound to. Raises ValueError."""
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def without_secrets(url: str) -> str:
    """The URL for people: no user, password, query or fragment; of what is no URL, the scheme and host alone."""
    try:
        parts = urlsplit(url)
    except ValueError:  # a bracket without its other half
        scheme, _, rest = url.partition("://")
        return f"{scheme}://{_ENDS_HOST.split(rest)[0].rpartition('@')[2]}"
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", ""))


class Http:
    """Requests over kept-alive connections. Safe to share between threads."""

    def __init__(self, ca_variable: str = "") -> None:
        self._ca_variable = ca_variable
        self._pools: dict[tuple[str, str], urllib3.PoolManager] = {}
        self._proxies = urllib.request.getproxies()
        self._lock = threading.Lock()

    def get(self, url: str, headers: Mapping[str, str]) -> tuple[urllib3.BaseHTTPResponse, str]:
        """The response, its body not yet read, and the URL it came from after redirects.

        Secret headers are dropped on the way to another origin. Raises Unavailable when nothing answers, Unusable
        for a redirect to what is no URL.
        """
        home = _origin(url)
        for _ in range(_MAX_REDIRECTS):
            allowed = headers if _origin(url) == home else _public(headers)
            response = self.request("GET", url, allowed)
            location = response.headers.get("location")
            if response.status not in _REDIRECTS or not location:
                return response, url
            response.drain_conn()
            url = _joined(url, location)
        raise Unusable(f"{without_secrets(url)} redirects without an end.", hint="Check the endpoint and the proxy.")

    def request(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | memoryview | None = None
    ) -> urllib3.BaseHTTPResponse:
        """One request, no redirect followed; the body of the answer is not yet read. Raises Unavailable."""
        import urllib3

        try:
            return self.pool(url).urlopen(
                method,
                url,
                body=body,  # any buffer is sent as it is
                headers=headers,
                preload_content=False,
                decode_content=False,
                retries=False,
                redirect=False,
            )
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise translated(error, url) from error

    def pool(self, url: str) -> urllib3.PoolManager:
        """The connections for a URL: direct, or through the environment's proxy."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https"):
            raise Unusable(f"{without_secrets(url)} is neither http nor https.", hint="Check the endpoint.")
        proxy = self._proxies.get(parts.scheme) or self._proxies.get("all") or ""
        if proxy and _is_exempt(url):
            proxy = ""
        key = (parts.scheme, proxy)
        with self._lock:  # or every thread would make one of its own, and a TLS context takes 80 ms
            if key not in self._pools:
                from provisioner.transport.pools import CLASSES

                manager = self._pools[key] = _manager(*key, self._ca_variable)
                manager.pool_classes_by_scheme = CLASSES
            return self._pools[key]


def _origin(url: str) -> tuple[str, str, int | None]:
    try:
        return origin(url)
    except ValueError:
        raise Unusable(f"{without_secrets(url)} is no URL.", hint="Check the endpoint and the proxy.") from None


def _joined(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError:
        raise Unusable(f"{without_secrets(url)} redirects to what is no URL.", hint="Check the endpoint.") from None


def _is_exempt(url: str) -> bool:
    """NO_PROXY names hosts, and some with their port."""
    _, host, port = _origin(url)
    return any(urllib.request.proxy_bypass(name) for name in (host, f"{host}:{port}"))


def _public(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in _SECRETS}


def _manager(scheme: str, proxy: str, ca_variable: str) -> urllib3.PoolManager:
    import urllib3

    timeout = urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS)
    context = tls_context(ca_variable) if "https" in (scheme, proxy.partition(":")[0]) else None
    if not proxy:
        return urllib3.PoolManager(num_pools=8, maxsize=POOL, ssl_context=context, timeout=timeout)
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    _check_proxy(proxy)
    parts = urlsplit(proxy)
    login = f"{unquote(parts.username)}:{unquote(parts.password or '')}" if parts.username else None
    return urllib3.ProxyManager(
        urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], "", "", "")),
        proxy_headers=urllib3.make_headers(proxy_basic_auth=login) if login else None,
        num_pools=8,
        maxsize=POOL,
        ssl_context=context,
        timeout=timeout,
    )


def _check_proxy(proxy: str) -> None:
    """Raises InvalidInput for what is no address of a proxy."""
    try:
        scheme, host, _ = origin(proxy)
    except ValueError:
        scheme, host = "", ""
    if scheme not in ("http", "https") or not host:
        raise InvalidInput(
            f"{without_secrets(proxy)} is no address of a proxy.", hint="Check HTTPS_PROXY, HTTP_PROXY and ALL_PROXY."
        )


def translated(error: Exception, url: str) -> Unavailable:
    """A transport failure in our words; the host and port stay, the secrets of the URL go."""
    import urllib3.exceptions as errors

    host = urlsplit(url).netloc.rpartition("@")[2] or "the host"
    if isinstance(error.args[0] if error.args else None, ssl.SSLCertVerificationError):
        return Unusable(
            f"The TLS certificate of {host} is not trusted.",
            hint="For a private CA set SSL_CERT_FILE or REQUESTS_CA_BUNDLE to its PEM file.",
        )
    if isinstance(error, errors.ProxyError):
        return Unavailable(f"The proxy on the way to {host} does not answer.", hint="Check HTTPS_PROXY and NO_PROXY.")
    if isinstance(error, errors.NameResolutionError):
        return Unavailable(f"The name {host} is not known to DNS.", hint="Check the endpoint and the resolver.")
    if isinstance(error, errors.NewConnectionError):  # urllib3 counts it among the time-outs
        return Unavailable(f"{host} refuses connections.", hint="Check the endpoint and the network policy.")
    if isinstance(error, errors.TimeoutError):
        return Unavailable(f"{host} did not answer in time.")
    return Unavailable(f"The connection to {host} broke off.")
