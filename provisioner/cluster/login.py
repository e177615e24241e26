"""Logging in with a plugin of the kubeconfig (`exec`), as kubectl does.

lightkube 1.0 has this too, but quotes the plugin's stderr in its error, where a secret may be, speaks v1beta1 only, and
leaves KUBERNETES_EXEC_INFO out, which v1 needs.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import httpx2

from provisioner.cluster.errors import bad_token
from provisioner.errors import AccessDenied, InvalidInput

if TYPE_CHECKING:
    from lightkube.config.models import UserExec

_VERSIONS = tuple(f"client.authentication.k8s.io/{one}" for one in ("v1", "v1beta1", "v1alpha1"))
_LONGEST = 300.0  # seconds; one that opens a browser waits for a person


def is_token(text: str) -> bool:
    """Whether it can stand in a header."""
    return text.isascii() and text.isprintable() and " " not in text and bool(text)


class Plugin(httpx2.Auth):
    """Asks a login plugin for a token, and again when the token is no longer taken. Safe in several threads.

    Raises AccessDenied for a plugin that is not there, fails or prints no token, InvalidInput for a version of its
    protocol that is not known.
    """

    def __init__(self, given: UserExec, where: str) -> None:
        if given.apiVersion not in _VERSIONS:
            raise InvalidInput(
                f"The login plugin of {where} has the apiVersion {given.apiVersion}, which is not known.",
                hint=f"Known are {', '.join(_VERSIONS)}.",
            )
        self._given = given
        self._where = where
        self._lock = threading.Lock()
        self._token: str | None = None

    def sync_auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        """With the token there is; with a new one where the server does not take that."""
        used = self._newer(None)
        request.headers["Authorization"] = f"Bearer {used}"
        response = yield request
        if response.status_code == 401:
            request.headers["Authorization"] = f"Bearer {self._newer(used)}"
            yield request

    def _newer(self, than: str | None) -> str:
        """The token, asked for anew where it is still the one that was not taken."""
        with self._lock:
            if self._token is None or self._token == than:
                self._token = self._asked()
            return self._token

    def _asked(self) -> str:
        try:
            token = json.loads(self._output())["status"]["token"]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise self._failed("its answer holds no token") from None
        if not isinstance(token, str) or not token:
            raise self._failed("its answer holds no token")
        if not is_token(token):
            raise bad_token(self._where)
        return token

    def _output(self) -> bytes:
        given = self._given
        info = {"apiVersion": given.apiVersion, "kind": "ExecCredential", "spec": {"interactive": False}}
        more = {one.name: one.value for one in given.env or []} | {"KUBERNETES_EXEC_INFO": json.dumps(info)}
        try:
            done: Any = subprocess.run(
                [given.command, *(given.args or [])],
                env={**os.environ, **more},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_LONGEST,
            )
        except OSError as error:
            raise self._failed(f"{error.strerror}") from None
        except ValueError:  # a NUL in a word
            raise self._failed("its command line is not valid") from None
        except subprocess.TimeoutExpired:
            raise self._failed(f"it has not ended after {_LONGEST:g} s") from None
        if done.returncode:
            raise self._failed(f"it ended with exit code {done.returncode}")
        return bytes(done.stdout)

    def _failed(self, why: str) -> AccessDenied:
        return AccessDenied(
            f"The login plugin {os.path.basename(self._given.command)} of {self._where} failed: {why}.",
            hint="What it says is not shown, for it may hold secrets: kubectl auth whoami runs it too.",
        )
