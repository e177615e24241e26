"""What `fetch` and `mirror` share: their options, and one run."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from provisioner.cli.options import lock_option, output_options

if TYPE_CHECKING:
    from provisioner.plan import Plan
    from provisioner.ports.source import Source
    from provisioner.render.output import Output


class FileMode(click.ParamType[int]):
    """Permission bits in octal."""

    name = "MODE"

    def __init__(self, owner: int) -> None:
        self._owner = owner

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """`0644` as a number. A bare 644 in provision.toml would be decimal, so it is refused."""
        try:
            mode = int(value, 8) if isinstance(value, str) else -1
        except ValueError:
            mode = -1
        if not 0 < mode <= 0o7777:
            self.fail(f"{value!r} is not a mode in octal, such as '0644'.", param, ctx)
        if mode & self._owner != self._owner:
            self.fail(f"{value} takes from the owner what later runs need ({self._owner:04o}).", param, ctx)
        return mode


_OPTIONS: tuple[Callable[..., Any], ...] = (
    output_options,
    click.option("--dry-run", is_flag=True, help="Print the plan; move and publish nothing."),
    click.option("--repair", is_flag=True, help="Mend a release that is there but damaged."),
    click.option("--activate/--no-activate", default=True, show_default=True, help="Make the release the active one."),
    click.option("--jobs", type=click.IntRange(1, 256), default=32, show_default=True, help="Files at once, at most."),
    click.option(
        "--dir-mode",
        type=FileMode(0o700),
        default="0755",
        show_default=True,
        help="Mode of mounted folders.",
    ),
    click.option("--mode", type=FileMode(0o400), default="0644", show_default=True, help="Mode of mounted files."),
    lock_option,
)


def transfer_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options of fetch and mirror alike; they arrive as one `how`."""

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        how = {name: kwargs.pop(name) for name in ("mode", "dir_mode", "jobs", "activate", "repair", "dry_run")}
        return function(*args, how=how, **kwargs)

    return functools.reduce(lambda inner, option: option(inner), _OPTIONS, wrapped)


def run(
    task: str, lock: str, target: str, sources: Callable[[], Sequence[Source]], how: dict[str, Any], output: Output
) -> None:
    """Plan, and unless it is a dry run carry out, activate and report."""
    from provisioner.layout import tree_of
    from provisioner.ops.documents import open_lock
    from provisioner.ops.execute import Settings
    from provisioner.ops.transfer import carry_out, is_damaged, prepare
    from provisioner.ports.store import Modes
    from provisioner.render.tables import transfer_table
    from provisioner.stores.targets import open_store

    document = open_lock(lock)
    store = open_store(target, Modes(how["mode"], how["dir_mode"]))
    if how["dry_run"]:
        sources()
        with output.watching() as observer:
            damaged = how["repair"] and is_damaged(document, store, observer)
        return show_plan(prepare(document, store, anew=damaged), store.name, output)
    with output.watching() as observer:
        if tree_of(document.lock).release_id not in store.releases():
            store.create()
        work = prepare(document, store, anew=how["repair"] and is_damaged(document, store, observer))
        origins = () if work.is_empty else sources()  # what is done already needs none
        report = carry_out(work, document, store, origins, Settings(how["jobs"]), observer, task)
    before = store.active()
    if how["activate"] and before != report.release:
        store.activate(report.release)
    active = store.active()
    facts = {"active": active == report.release, "before": before}
    output.result(asdict(report) | facts, lambda: transfer_table(report, before, active))
    return None


def show_plan(work: Plan, store: str, output: Output) -> None:
    """Print a plan."""
    from provisioner.ops.transfer import plan_facts
    from provisioner.render.tables import plan_table

    output.result(plan_facts(work, store), lambda: plan_table(work, store))
