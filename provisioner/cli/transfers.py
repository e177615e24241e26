"""What `fetch` and `mirror` share: their options, and one run."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from provisioner.cli.options import lock_option, output_options
from provisioner.cli.summary import failure, remember, verdict

if TYPE_CHECKING:
    from provisioner.ops.documents import LockDocument
    from provisioner.ops.shards import ShardReport
    from provisioner.ops.transfer import TransferReport
    from provisioner.plan.shards import Shard
    from provisioner.ports.events import Observer
    from provisioner.ports.source import Source
    from provisioner.ports.store import Store
    from provisioner.render.output import Output
    from provisioner.report import VerifyReport


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


EVIDENCE = {"recorded": "recorded", "full": "rehashed"}
_NAMES = ("mode", "dir_mode", "jobs", "activate", "repair", "dry_run", "verify")

_OPTIONS: tuple[Callable[..., Any], ...] = (
    output_options,
    click.option("--dry-run", is_flag=True, help="Print the plan; move and publish nothing."),
    click.option(
        "--verify",
        type=click.Choice(list(EVIDENCE)),
        help="Check the release again before it is made active: recorded trusts what was recorded, full reads it all.",
    ),
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
        how = {name: kwargs.pop(name) for name in _NAMES}
        return function(*args, how=how, **kwargs)

    return functools.reduce(lambda inner, option: option(inner), _OPTIONS, wrapped)


def run(
    task: str, lock: str, target: str, sources: Callable[[], Sequence[Source]], how: dict[str, Any], output: Output
) -> None:
    """Plan, and unless it is a dry run carry out, verify, activate and report."""
    from provisioner.ops.documents import open_lock
    from provisioner.ports.store import Modes
    from provisioner.stores.targets import open_store

    document = open_lock(lock)
    store = open_store(target, Modes(how["mode"], how["dir_mode"]))
    if how["dry_run"]:
        return _dry_run(document, store, sources, how, output)
    with output.watching() as observer:
        report, shard = _transfer(task, document, store, sources, how, observer)
        verified = _verify(document, store, report.release, how, observer)
    return _conclude(store, report, shard, verified, how, output)


def _dry_run(
    document: LockDocument, store: Store, sources: Callable[[], Sequence[Source]], how: dict[str, Any], output: Output
) -> None:
    from provisioner.ops.transfer import is_damaged, plan_facts, prepare
    from provisioner.plan.shards import part_of
    from provisioner.render.tables import plan_table

    sources()
    shard: Shard | None = how.get("shard")
    with output.watching() as observer:
        damaged = how["repair"] and is_damaged(document, store, observer)
    whole = prepare(document, store, anew=damaged)
    work = part_of(whole, shard) if shard and not whole.is_empty else whole
    facts = plan_facts(work, store.name)
    if shard:
        facts |= {"empty": whole.is_empty, "shard": {"index": shard.index, "count": shard.count}}
    output.result(facts, lambda: plan_table(work, store.name, "" if whole.is_empty else str(shard or "")))


def _transfer(
    task: str,
    document: LockDocument,
    store: Store,
    sources: Callable[[], Sequence[Source]],
    how: dict[str, Any],
    observer: Observer,
) -> tuple[TransferReport, ShardReport | None]:
    from provisioner.layout import tree_of
    from provisioner.ops.execute import Settings
    from provisioner.ops.shards import Together, transfer_together
    from provisioner.ops.transfer import carry_out, is_damaged, prepare

    if tree_of(document.lock).release_id not in store.releases():
        store.create()
    if shard := how.get("shard"):
        patience = how["shard_patience"]
        together = Together(shard, sources, Settings(how["jobs"]), observer, task, patience)
        return transfer_together(document, store, together)
    work = prepare(document, store, anew=how["repair"] and is_damaged(document, store, observer))
    origins = () if work.is_empty else sources()  # what is done already needs none
    return carry_out(work, document, store, origins, Settings(how["jobs"]), observer, task), None


def _publishes(how: dict[str, Any]) -> bool:
    shard: Shard | None = how.get("shard")
    return shard is None or shard.index == 0


def _verify(
    document: LockDocument, store: Store, release: str, how: dict[str, Any], observer: Observer
) -> VerifyReport | None:
    """Read the release again, when that was asked for; only whoever publishes does."""
    from provisioner.ops.verify import verify
    from provisioner.report import Evidence

    if not (how["verify"] and _publishes(how)):
        return None
    return verify(store, release, document.lock, Evidence(EVIDENCE[how["verify"]]), observer)


def _conclude(
    store: Store,
    report: TransferReport,
    shard: ShardReport | None,
    verified: VerifyReport | None,
    how: dict[str, Any],
    output: Output,
) -> None:
    """Activate what may be activated, and report. A release that failed its verify is not activated."""
    from provisioner.render.tables import transfer_table, verify_table

    good = verified is None or verified.ok
    before = store.active()
    if good and how["activate"] and _publishes(how) and before != report.release:
        store.activate(report.release)
    active = store.active()
    data = asdict(report) | {"active": active == report.release, "before": before}
    data |= {"shard": asdict(shard)} if shard else {}
    data |= {"verify": asdict(verified) | {"ok": verified.ok}} if verified else {}
    _remember(report, shard, verified)
    output.result(data, lambda: transfer_table(report, before, active, shard))
    if verified and not output.as_json:
        output.result(None, lambda: verify_table(verified))
    if not good:
        click.get_current_context().exit(3)


def _remember(report: TransferReport, shard: ShardReport | None, verified: VerifyReport | None) -> None:
    """What the line of PROVISION_SUMMARY says."""
    names = ("store", "release", "files", "bytes", "moved", "shared", "resumed", "changed")
    facts: dict[str, Any] = {name: getattr(report, name) for name in names}
    if shard:
        facts["shard"] = {"index": shard.index, "count": shard.count}
    if verified:
        facts["verify"] = verdict(verified)
    remember(**facts, **(failure(verified) if verified else {}))
