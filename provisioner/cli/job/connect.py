"""What all of `provision job` shares: which cluster, which installation."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from provisioner.cluster.client import Cluster
    from provisioner.emit.kubernetes.settings import Settings


def cluster_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """`--context` and `--kubeconfig`; they arrive as one `connect`, to be called with the settings."""

    @functools.wraps(function)
    def wrapped(*args: Any, kubeconfig: str | None, context: str | None, **kwargs: Any) -> Any:
        return function(*args, connect=functools.partial(_connect, kubeconfig, context), **kwargs)

    wrapped = click.option(
        "--kubeconfig", metavar="FILE", help="The kubeconfig.  [default: KUBECONFIG, ~/.kube/config, the pod's account]"
    )(wrapped)
    return click.option("--context", metavar="NAME", help="The context of the kubeconfig.  [default: its current one]")(
        wrapped
    )


@contextmanager
def _connect(kubeconfig: str | None, context: str | None, settings: Settings) -> Iterator[Cluster]:
    from provisioner.cluster.client import Cluster

    cluster = Cluster.connect(kubeconfig, context, settings.namespace)
    try:
        yield cluster
    finally:
        cluster.close()


every_option = click.option(
    "--every",
    metavar="SECONDS",
    type=click.FloatRange(min=0.05),
    default=2.0,
    show_default=True,
    help="Between two looks at the cluster.",
)
