"""What `provision job` and `rollout` ask of an API server. Objects are plain dictionaries, as `emit` makes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

from provisioner.cluster.config import Access, find_access, shown
from provisioner.cluster.errors import Answer, Doing, of_answer, strange, translated
from provisioner.cluster.lines import lines
from provisioner.cluster.shape import is_sound
from provisioner.errors import InvalidInput, MissingExtra, NotFound

if TYPE_CHECKING:
    import httpx2

Object = dict[str, Any]

MANAGER = "provision"
TIMEOUT = 30.0  # seconds for one answer
SILENCE = 60.0  # seconds without a line after which a log stream is asked for anew; the mirror speaks every 10
_PAGE = 500
_PAGES = 400  # of one list; a server that never ends one is none
_CORE, _BATCH, _APPS = "api/v1", "apis/batch/v1", "apis/apps/v1"
_KINDS = {  # kind -> its group, its plural, whether it is in a namespace
    "DaemonSet": (_APPS, "daemonsets", True),
    "Deployment": (_APPS, "deployments", True),
    "ReplicaSet": (_APPS, "replicasets", True),
    "StatefulSet": (_APPS, "statefulsets", True),
    "ConfigMap": (_CORE, "configmaps", True),
    "Event": (_CORE, "events", True),
    "Namespace": (_CORE, "namespaces", False),
    "PersistentVolumeClaim": (_CORE, "persistentvolumeclaims", True),
    "Pod": (_CORE, "pods", True),
    "ResourceQuota": (_CORE, "resourcequotas", True),
    "CronJob": (_BATCH, "cronjobs", True),
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
        self.server = shown(access.config.cluster.server)
        self._http = _client(access)

    @classmethod
    def connect(cls, kubeconfig: str | None, context: str | None, namespace: str | None) -> Self:
        """Log in as kubectl would; nothing is sent yet. Raises MissingExtra, InvalidInput for a bad kubeconfig."""
        try:
            import lightkube.config.client_adapter  # noqa: F401  # whether it is there
        except ModuleNotFoundError:
            raise MissingExtra("Talking to a cluster", "kubernetes") from None
        return cls(find_access(kubeconfig, context), namespace)

    def get(self, kind: str, name: str) -> Object | None:
        """One object, or None where there is none."""
        doing = Doing("read", kind, name)
        try:
            found = self._json("GET", doing)
        except NotFound:
            return None
        if not is_sound(kind, found):
            raise strange(doing, f"with something that is no {kind}")
        return found

    def list(self, kind: str, labels: Mapping[str, str] | None = None, fields: str = "") -> list[Object]:
        """The objects of the namespace with these labels and fields."""
        query = {"limit": str(_PAGE)}
        if labels:
            query["labelSelector"] = ",".join(f"{key}={value}" for key, value in labels.items())
        if fields:
            query["fieldSelector"] = fields
        found: list[Object] = []
        for _ in range(_PAGES):
            items, more = self._page(Doing("list", kind), query)
            found += items
            if not more:
                return found
            if more == query.get("continue"):
                break
            query["continue"] = more
        raise strange(Doing("list", kind), f"its list has no end after {len(found)} of them")

    def _page(self, doing: Doing, query: Mapping[str, str]) -> tuple[Sequence[Object], str]:
        """Objects, and how to ask for more of them, or ""."""
        page = self._json("GET", doing, query)
        items, metadata = page.get("items") or [], page.get("metadata") or {}
        whole = isinstance(items, list) and isinstance(metadata, dict)
        if not whole or not all(is_sound(doing.kind, one) for one in items):
            raise strange(doing, f"with something that is no list of {doing.kind}s")
        return items, str(metadata.get("continue") or "")

    def apply(self, one: Object, *, dry_run: bool = False, force: bool = False) -> Object:
        """Server-side apply. Raises Refused (422: not valid, or immutable), Conflict, NotFound for the namespace."""
        kind, name = one["kind"], one["metadata"]["name"]
        query = {"fieldManager": MANAGER, "force": "true" if force else "false"}
        if dry_run:
            query["dryRun"] = "All"
        try:
            return self._json("PATCH", Doing("apply", kind, name), query, self._placed(one))
        except NotFound:
            raise NotFound(
                f"There is no namespace {self.namespace}, or this cluster knows no {kind}.",
                hint=f"kubectl create namespace {self.namespace}, or give --namespace.",
            ) from None

    def replace(self, one: Object, dry_run: bool = False) -> Object:
        """Write an object back that was read. Raises Conflict when somebody changed it meanwhile, Refused, NotFound."""
        query = {"fieldManager": MANAGER} | ({"dryRun": "All"} if dry_run else {})
        return self._json("PUT", Doing("replace", one["kind"], one["metadata"]["name"]), query, self._placed(one))

    def delete(self, kind: str, name: str, *, foreground: bool = False) -> bool:
        """Delete an object and what it owns; False where there was none.

        In the foreground it is there until all that it owns is gone, so its name is free only then.
        """
        query = {"propagationPolicy": "Foreground" if foreground else "Background"}
        try:
            self._json("DELETE", Doing("delete", kind, name), query)
        except NotFound:
            return False
        return True

    def log(self, pod: str, container: str, since: str | None, *, follow: bool) -> Iterator[str]:
        """The lines of a container, each with its time in front, from `since` (RFC 3339, whole seconds) on.

        Of a line of more than 1 MiB the beginning. Raises what the class says, NotFound, and Refused while the
        container has not started.
        """
        query = {"container": container, "timestamps": "true", "follow": "true" if follow else "false"}
        if since:
            query["sinceTime"] = since
        doing = Doing("read the log of", "Pod", pod)
        with translated(self.where, self.server):
            request = self._http.build_request("GET", self._path("Pod", pod) + "/log", params=query)
            response = self._http.send(request, stream=True)
            try:
                if not response.is_success:
                    response.read()
                    raise of_answer(Answer.of(response), doing, self.where)
                yield from lines(response.iter_bytes())
            finally:
                response.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _placed(self, one: Object) -> Object:
        return one | {"metadata": {"namespace": self.namespace} | one["metadata"]}

    def _path(self, kind: str, name: str = "") -> str:
        group, plural, inside = _KINDS[kind]
        parts = [group, *(("namespaces", quote(self.namespace, "")) if inside else ()), plural]
        return "/" + "/".join([*parts, quote(name, "")] if name else parts)

    def _json(
        self, method: str, doing: Doing, query: Mapping[str, str] | None = None, body: Object | None = None
    ) -> Object:
        import json

        headers = {"Accept": "application/json"}
        if body is not None:  # JSON is YAML too
            headers["Content-Type"] = "application/apply-patch+yaml" if method == "PATCH" else "application/json"
        path = self._path(doing.kind, doing.name)
        with translated(self.where, self.server):
            content = None if body is None else json.dumps(body).encode()
            request = self._http.build_request(method, path, params=query, headers=headers, content=content)
            response = self._http.send(request)
        if not response.is_success:
            raise of_answer(Answer.of(response), doing, self.where)
        try:
            found = response.json()
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise strange(doing, "with something that is no object")
        return found


def _client(access: Access) -> httpx2.Client:
    import httpx2
    from lightkube.config.client_adapter import ConnectionParams
    from lightkube.core.exceptions import ConfigError

    from provisioner.cluster.login import Plugin

    user = access.config.user
    timeout = httpx2.Timeout(TIMEOUT, read=SILENCE)
    try:
        settings = ConnectionParams(timeout=timeout, proxy=access.proxy).httpx_params(access.config)
        if user is not None and user.exec is not None and user.token is None and user.token_file is None:
            settings["auth"] = Plugin(user.exec, access.where)
        return httpx2.Client(**settings)
    except httpx2.InvalidURL:
        raise InvalidInput(f"The kubeconfig's server {shown(access.config.cluster.server)} is no address.") from None
    except ImportError:
        raise InvalidInput(
            "The way to the API server is a SOCKS proxy (proxy-url of the kubeconfig, or ALL_PROXY), which needs the "
            "Python package socksio.",
            hint="pip install socksio, or name an HTTP proxy.",
        ) from None
    except (ConfigError, OSError, ValueError) as error:  # certificates that are not there, or not PEM
        raise InvalidInput(f"The kubeconfig's {access.where} cannot be used: {error}.") from None
