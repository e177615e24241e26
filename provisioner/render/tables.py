"""Results as tables for people."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from provisioner.render.printable import printable
from provisioner.render.sizes import count, duration, size

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from provisioner.demo.steps import Step
    from provisioner.ops.load import LoadResult
    from provisioner.ops.releases import ReleaseSummary, Status
    from provisioner.ops.shards import ShardReport
    from provisioner.ops.transfer import TransferReport
    from provisioner.plan import Plan
    from provisioner.report import VerifyReport


NEVER_BROKEN = ("release", "created", "commit", "finding")  # in two lines they could not be copied


def table(title: str, *columns: str) -> Table:
    """An empty table; columns that begin with `#` hold numbers."""
    from rich import box
    from rich.table import Table

    title = printable(title)
    result = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    result.min_width = len(title)  # or a short table breaks its title into lines
    for column in columns:
        result.add_column(column.lstrip("#"), justify="right" if column.startswith("#") else "left", overflow="fold")
    return result


def facts(title: str, rows: Iterable[tuple[str, str]]) -> Table:
    """Two columns: what and how much."""
    result = table(title, "", "")
    result.show_header = False
    for name, value in rows:
        result.add_row(printable(name), printable(value))
    return result


def plan_table(work: Plan, store: str, shard: str = "") -> RenderableType:
    """What would happen; with a shard (`1/4`) of its part only."""
    if work.is_empty and shard:
        return f"Nothing to do for shard {shard}: {store} holds its part of release {work.tree.release_id} already."
    if work.is_empty:
        return f"Nothing to do: {store} holds release {work.tree.release_id}, complete."
    rows = [
        ("store", store),
        ("release", work.tree.release_id),
        ("content", f"{count(len(work.tree.entries), 'file')}, {size(work.tree.size)}"),
        *([("shard", shard)] if shard else []),
        ("to move", f"{count(work.files_to_move, 'file')}, {size(work.bytes_to_move)}"),
        ("shared with other releases", size(work.bytes_shared)),
        ("kept from an earlier attempt", size(work.bytes_resumed)),
        ("room needed", size(work.bytes_needed)),
        ("room free", "unknown" if work.free is None else size(work.free)),
        *([("room missing", size(work.bytes_missing))] if work.bytes_missing else []),
    ]
    return facts("Plan (nothing was moved)", rows)


def transfer_table(
    report: TransferReport, before: str | None, active: str | None, shard: ShardReport | None = None
) -> RenderableType:
    """What was done."""
    head = f"release {report.release} in {report.store}"
    if shard and shard.index and not shard.was_there:
        return _part_table(report, shard, head)
    if not report.changed:
        made_active = " It is the active one now." if before != active else ""
        content = f"{count(report.files, 'file')}, {size(report.bytes)}"
        return printable(f"Nothing to do: {head} is there ({content}).{made_active}")
    rows = [
        ("content", f"{count(report.files, 'file')}, {size(report.bytes)}"),
        ("moved", size(report.moved)),
        ("shared with other releases", size(report.shared)),
        (f"kept from {'the other shards or ' if shard else ''}an earlier attempt", size(report.resumed)),
        *_origins(report),
        ("time", f"{duration(report.seconds)}, {size(round(report.bytes / max(report.seconds, 0.001)))}/s"),
        ("active", "yes" if active == report.release else "no: provision releases activate " + report.release),
    ]
    return facts(f"Published {head}, every byte verified", rows)


def _origins(report: TransferReport) -> list[tuple[str, str]]:
    found = sorted(report.origins.items())
    return [(f"from {name}", f"{count(files, 'file')}, {size(total)}") for name, (files, total) in found]


def _part_table(report: TransferReport, shard: ShardReport, head: str) -> RenderableType:
    rows = [
        ("its part", f"{count(shard.files, 'file')}, {size(shard.bytes)}"),
        ("moved", size(report.moved)),
        ("kept from an earlier attempt", size(report.resumed)),
        *_origins(report),
        ("time", duration(report.seconds)),
        ("published", "no: shard 0 does that"),
    ]
    return facts(f"Shard {shard.index}/{shard.count} of {head}, every byte verified", rows)


def verify_table(report: VerifyReport) -> RenderableType:
    """The evidence, and every finding."""
    from rich.console import Group

    head = (
        f"{report.release} in {report.store}: {count(report.files, 'file')}, {size(report.bytes)}, "
        f"{duration(report.seconds)}, against {report.against}, evidence: {report.evidence}"
    )
    if report.ok:
        return printable(f"OK  {head}")
    findings = table(f"FAILED  {head}", "finding", "path", "detail")
    for finding in report.findings:
        findings.add_row(*map(printable, (finding.kind, finding.path, finding.detail)))
    hint = f"To mend it: provision mirror --to {report.store} --repair"
    return Group(findings, printable(f"{count(len(report.findings), 'finding')}. {hint}"))


def loads_table(loads: Iterable[LoadResult]) -> RenderableType:
    """Which models were loaded, with what."""
    result = table("Loading, offline, each in its own process", "model", "layout", "library", "outcome", "", "#time")
    for one in loads:
        took = duration(one.seconds) if one.seconds else ""
        result.add_row(one.repo, one.layout, one.library or "-", one.outcome, printable(one.detail), took)
    return result


def steps_table(steps: Iterable[Step]) -> RenderableType:
    """What the demo did."""
    result = table("What was done", "step", "result", "#bytes", "#time")
    for step in steps:
        result.add_row(step.name, step.result, size(step.bytes) if step.bytes else "", duration(step.seconds))
    return result


def releases_table(store: str, releases: Iterable[ReleaseSummary]) -> RenderableType:
    """What a store holds."""
    result = table(f"Releases in {store}", "release", "", "created", "#files", "#size", "models")
    for release in releases:
        models = printable(release.problem or "\n".join(release.models))
        active = "active" if release.active else ""
        result.add_row(
            release.release, active, printable(release.created), f"{release.files:,}", size(release.bytes), models
        )
    return result


def _to_do(status: Status) -> str:
    if status.present:
        return f"provision releases activate {status.wanted} --at {status.store}"
    return f"provision mirror --to {status.store}" + (" --repair" if status.problem else "")


def status_table(status: Status) -> RenderableType:
    """The lock against a store."""
    rows = [
        ("store", status.store),
        ("release of the lock", status.wanted),
        ("there", "yes" if status.present else f"no{': ' + status.problem if status.problem else ''}"),
        ("active release", status.active or "none"),
        ("not in the active release", "\n".join(status.missing) or "nothing"),
    ]
    if not status.up_to_date:
        rows.append(("to do", _to_do(status)))
    return facts("Up to date" if status.up_to_date else "Not up to date", rows)
