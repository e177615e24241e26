"""Which API server, and who asks: the kubeconfig as kubectl finds it, else the service account of the pod."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from provisioner.cluster.errors import bad_token
from provisioner.errors import InvalidInput

if TYPE_CHECKING:
    from lightkube.config.kubeconfig import SingleConfig

_LISTS = ("clusters", "contexts", "users")
_PATHS = ("certificate-authority", "client-certificate", "client-key", "tokenFile")


@dataclasses.dataclass(frozen=True, slots=True)
class Access:
    """One context of a kubeconfig.

    Attributes:
        where: what to call it in a message.
        proxy: `proxy-url` of the cluster, or None.
    """

    config: SingleConfig
    where: str
    proxy: str | None


def find_access(kubeconfig: str | None, context: str | None) -> Access:
    """The context asked for, else the current one. Raises InvalidInput, AccessDenied for a token that is none."""
    named = kubeconfig or os.environ.get("KUBECONFIG")
    paths = [Path(part).expanduser() for part in (named or "~/.kube/config").split(os.pathsep) if part]
    there = [path for path in paths if path.exists()]
    if there:
        return _chosen(_merged(there), ", ".join(map(str, there)), context)
    if named is None and context is None and (inside := _in_cluster()) is not None:
        return inside
    raise InvalidInput(
        f"There is no kubeconfig {', '.join(map(str, paths))}.",
        hint="Give --kubeconfig FILE or set KUBECONFIG; in a pod its service account is used.",
    )


def _in_cluster() -> Access | None:
    from lightkube.config.kubeconfig import KubeConfig
    from lightkube.core.exceptions import ConfigError

    if "KUBERNETES_SERVICE_HOST" not in os.environ:
        return None
    try:
        config = KubeConfig.from_service_account().get()
    except ConfigError:
        return None
    assert config is not None  # it has a current context, so there is one
    return Access(config, "the pod's service account", None)


def _merged(paths: list[Path]) -> dict[str, Any]:
    """Several files as one: the first that names something wins, as kubectl does it."""
    result: dict[str, Any] = {key: [] for key in _LISTS}
    for path in paths:
        document = _read(path)
        for key in _LISTS:
            known = {one["name"] for one in result[key]}
            result[key] += [one for one in _named(document.get(key), key, path) if one["name"] not in known]
        result.setdefault("current-context", document.get("current-context") or None)
        if result["current-context"] is None:
            del result["current-context"]
    return result


def _read(path: Path) -> dict[str, Any]:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        document = YAML(typ="safe", pure=True).load(path.read_text())
    except OSError as error:
        raise InvalidInput(f"Cannot read the kubeconfig {path}: {error.strerror}.") from None
    except (YAMLError, UnicodeDecodeError):
        raise InvalidInput(f"The kubeconfig {path} is no YAML.") from None
    if not isinstance(document, dict):
        raise InvalidInput(f"The kubeconfig {path} is no table.", hint="kubectl config view shows what it should be.")
    return document


def _named(entries: Any, key: str, path: Path) -> list[dict[str, Any]]:
    """The entries with their relative paths made absolute, since they may come from different folders."""
    found: list[dict[str, Any]] = []
    for one in entries if isinstance(entries, list) else [entries] if entries else []:
        inner = one.get(key.rstrip("s")) if isinstance(one, dict) else None
        if not isinstance(inner, dict) or not isinstance(one.get("name"), str):
            raise InvalidInput(f"The kubeconfig {path} has an entry in {key} without a name or a {key.rstrip('s')}.")
        places = {
            name: str(path.parent.absolute() / inner[name]) for name in _PATHS if isinstance(inner.get(name), str)
        }
        found.append({"name": one["name"], key.rstrip("s"): inner | places})
    return found


def _chosen(document: dict[str, Any], where: str, context: str | None) -> Access:
    import msgspec
    from lightkube.config.kubeconfig import KubeConfig
    from lightkube.core.exceptions import ConfigError

    try:
        config = KubeConfig.from_dict(document, fname=where).get(context)
    except ConfigError:
        names = ", ".join(one["name"] for one in document["contexts"]) or "none"
        asked = f"has no context {context or document.get('current-context')}" if context else "has no current context"
        raise InvalidInput(f"The kubeconfig {where} {asked}.", hint=f"Give --context. There are: {names}.") from None
    except KeyError as error:
        raise InvalidInput(f"A context of the kubeconfig {where} names {error}, which is not in it.") from None
    except (msgspec.ValidationError, TypeError, ValueError) as error:
        raise InvalidInput(f"The kubeconfig {where} is not valid: {error}.") from None
    assert config is not None
    cluster = next(one["cluster"] for one in document["clusters"] if one["name"] == config.context.cluster)
    where = f"context {config.context_name}"
    return Access(_with_user(config, where), where, _proxy(cluster.get("proxy-url"), where))


def _proxy(url: object, where: str) -> str | None:
    scheme = str(url).partition("://")[0].lower()
    if url and scheme not in ("http", "https", "socks5", "socks5h"):
        raise InvalidInput(f"The proxy-url of {where} is no http:// or socks5:// address.")
    return str(url) if url else None


def _with_user(config: SingleConfig, where: str) -> SingleConfig:
    """The same with a user where there is none (lightkube wants one). Raises AccessDenied for a token that is none."""
    from lightkube.config.models import User

    from provisioner.cluster.login import is_token

    user = config.user or User()
    if user.token and not is_token(user.token):
        raise bad_token(where)
    return config._replace(user=user)


def shown(server: str) -> str:
    """An address without the user and the password that it may hold."""
    scheme, divider, rest = server.partition("://")
    return scheme + divider + rest.rpartition("@")[2] if divider else server.rpartition("@")[2]
