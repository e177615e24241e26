"""What a Hub endpoint says about a repository: its commit, licence and files. One request, so one commit."""

from __future__ import annotations

import random
import re
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from provisioner.errors import (
    AccessDenied,
    InvalidInput,
    NotFound,
    ProvisionError,
    Unavailable,
    Unusable,
)
from provisioner.model import Commit, Digest, GitSha1, RelPath, RepoId, Revision
from provisioner.ports.events import Observer, Retrying, silent
from provisioner.sources.hub import endpoint_of, token_to_send, without_telemetry
from provisioner.transport.http import tls_context, without_secrets

if TYPE_CHECKING:
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.hf_api import ModelInfo, RepoSibling

Result = TypeVar("Result")
TIMEOUT_SECONDS = 30.0
_LONGEST_WAIT = 900.0  # seconds; the Hub counts its rate limits in windows of 300 s
_BUSY = {408, 425, 429, 500, 502, 503, 504}
_SPENT = re.compile(r"\br=0;\s*t=(\d+)")  # `ratelimit: "api";r=0;t=55`
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file as the Hub lists it.

    Attributes:
        size: bytes.
        git_sha1: the git blob id, of the LFS pointer where the file is in LFS; None where the endpoint gives none.
        sha256: of the content, for a file in LFS; None otherwise.
    """

    path: RelPath
    size: int
    git_sha1: GitSha1 | None
    sha256: Digest | None


@dataclass(frozen=True, slots=True)
class RemoteSnapshot:
    """A repository at one commit.

    Attributes:
        name: what the Hub calls it now; differs from `repo` after a move.
        license: as the model card gives it, or None.
        unsafe: names of files that no store could hold, each with the reason; such a file cannot be locked.
    """

    repo: RepoId
    name: str
    commit: Commit
    license: str | None
    files: tuple[RemoteFile, ...]
    unsafe: tuple[tuple[str, str], ...] = ()


class HubApi:
    """The metadata of a Hub endpoint, through huggingface_hub."""

    def __init__(
        self,
        endpoint: str | None = None,
        *,
        attempts: int = 4,
        observer: Observer = silent,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.endpoint = endpoint_of(endpoint)
        self._attempts = attempts
        self._observer = observer
        self._sleep = sleep
        without_telemetry()
        _trust_our_bundles()

    @property
    def name(self) -> str:
        """The endpoint's address, without credentials."""
        return without_secrets(self.endpoint)

    def snapshot(self, repo: RepoId, revision: Revision | Commit) -> RemoteSnapshot:
        """The commit a revision means now, with every file of it.

        Raises NotFound, AccessDenied, Unavailable, and InvalidInput for a listing that cannot be locked.
        """
        return self.patiently(str(repo), lambda: self._snapshot(repo, revision))

    def patiently(self, what: str, call: Callable[[], Result]) -> Result:
        """The result of a call, tried again with growing pauses while the failure may pass."""
        for attempt in range(1, self._attempts):
            try:
                return call()
            except Unavailable as error:
                delay = _delay(error, attempt)
                if not error.retryable:
                    raise
                self._observer(Retrying(what, attempt, delay, str(error)))
                self._sleep(delay)
        return call()

    def _snapshot(self, repo: RepoId, revision: Revision | Commit) -> RemoteSnapshot:
        from huggingface_hub import errors

        # httpx.HTTPError in huggingface_hub 1.x, httpx2's in 2.x: taken from there, neither is imported.
        transport: type[Exception] = errors.HfHubHTTPError.__mro__[1]
        try:
            info = self._info(repo, revision)
        except errors.HfHubHTTPError as error:
            raise self._refused(error, repo, revision) from None
        except errors.OfflineModeIsEnabled:
            raise Unusable("HF_HUB_OFFLINE is set.", hint="Unset it: locking asks the Hub.") from None
        except (transport, OSError) as error:
            raise self._broken(error) from None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise Unusable(f"{self.name} does not answer like a Hub.", hint="Check HF_ENDPOINT.") from None
        return _read(info, repo, revision, self.name)

    def _info(self, repo: RepoId, revision: str) -> ModelInfo:
        from huggingface_hub import HfApi

        from provisioner import __version__

        api = HfApi(self.endpoint, token=token_to_send(), library_name="model-provisioner", library_version=__version__)
        return api.model_info(str(repo), revision=str(revision), files_metadata=True, timeout=TIMEOUT_SECONDS)

    def _refused(self, error: HfHubHTTPError, repo: RepoId, revision: str) -> ProvisionError:
        """By type, then by status. The client's texts can hold URLs, so none of them is passed on."""
        from huggingface_hub import errors

        status = error.response.status_code
        if isinstance(error, errors.GatedRepoError):
            return AccessDenied(
                f"{repo} is gated on {self.name}.",
                hint=f"Accept its terms at {self.name}/{repo} and set HF_TOKEN to a token of that account.",
            )
        if isinstance(error, errors.RevisionNotFoundError):
            return NotFound(f"{repo} has no revision {revision}.", hint="Name a branch, a tag or a commit.")
        if isinstance(error, errors.RepositoryNotFoundError) or status in (404, 410):
            return NotFound(
                f"{self.name} has no repository {repo}, or none that this account may see.",
                hint="Check the name; for a private repository set HF_TOKEN.",
            )
        if isinstance(error, errors.DisabledRepoError):
            return AccessDenied(f"{repo} was disabled on {self.name}.", hint="Choose another model.")
        return self._by_status(status, error.response.headers, repo)

    def _by_status(self, status: int, headers: Any, repo: RepoId) -> ProvisionError:
        if status in (401, 403, 407, 451):
            return AccessDenied(
                f"{self.name} refuses {repo} ({status}).", hint="Set HF_TOKEN to a token that may read it."
            )
        if status in _BUSY:
            return Unavailable(
                f"{self.name} answers {status} for {repo}.",
                hint="Try again later; with HF_TOKEN the Hub's rate limits are higher.",
                retry_after=_retry_after(headers),
            )
        return Unusable(f"{self.name} answers {status} for {repo}.", hint="Check HF_ENDPOINT and the proxy.")

    def _broken(self, error: BaseException) -> Unavailable:
        host = urlsplit(self.endpoint).hostname
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, ssl.SSLCertVerificationError):
                return Unusable(
                    f"The TLS certificate of {host} is not trusted.",
                    hint="For a private CA set SSL_CERT_FILE or REQUESTS_CA_BUNDLE to its PEM file.",
                )
            cause = cause.__cause__ or cause.__context__
        return Unavailable(f"{self.name} does not answer.", hint="Check HF_ENDPOINT, the proxy and the network policy.")


