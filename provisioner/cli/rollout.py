"""`provision rollout`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import click

from provisioner.cli.job.connect import cluster_options, every_option
from provisioner.cli.job.run import How, detached, follow
from provisioner.cli.job_options import job_options
from provisioner.cli.kubernetes import facts_option
from provisioner.cli.options import output_options

if TYPE_CHECKING:
    from provisioner.cluster.client import Cluster
    from provisioner.emit.kubernetes.facts import Facts
    from provisioner.emit.kubernetes.settings import Settings
    from provisioner.emit.kubernetes.targets import Target
    from provisioner.errors import ProvisionError
    from provisioner.ops.rollout.readers import Reader
    from provisioner.ops.rollout.run import Rollout
    from provisioner.render.output import Output

Connect = Callable[["Settings"], AbstractContextManager["Cluster"]]


@click.command("rollout", short_help="Update without downtime: mirror, repoint the workloads, prune; and back.")
@click.argument("workloads", nargs=-1, metavar="[KIND/NAME]...")
@job_options
@facts_option
@cluster_options
@click.option(
    "--keep",
    metavar="N",
    type=click.IntRange(1),
    default=2,
    show_default=True,
    help="How many of the newest releases stay on the volume; what pods use stays too.",
)
@click.option(
    "--prune/--no-prune", default=True, show_default=True, help="Whether old releases are deleted at the end."
)
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=click.FloatRange(min=1),
    default=1800.0,
    show_default=True,
    help="For each workload to come up.",
)
@every_option
@click.option("--dry-run", is_flag=True, help="Say which workloads would change, and how; change nothing.")
@output_options
def command(
    workloads: tuple[str, ...],
    to: str,
    settings: Settings,
    facts: Facts,
    connect: Connect,
    keep: int,
    prune: bool,
    timeout: float,
    every: float,
    dry_run: bool,
    output: Output,
) -> None:
    """Bring a volume and the workloads that read it to the lock's release, one workload after the other.

    The mirror Job puts the new release beside the old one. Then every Deployment, StatefulSet and DaemonSet that mounts
    a release of the volume (or those given) is changed to the new one, which Kubernetes rolls out pod by pod. One that
    does not come up gets its old template back, and the rollout ends there. At the end old releases that no pod uses
    are deleted. The way back is the same command with the lock of before: its release is still there.

    In a cluster under GitOps change the manifests instead: provision emit mount --write FILE. docs/update.md has both.

    \b
    Examples:
      provision rollout --to pvc --dry-run
      provision rollout --to pvc
      provision rollout deployment/inference-model-server --no-prune
      git show HEAD~1:models.lock > before.lock && provision rollout --lock before.lock
    """
    from provisioner.emit.kubernetes.targets import readers as claims_of
    from provisioner.emit.kubernetes.targets import writers
    from provisioner.ops.rollout.run import Rollout

    target = settings.target(to)
    claims = tuple(dict.fromkeys((*claims_of(target), *writers(target))))
    with connect(settings) as cluster:
        work = Rollout(cluster, settings, facts, claims, output.note, timeout, every)
        found = _found(work, workloads, output)
        work.check(found)
        if dry_run:
            return _show(found, facts.release, None, output)
        how, pruned = How(every, None, False, False), None
        _mirror(cluster, to, settings, target, facts, how, output)
        changed, error = _roll(work, found)
        if error is None:
            _nightly(work, target)
        if error is None and prune:
            pruned = _prune(work, target, keep, how, output)
        now = _found(work, workloads, output)
        _show(now, facts.release, {"changed": changed, "prune": pruned, "failed": error is not None}, output)
        if error is not None:
            raise error
        return None


def _found(work: Rollout, workloads: tuple[str, ...], output: Output) -> tuple[Reader, ...]:
    """The workloads to change; those that an operator made and would change back are only told of."""
    from provisioner.ops.rollout.readers import readers

    every = readers(work.cluster, work.claims, workloads)
    for one in every:
        if one.owner and not one.has(work.facts.release):
            output.warn(f"{one} belongs to {one.owner}, which would undo a change: emit that anew, and apply it.")
    return tuple(one for one in every if not one.owner)


def _mirror(
    cluster: Cluster, to: str, settings: Settings, target: Target, facts: Facts, how: How, output: Output
) -> None:
    from provisioner.emit.kubernetes.jobs.mirror import objects

    _job(cluster, objects(settings, to, target, facts), how, output)


def _job(
    cluster: Cluster, made: list[dict[str, Any]], how: How, output: Output, *, attach: bool = True
) -> list[dict[str, Any]]:
    """Run Jobs to their end; the summaries that they left. Raises the error of one that failed."""
    from provisioner.errors import Interrupted
    from provisioner.ops.job.outcome import deciding, failure
    from provisioner.ops.job.run import start

    names: tuple[str, ...] = ()
    try:
        names = start(cluster, made, output.note, attach=attach)
        records = follow(cluster, names, how, output)
    except KeyboardInterrupt:
        raise detached(cluster, names, Interrupted) from None
    if (error := failure(records)) is not None:
        raise error
    last = [pod for record in records if (pod := deciding(record)) is not None]
    return [pod.end.summary if pod.end else {} for pod in last]


def _roll(work: Rollout, found: Sequence[Reader]) -> tuple[list[str], ProvisionError | None]:
    """The workloads that were changed, and the failure that ended it."""
    from provisioner.errors import Interrupted, ProvisionError

    changed: list[str] = []
    try:
        for reader in found:
            if work.roll(reader):
                changed.append(str(reader))
    except KeyboardInterrupt:
        raise Interrupted(
            "Interrupted while a workload was being rolled out; what was changed goes on by itself.",
            hint="Run the same command again to go on, or with the lock of before to go back.",
        ) from None
    except ProvisionError as error:
        return changed, error
    return changed, None


def _nightly(work: Rollout, target: Target) -> None:
    from provisioner.emit.kubernetes.jobs.verify import objects
    from provisioner.ops.rollout.nightly import move

    move(work.cluster, objects(work.settings, target, work.facts), work.facts.release, work.note)


def _prune(work: Rollout, target: Target, keep: int, how: How, output: Output) -> list[dict[str, Any]] | None:
    from provisioner.emit.kubernetes.jobs.prune import objects
    from provisioner.ops.rollout.readers import in_use

    used = in_use(work.cluster, work.claims)
    if used.unclear:
        output.warn(
            f"Nothing is pruned: {', '.join(used.unclear)} mounts the whole volume, and nothing says which release it "
            "reads. Prune by hand when you know: provision releases prune --spare ID."
        )
        return None
    made = objects(work.settings, target, work.facts, keep, used.releases)
    return _job(work.cluster, made, how, output, attach=False)


def _show(found: Sequence[Reader], release: str, done: dict[str, Any] | None, output: Output) -> None:
    from provisioner.render.rollout import table

    rows = [{"workload": str(one), "releases": list(one.releases), "wanted": release} for one in found]
    output.result(
        {"release": release, "dry_run": done is None, "workloads": rows, **(done or {})},
        lambda: table(found, release, done),
    )
