"""`provision releases`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from provisioner.cli.options import at_option, default_store, output_options, store_option

if TYPE_CHECKING:
    from provisioner.ports.store import Store
    from provisioner.render.output import Output


@click.group("releases", short_help="List, activate and prune the releases of a store.")
def command() -> None:
    """List, activate and prune the releases of a store.

    \b
    Examples:
      provision releases list --at pvc
      provision releases activate 7f3c9a1b2d4e --at pvc     (this is also the way back)
      provision releases prune --keep 2 --at pvc
    """


def _open(at: str | None, store: str | None) -> Store:
    from provisioner.stores.targets import require_store

    return require_store(at or store or default_store())


@command.command("list", short_help="What a store holds, newest first.")
@at_option
@store_option
@output_options
def list_(at: str | None, store: str | None, output: Output) -> None:
    """What a store holds, newest first."""
    from provisioner.ops.releases import summaries
    from provisioner.render.tables import releases_table

    target = _open(at, store)
    found = list(summaries(target))
    output.result([asdict(one) for one in found], lambda: releases_table(target.name, found))


@command.command("activate", short_help="Make a release the active one.")
@click.argument("release", metavar="ID")
@at_option
@store_option
@output_options
def activate(release: str, at: str | None, store: str | None, output: Output) -> None:
    """Make a release the active one; going back is activating the old one.

    Readers that mount a release by its name are not touched; restart them with the new name.
    """
    target = _open(at, store)
    before = target.active()
    target.activate(release)
    output.result(
        {"store": target.name, "active": release, "before": before},
        lambda: f"{release} is active in {target.name}" + (f" (before: {before})." if before else "."),
    )


@command.command("prune", short_help="Delete old releases and what dead runs left behind.")
@click.option("--keep", type=int, required=True, metavar="N", help="How many of the newest releases stay.")
@click.option("--spare", metavar="ID", multiple=True, help="A release that stays however old it is.")
@click.option("--dry-run", is_flag=True, help="Say what would go; delete nothing.")
@at_option
@store_option
@output_options
def prune(keep: int, spare: tuple[str, ...], dry_run: bool, at: str | None, store: str | None, output: Output) -> None:
    """Delete all but the newest releases, and what dead runs left: builds, in buckets also unfinished uploads.

    The active release stays however old it is.
    """
    from provisioner.ops.releases import prune as prune_them
    from provisioner.ops.releases import to_prune
    from provisioner.render.sizes import count, size

    target = _open(at, store)
    doomed = to_prune(target, keep, spare)
    gone = dict.fromkeys(doomed, 0) if dry_run else prune_them(target, doomed)
    swept = None if dry_run else target.sweep()
    verb = "Would delete" if dry_run else "Deleted"
    output.result(
        {"store": target.name, "releases": list(gone), "swept": swept, "bytes": sum(gone.values()), "dry_run": dry_run},
        lambda: (
            f"{verb} {count(len(gone), 'release')} ({', '.join(gone) or 'none'})"
            + (
                "; what dead runs left would go too, and is not counted here."
                if swept is None
                else f", {size(sum(gone.values()))}, and {count(len(swept), 'leftover')} of dead runs."
            )
        ),
    )