def _trust_our_bundles() -> None:
    """Make the client trust what the byte transport trusts: it reads SSL_CERT_FILE, but not REQUESTS_CA_BUNDLE.

    https://github.com/encode/httpx/blob/0.28.1/CHANGELOG.md (0.28.0)
    """
    from huggingface_hub import get_session, set_client_factory

    context = tls_context()  # first, for it says what is wrong with a bundle
    session = get_session()
    client, hooks = type(session), session.event_hooks
    set_client_factory(
        lambda: client(event_hooks=hooks, follow_redirects=True, timeout=TIMEOUT_SECONDS, verify=context)
    )


def _delay(error: Unavailable, attempt: int) -> float:
    if error.retry_after is not None:
        return min(error.retry_after, _LONGEST_WAIT)
    return float(2 ** (attempt - 1) * random.uniform(0.5, 1.0))


def _retry_after(headers: Any) -> float | None:
    """Seconds from `Retry-After`, or until the Hub's rate limit window ends."""
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value)
    limit = _SPENT.search(headers.get("ratelimit", ""))
    return float(limit[1]) if limit else None


def _read(info: ModelInfo, repo: RepoId, revision: str, endpoint: str) -> RemoteSnapshot:
    try:
        commit = Commit(str(info.sha))
    except ValueError:
        raise Unusable(f"{endpoint} gives no commit for {repo}.", hint="Check HF_ENDPOINT.") from None
    if len(revision) == len(commit) and _is_commit(revision) and revision != commit:
        raise InvalidInput(f"{endpoint} answers with commit {commit} when asked for {repo} at {revision}.")
    siblings = tuple(info.siblings or ())
    unsafe = tuple((name, why) for name in (one.rfilename for one in siblings) if (why := _unsafe(name, repo)))
    bad = {name for name, _ in unsafe}
    files = tuple(_file(sibling, repo) for sibling in siblings if sibling.rfilename not in bad)
    if not siblings:
        raise NotFound(f"{repo} has no files at {revision}.", hint="Check the revision.")
    if len({file.path for file in files}) != len(files):
        raise InvalidInput(f"The listing of {repo} has a path twice.")
    ordered = tuple(sorted(files, key=lambda f: f.path))
    return RemoteSnapshot(repo, str(info.id), commit, _license(info), ordered, unsafe)


def _is_commit(text: str) -> bool:
    try:
        Commit(text)
    except ValueError:
        return False
    return True


def _unsafe(name: Any, repo: RepoId) -> str:
    """Why no store could hold a file of this name, or ""."""
    if not isinstance(name, str):
        raise InvalidInput(f"{repo} has the file {name!r}, which is no name.", hint="Check HF_ENDPOINT.")
    try:
        RelPath(name)
    except ValueError as error:
        return str(error)
    return ""


def _file(sibling: RepoSibling, repo: RepoId) -> RemoteFile:
    path = RelPath(sibling.rfilename)
    size = sibling.lfs.size if sibling.lfs else sibling.size
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise Unusable(f"{repo}: the endpoint gives no size for {path}.", hint="Check HF_ENDPOINT.")
    try:
        git_sha1 = GitSha1(sibling.blob_id) if sibling.blob_id else None
        sha256 = Digest(sibling.lfs.sha256) if sibling.lfs else None
    except (ValueError, TypeError):
        raise InvalidInput(f"{repo}: the endpoint gives no valid digest for {path}.") from None
    return RemoteFile(path, size, git_sha1, sha256)


def _license(info: ModelInfo) -> str | None:
    """`license` of the model card, else the tag made from it; `other` with the name the card gives it."""
    given = getattr(info.card_data, "license", None)
    if given == "other" and isinstance(name := getattr(info.card_data, "license_name", None), str):
        given = f"other ({name})"
    if not given:
        given = next((tag[8:] for tag in info.tags or () if str(tag).startswith("license:")), None)
    text = ", ".join(map(str, given)) if isinstance(given, list) else str(given or "")
    return _CONTROL.sub("", text)[:200].strip() or None
