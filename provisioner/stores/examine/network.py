"""The way to a server, step by step: proxy, name, connection, certificate, clock."""

from __future__ import annotations

import os
import socket
import ssl
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from provisioner.errors import AccessDenied, InvalidInput, Unavailable, Unusable
from provisioner.report.health import Answer, fine, not_tried, warning
from provisioner.stores.examine.check import Check
from provisioner.transport.http import Http, origin, tls_context

SECONDS = 10.0
SKEW_WARNING, SKEW_FAILURE = 5.0, 300.0
EXPIRES_SOON = 14 * 86400.0
CLOCK_HINT = "Set this machine's clock (NTP); signatures are valid for minutes only."
_CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")
_EXPIRED, _NOT_YET, _OTHER_HOST, _OTHER_ADDRESS = 10, 9, 62, 64  # X509_V_ERR_*, which OpenSSL never renumbers


@dataclass(frozen=True, slots=True)
class Server:
    """What is at the other end.

    Attributes:
        url: scheme, host and port; whatever follows is kept to this module.
        ca_variable: the variable that names its CA before all others.
        ca_files: trusted as well.
    """

    url: str
    ca_variable: str = ""
    ca_files: tuple[str, ...] = ()

    @property
    def scheme(self) -> str:
        """http or https. Raises Unusable."""
        return self._origin()[0]

    @property
    def address(self) -> tuple[str, int]:
        """Host and port. Raises Unusable for what is no URL."""
        return self._origin()[1:]

    def _origin(self) -> tuple[str, str, int]:
        with suppress(ValueError):
            scheme, host, port = origin(self.url)
            if scheme in ("http", "https") and host and port:
                return scheme, host, port
        raise Unusable("The endpoint is no http or https URL.", hint="Write it as https://HOST:PORT.")

    @property
    def shown(self) -> str:
        """For people: neither a login nor a query."""
        host, port = self.address
        return f"{self.scheme}://{host}:{port}"

    def proxy(self) -> tuple[str, int] | None:
        """Host and port of the proxy on the way there, or None. Raises Unusable."""
        host, port = self.address
        proxies = urllib.request.getproxies()
        found = proxies.get(self.scheme) or proxies.get("all") or ""
        if not found or any(urllib.request.proxy_bypass(name) for name in (host, f"{host}:{port}")):
            return None
        try:
            parts = urlsplit(found if "://" in found else f"http://{found}")
            return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        except ValueError:
            raise Unusable("The proxy is no URL.", hint="Check HTTPS_PROXY, HTTP_PROXY and ALL_PROXY.") from None

    def near(self) -> tuple[str, int]:
        """What we connect to: the server, or the proxy."""
        return self.proxy() or self.address

    def context(self) -> ssl.SSLContext:
        """What it is trusted by. Raises InvalidInput."""
        context = tls_context(self.ca_variable)
        _trust(context, self.ca_files)
        return context


def checks(server: Any) -> tuple[Check, ...]:
    """The steps to a server, which `server()` gives once the check named endpoint has found it."""
    return (
        Check("proxy", lambda: proxy(server()), ("endpoint",)),
        Check("dns", lambda: dns(server()), ("endpoint",)),
        Check("tcp", lambda: tcp(server()), ("dns",)),
        Check("tls", lambda: tls(server()), ("tcp",)),
        Check("clock", lambda: clock(server()), ("tls",)),
    )


def proxy(server: Server) -> Answer:
    """Whether something stands between."""
    if found := server.proxy():
        return fine(f"through {found[0]}:{found[1]}; the rest of the way is not seen from here")
    return not_tried("none: the connection is direct")


def dns(server: Server) -> Answer:
    """The addresses of the name. Raises Unavailable."""
    host, port = server.near()
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise Unavailable(
            f"The name {host} is not known to DNS.", hint="Check the endpoint's name and the pod's resolver."
        ) from None
    return fine(f"{host} is {', '.join(sorted({str(one[4][0]) for one in found}))}")


def tcp(server: Server) -> Answer:
    """Whether somebody listens. Raises Unavailable."""
    with _connected(server.near()):
        host, port = server.near()
        return fine(f"{host}:{port} accepts connections")


@contextmanager
def _connected(address: tuple[str, int]) -> Iterator[socket.socket]:
    try:
        connection = socket.create_connection(address, SECONDS)
    except OSError as error:
        late = isinstance(error, TimeoutError)
        what = "does not answer" if late else f"refuses connections ({error.strerror or 'unreachable'})"
        raise Unavailable(
            f"{address[0]}:{address[1]} {what}.", hint="Check host and port, the network policy and the firewall."
        ) from None
    with connection:
        yield connection


