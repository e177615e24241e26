"""What `emit job` and `job run` share: the target of a mirror Job and its flags over the settings."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

from provisioner.cli.kubernetes import settings_options
from provisioner.cli.options import not_empty

_OPTIONS = (
    click.option("--network-policy/--no-network-policy", default=None, help="Whether a NetworkPolicy fences it in."),
    click.option(
        "--completions",
        metavar="N",
        type=click.IntRange(1, 1000),
        help="Pods that share the work; more than 1 needs a volume that many nodes write.  [default: 1]",
    ),
    click.option(
        "--from",
        "origins",
        callback=not_empty,
        metavar="SOURCE",
        multiple=True,
        help="Where bytes come from, in this order: hub, s3://, minio:// or azurefiles://.  [default: hub]",
    ),
    click.option(
        "--to", metavar="NAME", default="pvc", show_default=True, help="The target: a [targets.NAME], or pvc."
    ),
)


def job_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """`--to`, and `--from`, `--completions` and `--network-policy` over the Job's settings; with `settings_options`."""

    @functools.wraps(function)
    def wrapped(
        *args: Any,
        origins: tuple[str, ...],
        completions: int | None,
        network_policy: bool | None,
        settings: Any,
        **kwargs: Any,
    ) -> Any:
        from msgspec.structs import replace

        given = {"sources": origins or None, "completions": completions, "network_policy": network_policy}
        job = replace(settings.job, **{key: value for key, value in given.items() if value is not None})
        return function(*args, settings=replace(settings, job=job), **kwargs)

    return functools.reduce(lambda inner, option: option(inner), _OPTIONS, settings_options(wrapped))
