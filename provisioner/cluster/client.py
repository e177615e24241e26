"""What `provision job` asks of an API server. Objects are plain dictionaries, as `emit` makes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Self

from provisioner.cluster.config import Access, find_access
from provisioner.cluster.errors import Answer, of_answer, translated
from provisioner.errors import AccessDenied, InvalidInput, MissingExtra, NotFound

if TYPE_CHECKING:
    import httpx2

Object = dict[str, Any]

MANAGER = "provision"
TIMEOUT = 30.0  # seconds for one answer
SILENCE = 60.0  # seconds without a line after which a log stream is asked for anew; the mirror speaks every 10
_PAGE = 500
_CORE, _BATCH, _APPS = "api/v1", "apis/batch/v1", "apis/apps/v1"
_KINDS = {  # kind -> its group, its plural, whether it is in a namespace
    "DaemonSet": (_APPS, "daemonsets", True),
    "Deployment": (_APPS, "deployments", True),
    "StatefulSet": (_APPS, "statefulsets", True),
    "ConfigMap": (_CORE, "configmaps", True),
    "Event": (_CORE, "events", True),
    "Namespace": (_CORE, "namespaces", False),
    "PersistentVolumeClaim": (_CORE, "persistentvolumeclaims", True),
    "Pod": (_CORE, "pods", True),
    "ResourceQuota": (_CORE, "resourcequotas", True),
    "Job": (_BATCH, "jobs", True),
    "NetworkPolicy": ("apis/networking.k8s.io/v1", "networkpolicies", True),
    "StorageClass": ("apis/storage.k8s.io/v1", "storageclasses", False),
}


class Cluster:
    """One namespace of one cluster.

    Every method raises Unavailable (no answer, 429, 5xx), AccessDenied (401, 403, a login that failed) and Unusable.
    """

    def __init__(self, access: Access, namespace: str | None) -> None:
        self.namespace = namespace or access.config.namespace
        self.where = access.where
        self.server = access.config.cluster.server
        self._http = _client(access)

    @classmethod
    def connect(cls, kubeconfig: str | None, context: str | None, namespace: str | None) -> Self:
        """Log in as kubectl would; nothing is sent yet. Raises MissingExtra, InvalidInput for a bad kubeconfig."""
        try:
            import lightkube.config.client_adapter  # noqa: F401
        except ModuleNotFoundError:
            raise MissingExtra("Talking to a cluster", "kubernetes") from None
        return cls(find_access(kubeconfig, context), namespace)

    def get(self, kind: str, name: str) -> Object | None:
        """One object, or None where there is none."""
        try:
            return self._json("GET", self._path(kind, name), f"read {kind} {name}")
        except NotFound:
            return None

    def list(self, kind: str, labels: Mapping[str, str] | None = None, fields: str = "") -> list[Object]:
        """The objects of the namespace with these labels and fields."""
        query = {"limit": str(_PAGE)}
        if labels:
            query["labelSelector"] = ",".join(f"{key}={value}" for key, value in labels.items())
        if fields:
            query["fieldSelector"] = fields
        found: list[Object] = []
        while True:
            page = self._json("GET", self._path(kind), f"list {kind}s", query)
            found += page.get("items") or []
            if not (more := page.get("metadata", {}).get("continue")):
                return found
            query["continue"] = more

    def apply(self, one: Object, *, dry_run: bool = False, force: bool = False) -> Object:
        """Server-side apply. Raises Refused (422: not valid, or immutable), Conflict, NotFound for the namespace."""
        kind, name = one["kind"], one["metadata"]["name"]
        query = {"fieldManager": MANAGER, "force": "true" if force else "false"}
        if dry_run:
            query["dryRun"] = "All"
        try:
            return self._json("PATCH", self._path(kind, name), f"apply {kind} {name}", query, self._placed(one))
        except NotFound:
            raise NotFound(
                f"There is no namespace {self.namespace}, or this cluster knows no {kind}.",
                hint=f"kubectl create namespace {self.namespace}, or give --namespace.",
            ) from None

    def replace(self, one: Object) -> Object:
        """Write an object back that was read. Raises Conflict when somebody changed it meanwhile, Refused."""
        kind, name = one["kind"], one["metadata"]["name"]
        query = {"fieldManager": MANAGER}
        return self._json("PUT", self._path(kind, name), f"replace {kind} {name}", query, self._placed(one))

    def delete(self, kind: str, name: str, *, foreground: bool = False) -> bool:
        """Delete an object and what it owns; False where there was none.

        In the foreground it is there until all that it owns is gone, so its name is free only then.
        """
        query = {"propagationPolicy": "Foreground" if foreground else "Background"}
        try:
            self._json("DELETE", self._path(kind, name), f"delete {kind} {name}", query)
        except NotFound:
            return False
        return True

    def log(self, pod: str, container: str, since: str | None, *, follow: bool) -> Iterator[str]:
        """The lines of a container, each with its time in front, from `since` (RFC 3339, whole seconds) on.

        Raises what the class says, NotFound, and Refused while the container has not started.
        """
        query = {"container": container, "timestamps": "true", "follow": "true" if follow else "false"}
        if since:
            query["sinceTime"] = since
        doing = f"read the log of Pod {pod}"
        with translated(doing, self.where, self.server):
            request = self._http.build_request("GET", self._path("Pod", pod) + "/log", params=query)
            response = self._send(request, stream=True)
            try:
                if response.is_error:
                    response.read()
                    raise of_answer(Answer.of(response), doing, self.where)
                yield from response.iter_lines()
            finally:
                response.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _placed(self, one: Object) -> Object:
        return one | {"metadata": {"namespace": self.namespace} | one["metadata"]}

    def _path(self, kind: str, name: str | None = None) -> str:
        group, plural, inside = _KINDS[kind]
        parts = [group, *(("namespaces", self.namespace) if inside else ()), plural, *((name,) if name else ())]
        return "/" + "/".join(parts)

    def _json(
        self, method: str, path: str, doing: str, query: Mapping[str, str] | None = None, body: Object | None = None
    ) -> Object:
        import json

        headers = {"Accept": "application/json"}
        if body is not None:  # JSON is YAML too
            headers["Content-Type"] = "application/apply-patch+yaml" if method == "PATCH" else "application/json"
        with translated(doing, self.where, self.server):
            content = None if body is None else json.dumps(body).encode()
            request = self._http.build_request(method, path, params=query, headers=headers, content=content)
            response = self._send(request, stream=False)
        if response.is_error or response.is_redirect:
            raise of_answer(Answer.of(response), doing, self.where)
        return _table(response, doing)

    def _send(self, request: httpx2.Request, *, stream: bool) -> httpx2.Response:
        try:
            return self._http.send(request, stream=stream)
        except (OSError, ValueError, KeyError) as error:  # lightkube's login plugins, and nothing of HTTP, raise these
            why = error.strerror if isinstance(error, OSError) else "its answer holds no token"
            raise AccessDenied(
                f"The login plugin of {self.where} failed: {why}.", hint="Try: kubectl auth whoami"
            ) from None


def _client(access: Access) -> httpx2.Client:
    import httpx2
    from lightkube.config.client_adapter import Client, ConnectionParams
    from lightkube.core.exceptions import ConfigError

    timeout = httpx2.Timeout(TIMEOUT, read=SILENCE)
    try:
        return Client(access.config, ConnectionParams(timeout=timeout, proxy=access.proxy))
    except (ConfigError, OSError, ValueError) as error:  # certificates that are not there, or not PEM
        raise InvalidInput(f"The kubeconfig's {access.where} cannot be used: {error}.") from None


def _table(response: httpx2.Response, doing: str) -> Object:
    try:
        body = response.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise of_answer(Answer(response.status_code, ""), doing, "")
    return body
