"""The variables of the mirror Job: plain ones, one key of a Secret each, proxies and the CA. Nothing secret."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from provisioner.emit.kubernetes import exposed
from provisioner.emit.kubernetes.jobs.pods import ENVIRONMENT, literal
from provisioner.emit.kubernetes.objects import Object, secret_variables, variables
from provisioner.emit.kubernetes.settings import JobSettings
from provisioner.emit.kubernetes.targets import Mountpoint, Target
from provisioner.errors import InvalidDocument, Problem

CA_FOLDER = "/etc/provision-ca"
_CA_FILE = "ca.crt"
_CA_VOLUME = "ca"
# The Hub and Azure read the first two, S3 the third, MinIO the first two: provisioner/transport/http.py
_CA_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "AWS_CA_BUNDLE")
_INSIDE = "localhost,127.0.0.1,.svc,.cluster.local"  # what no proxy outside the cluster can reach


def plain(job: JobSettings, target: Target) -> dict[str, str]:
    """The variables with their values. Raises InvalidDocument for a secret in the open, or a name given twice."""
    own = ENVIRONMENT | {"HF_HUB_DISABLE_TELEMETRY": "1"} | _endpoint(job) | _proxies(job) | _ca(job)
    if problems := tuple(_problems(job, own)):
        raise InvalidDocument(
            "[kubernetes.job]", problems, hint='Name a key of a Secret: secrets.HF_TOKEN = "hf-token/token".'
        )
    return own | _server(job, target) | {str(name): value for name, value in job.env.items()}


def environment(job: JobSettings, values: Mapping[str, str]) -> list[Object]:
    """`env` of the mirror container: these values, and the Secrets' keys."""
    return variables({name: literal(value) for name, value in values.items()}) + secret_variables(job.secrets)


def ca_volume(job: JobSettings) -> tuple[list[Object], list[Object]]:
    """Volumes and mounts of the CA's ConfigMap, none without one."""
    if job.ca is None:
        return [], []
    source = {"name": job.ca.owner, "items": [{"key": job.ca.key, "path": _CA_FILE}]}
    return (
        [{"name": _CA_VOLUME, "configMap": source}],
        [{"name": _CA_VOLUME, "mountPath": CA_FOLDER, "readOnly": True}],
    )


def _endpoint(job: JobSettings) -> dict[str, str]:
    return {"HF_ENDPOINT": job.endpoint} if job.endpoint else {}


def _server(job: JobSettings, target: Target) -> dict[str, str]:
    """Where a bucket is, as its target says it, unless the settings say it to the Job themselves."""
    if not isinstance(target, Mountpoint):
        return {}
    found: dict[str, str] = {}
    if target.address.server:
        found = {} if target.url.startswith("https://") else {"MINIO_SECURE": "false"}
    elif target.endpoint and not _given(job, "AWS_ENDPOINT_URL_S3"):
        found = {"AWS_ENDPOINT_URL": str(target.endpoint)}
    if target.region and not _given(job, "AWS_DEFAULT_REGION"):
        found["AWS_REGION"] = target.region
    return {name: value for name, value in found.items() if not _given(job, name)}


def _given(job: JobSettings, name: str) -> bool:
    return any(name == one for one in (*job.env, *job.secrets))


def _proxies(job: JobSettings) -> dict[str, str]:
    given = {"HTTPS_PROXY": job.https_proxy, "HTTP_PROXY": job.http_proxy, "NO_PROXY": job.no_proxy}
    found = {name: value for name, value in given.items() if value}
    return ({"NO_PROXY": _INSIDE} | found) if found else {}


def _ca(job: JobSettings) -> dict[str, str]:
    return dict.fromkeys(_CA_VARIABLES, f"{CA_FOLDER}/{_CA_FILE}") if job.ca else {}


def _problems(job: JobSettings, own: Mapping[str, str]) -> Iterator[Problem]:
    for key in ("endpoint", "https_proxy", "http_proxy", "no_proxy"):
        value: str = getattr(job, key) or ""
        if "@" in value or exposed.reveals(value):
            yield Problem(key, "holds a login, which belongs into a Secret")
    yield from exposed.in_variables(job.env)
    yield from (Problem(f"secrets.{name}", "is set already") for name in job.secrets if name in own or name in job.env)