def tls(server: Server) -> Answer:
    """Who vouches for the server, and how long yet. Raises Unusable, Unavailable."""
    if server.scheme == "http":
        return not_tried("plain http: nothing is encrypted")
    if server.proxy():
        return not_tried("through a proxy")
    context, (host, _) = server.context(), server.address
    with _connected(server.address) as connection:
        try:
            with context.wrap_socket(connection, server_hostname=host) as secured:
                return _certificate(secured.getpeercert() or {}, secured.version() or "TLS", trusted_by(server))
        except ssl.SSLCertVerificationError as error:
            raise _untrusted(error, server) from None
        except ssl.SSLError:
            raise Unusable(f"{server.shown} does not speak TLS.", hint="Is it http, or another port?") from None
        except OSError:
            raise Unavailable(f"{server.shown} breaks off the TLS handshake.", hint="Is a proxy needed?") from None


def _certificate(found: dict[str, Any], version: str, trust: str) -> Answer:
    names = {key: value for group in found.get("issuer", ()) for key, value in group}
    issuer = names.get("commonName") or names.get("organizationName") or "an unnamed CA"
    left = ssl.cert_time_to_seconds(found["notAfter"]) - time.time()
    day = time.strftime("%Y-%m-%d", time.gmtime(ssl.cert_time_to_seconds(found["notAfter"])))
    detail = f"{version}, issued by {issuer}, trusted by {trust}, valid until {day}"
    return fine(detail) if left > EXPIRES_SOON else warning(detail, "Renew the server's certificate soon.")


def trusted_by(server: Server) -> str:
    """What says which CAs to trust."""
    for variable in filter(None, (server.ca_variable, *_CA_VARIABLES)):
        if path := os.environ.get(variable):
            return f"{variable} ({path})"
    return ", ".join(("the system", *server.ca_files))


def _untrusted(error: ssl.SSLCertVerificationError, server: Server) -> Unusable:
    why = f"The TLS certificate of {server.shown} is not trusted ({error.verify_message.rstrip('.')})."
    if error.verify_code in (_EXPIRED, _NOT_YET):
        return Unusable(why, hint="Renew the server's certificate, or set this machine's clock.")
    if error.verify_code in (_OTHER_HOST, _OTHER_ADDRESS):
        return Unusable(why, hint="Use the name that the certificate is for.")
    set_already = (one for one in _CA_VARIABLES if os.environ.get(one))
    variable = server.ca_variable or next(set_already, "SSL_CERT_FILE")  # a weaker one would change nothing
    return Unusable(why, hint=f"For a private CA set {variable} to its PEM file; trusted is {trusted_by(server)}.")


def clock(server: Server) -> Answer:
    """How far our clock is from the server's. Raises AccessDenied when too far, Unavailable."""
    http = Http(server.ca_variable)
    if context := http.pool(server.url).connection_pool_kw.get("ssl_context"):
        _trust(context, server.ca_files)
    before = time.time()
    response = http.request("GET", server.shown, {"Connection": "close"})
    now = (before + time.time()) / 2
    response.drain_conn()
    try:
        ahead = now - parsedate_to_datetime(response.headers["Date"]).timestamp() - 0.5  # whole seconds, cut off
    except (KeyError, TypeError, ValueError):
        return not_tried("the server does not say what time it is")
    answer = skew(ahead, "the server's", CLOCK_HINT)
    if answer is None:
        raise AccessDenied(f"This machine's clock is {_by(ahead)} the server's.", hint=CLOCK_HINT)
    return answer


def skew(ahead: float, whose: str, hint: str) -> Answer | None:
    """What a difference of so many seconds means; None when it is too large."""
    if abs(ahead) > SKEW_FAILURE:
        return None
    if abs(ahead) > SKEW_WARNING:
        return warning(f"this machine's clock is {_by(ahead)} {whose}", hint)
    return fine("less than 5 s of difference")


def _by(ahead: float) -> str:
    return f"{abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'}"


def _trust(context: ssl.SSLContext, files: tuple[str, ...]) -> None:
    for file in files:
        try:
            context.load_verify_locations(cafile=file)
        except OSError:
            raise InvalidInput(f"{file} holds no certificates.", hint="It has to be a PEM file of CAs.") from None
