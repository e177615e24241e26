"""NetworkPolicies: the mirror Job's, out to DNS and to its sources' ports, and of pods that need no network at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from provisioner.emit.kubernetes.jobs.sources import port_of, url_port
from provisioner.emit.kubernetes.objects import Object, metadata, selector
from provisioner.emit.kubernetes.settings import JobSettings, Settings
from provisioner.emit.kubernetes.targets import Mountpoint, Target

# OpenShift's DNS pods listen on 5353 behind their Service's 53, and a policy sees the pods' port:
# https://github.com/openshift/cluster-dns-operator (assets/dns/daemonset.yaml)
_DNS, _OPENSHIFT_DNS = (53,), (53, 5353)


def policy(settings: Settings, component: str, ports: Sequence[int], annotations: Mapping[str, str]) -> Object:
    """Lets the pods of a component out to DNS and to these TCP ports of any host, and nobody in.

    It knows no host names, since a NetworkPolicy can say no more.
    """
    names = _OPENSHIFT_DNS if settings.openshift else _DNS
    dns = [{"protocol": protocol, "port": port} for port in names for protocol in ("UDP", "TCP")]
    reached = [{"protocol": "TCP", "port": port} for port in ports]
    return _policy(settings, component, [{"ports": dns}, {"ports": reached}], annotations)


def closed(settings: Settings, component: str) -> list[Object]:
    """Keeps the pods of a component off the network; none where the settings want no policies."""
    return [_policy(settings, component, [], {})] if settings.job.network_policy else []


def _policy(settings: Settings, component: str, egress: list[Object], annotations: Mapping[str, str]) -> Object:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(settings, f"{settings.name}-{component}", component, annotations=annotations),
        "spec": {
            "podSelector": {"matchLabels": selector(settings, component)},
            "policyTypes": ["Ingress", "Egress"],
            **({"egress": egress} if egress else {}),
        },
    }


def egress(job: JobSettings, target: Target, env: Mapping[str, str]) -> list[int]:
    """The TCP ports of the sources, of a bucket as the target, of the proxies, and those that the settings add.

    Raises InvalidInput where an endpoint or proxy is no URL.
    """
    addresses = [*job.sources, *([target.address] if isinstance(target, Mountpoint) else [])]
    proxies = (url_port(proxy, "http") for proxy in (job.https_proxy, job.http_proxy) if proxy)
    return sorted({*(port_of(address, env) for address in addresses), *proxies, *job.egress_ports})
