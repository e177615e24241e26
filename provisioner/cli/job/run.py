"""`provision job run`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from provisioner.cli.job.connect import cluster_options, every_option
from provisioner.cli.job_options import job_options
from provisioner.cli.kubernetes import facts_option
from provisioner.cli.options import output_options

if TYPE_CHECKING:
    from provisioner.cluster.client import Cluster
    from provisioner.emit.kubernetes.facts import Facts
    from provisioner.emit.kubernetes.settings import Settings
    from provisioner.ops.job.follow import JobRecord
    from provisioner.ops.job.scene import Trouble
    from provisioner.render.output import Output

Connect = Callable[["Settings"], AbstractContextManager["Cluster"]]


@dataclass(frozen=True, slots=True)
class How:
    """How a Job is followed.

    Attributes:
        every: seconds between two looks.
        timeout: seconds after which nobody follows any more, or None.
        detach: not at all.
        force: take fields over from other field managers.
    """

    every: float
    timeout: float | None
    detach: bool
    force: bool


@click.command("run", short_help="Apply the mirror Job, follow it, and exit with its code.")
@job_options
@facts_option
@cluster_options
@click.option("--timeout", metavar="SECONDS", type=click.FloatRange(min=0), help="Wait no longer; the Job goes on.")
@every_option
@click.option("--detach", is_flag=True, help="Apply it and do not wait.")
@click.option("--force-conflicts", is_flag=True, help="Take fields over from other field managers.")
@click.option("--dry-run", is_flag=True, help="Print the YAML, as emit job does; change nothing.")
@click.option("--server", is_flag=True, help="With --dry-run: have the API server check it too.")
@output_options
def command(
    to: str,
    settings: Settings,
    facts: Facts,
    connect: Connect,
    timeout: float | None,
    every: float,
    detach: bool,
    force_conflicts: bool,
    dry_run: bool,
    server: bool,
    output: Output,
) -> None:
    """Apply the mirror Job, follow it, print its report, and exit with its code.

    A Job of this release that runs already is followed as it is; one that is over is deleted and made again, which
    moves nothing that is there. Ctrl-C leaves the Job running. Pods that the cluster takes away are replaced, and the
    next goes on where the last one was. 137 is a pod that was killed, most often for memory; the other codes are those
    of every command. docs/job-run.md has the rights this needs.

    \b
    Examples:
      provision job run --to pvc
      provision job run --to nas --completions 4 --namespace search
      provision job run --dry-run --server
      provision job run --detach && provision job logs -f
    """
    from provisioner.emit.kubernetes.jobs.mirror import objects
    from provisioner.errors import UsageError

    if server and not dry_run:
        raise UsageError("--server needs --dry-run.")
    made = objects(settings, to, settings.target(to), facts)
    if dry_run:
        return _dry_run(made, settings, connect if server else None, output)
    with connect(settings) as cluster:
        _run(cluster, made, facts.release, How(every, timeout, detach, force_conflicts), output)
    return None


def _dry_run(made: list[dict[str, Any]], settings: Settings, connect: Connect | None, output: Output) -> None:
    from provisioner.emit.yaml import dump
    from provisioner.ops.job.run import ask

    if connect is not None:
        with connect(settings) as cluster:
            ask(cluster, made)
            output.note(f"The API server of {cluster.where} accepts all {len(made)} objects in {cluster.namespace}.")
    if output.as_json:
        return output.result({"apiVersion": "v1", "kind": "List", "items": made}, str)
    return click.echo(dump(made), nl=False)


def _run(cluster: Cluster, made: list[dict[str, Any]], release: str, how: How, output: Output) -> None:
    from provisioner.errors import Interrupted
    from provisioner.ops.job.outcome import facts_of, failure
    from provisioner.ops.job.run import start
    from provisioner.render.job import report

    names: tuple[str, ...] = ()
    try:
        names = start(cluster, made, output.note, force=how.force)
        if how.detach:
            data = {"namespace": cluster.namespace, "release": release, "jobs": [{"job": one} for one in names]}
            return output.result(data, lambda: f"Started {', '.join(names)}. Follow it: provision job logs -f")
        records = follow(cluster, names, how, output)
    except KeyboardInterrupt:
        raise detached(cluster, names, Interrupted) from None
    output.result(facts_of(cluster.namespace, release, records), lambda: report(records))
    if (error := failure(records)) is not None:
        raise error
    return None


def detached(cluster: Cluster, names: tuple[str, ...], kind: type[Any]) -> Any:
    """What to raise when somebody stops following Jobs that go on."""
    if not names:
        return kind("Interrupted before the Job was there.", hint="Run the same command again.")
    space, word = f"--namespace {cluster.namespace}", "goes" if len(names) == 1 else "go"
    return kind(
        f"Detached: {', '.join(names)} {word} on.",
        hint=f"Follow: the same command again, or provision job logs -f {space}. "
        f"Stop: provision job delete {space} {' '.join(names)}",
    )


def follow(cluster: Cluster, names: tuple[str, ...], how: How, output: Output) -> tuple[JobRecord, ...]:
    """Watch Jobs to their end; what became of each."""
    from provisioner.ops.job.follow import Follower
    from provisioner.ports.events import Notice

    with output.watching() as observer:

        def tell(trouble: Trouble) -> None:
            text = f"{trouble.message} {trouble.hint}".strip()
            if output.quiet:
                output.warn(text)
            else:
                observer(Notice(text))

        return Follower(cluster, names, observer, tell, how.every).run(how.timeout)
