"""`provision verify`."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from provisioner.cli.options import at_option, default_store, lock_option, output_options, release_option, store_option
from provisioner.cli.summary import failure, remember, verdict

if TYPE_CHECKING:
    from provisioner.model import Lock
    from provisioner.ports.events import Observer
    from provisioner.render.output import Output

MODES = {"full": "rehashed", "recorded": "recorded", "size": "size-only"}


@click.command("verify", short_help="Check a release against the lock, every finding before it exits.")
@at_option
@store_option
@release_option
@lock_option
@click.option(
    "--mode",
    type=click.Choice(list(MODES)),
    default="full",
    show_default=True,
    help="full reads every byte; recorded trusts what was recorded when it was written; size looks at sizes only.",
)
@click.option("--load", is_flag=True, help="Also load each model, offline, with the library of its layout.")
@click.option(
    "--wait",
    type=click.IntRange(min=0),
    metavar="SECONDS",
    help="Wait for the release to be published, at most so long.",
)
@output_options
@click.pass_context
def command(
    ctx: click.Context,
    at: str | None,
    store: str | None,
    release: str | None,
    lock: str,
    mode: str,
    load: bool,
    wait: int | None,
    output: Output,
) -> None:
    """Check a release against the lock, every finding before it exits with 3.

    Without a lock file, or with --release, a release is checked against the lock it was built from. The answer names
    its evidence: rehashed (every byte was read), size-only, or recorded: by the release's own record, in a bucket or
    share also by the sha256 that every file was verified against when it was written.

    With --wait it first waits for the release: the one that is named, else that of the lock, else any active one. A
    store that is not there yet is waited for too; when the time is over it exits with 7.

    \b
    Examples:
      provision verify
      provision verify --at pvc --mode recorded
      provision verify --at /mnt/models --release 7f3c9a1b2d4e --load
      provision verify --at /mnt/models --release 7f3c9a1b2d4e --mode size --wait 900
    """
    from provisioner.ops.documents import read_lock
    from provisioner.ops.verify import chosen_release, verify
    from provisioner.render.tables import verify_table
    from provisioner.report import Evidence
    from provisioner.stores.targets import open_store

    place = at or store or default_store()
    given = ctx.get_parameter_source("lock") is not click.core.ParameterSource.DEFAULT
    held = read_lock(lock).lock if given or (release is None and os.path.exists(lock)) else None
    with output.watching() as observer:
        if wait is not None:
            _wait(place, release, held, wait, observer)
        target = open_store(place)
        chosen = chosen_release(target, release, held)
        report = verify(target, chosen, held, Evidence(MODES[mode]), observer)
    loads = []
    if load and report.ok:  # loading damaged files proves nothing
        from provisioner.ops.load import load_all, with_loads
        from provisioner.stores.targets import open_mounted

        loads = load_all(open_mounted(place), chosen)
        report = with_loads(report, loads)
    remember(store=report.store, release=chosen, files=report.files, bytes=report.bytes)
    remember(verify=verdict(report), **failure(report))
    data = asdict(report) | {"ok": report.ok} | ({"loads": [asdict(one) for one in loads]} if load else {})
    output.result(data, lambda: verify_table(report))
    if loads and not output.as_json:
        from provisioner.render.tables import loads_table

        output.result(None, lambda: loads_table(loads))
        if absent := sum(one.outcome == "not installed" for one in loads):
            output.note(f"{absent} of {len(loads)} were not loaded: their library is not installed here.")
    if not report.ok:
        ctx.exit(3)


def _wait(place: str, release: str | None, lock: Lock | None, seconds: float, observer: Observer) -> None:
    from functools import partial

    from provisioner.layout import tree_of
    from provisioner.ops.waiting import await_release
    from provisioner.stores.targets import open_store

    wanted = release or (tree_of(lock).release_id if lock is not None else None)
    await_release(partial(open_store, place), wanted, seconds, observer, place)
