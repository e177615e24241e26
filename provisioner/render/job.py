"""Jobs for people: the report of a run, the table of those there are, the lines of a log."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from provisioner.ops.job.log import Failure, Progress, Reader, Result
from provisioner.ops.job.outcome import deciding
from provisioner.ports.events import Finished
from provisioner.render.printable import printable, printable_json
from provisioner.render.progress import event_line
from provisioner.render.sizes import count, duration, size
from provisioner.render.tables import facts, table, transfer_table, verify_table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from provisioner.ops.job.follow import JobRecord, PodRecord
    from provisioner.ops.job.manage import JobStatus


def report(records: Sequence[JobRecord]) -> RenderableType:
    """What each Job reported, as the local command would have."""
    from rich.console import Group

    parts: list[Any] = []
    for record in records:
        pod = deciding(record)
        if len(records) > 1 or pod is None:
            parts.append(f"Job {record.name}: {'complete' if record.exit_code == 0 else 'failed'}")
        if pod is not None:
            parts += _of_pod(pod)
        if len({one.index for one in record.pods.values()}) > 1:
            parts.append(_shares(record))
    return Group(*(printable(part) if isinstance(part, str) else part for part in parts))


def _of_pod(pod: PodRecord) -> list[Any]:
    summary = pod.end.summary if pod.end else {}
    if pod.result is None:
        return [_summary_facts(pod.name, summary)] if summary else []
    return document(pod.result) or [_summary_facts(pod.name, summary)]


def document(data: dict[str, Any]) -> list[Any]:
    """A result of `mirror` or `verify`, with the tables those print; nothing for that of another command."""
    from msgspec import ValidationError, convert

    from provisioner.ops.shards import ShardReport
    from provisioner.ops.transfer import TransferReport
    from provisioner.report import VerifyReport

    found: list[Any] = []
    try:
        if "changed" in data:
            transfer = convert(data, TransferReport)
            active = transfer.release if data.get("active") else None
            shard = convert(data["shard"], ShardReport) if data.get("shard") else None
            found.append(transfer_table(transfer, data.get("before"), active, shard))
        verified = data.get("verify") or (data if "evidence" in data else None)
        if verified:
            found.append(verify_table(convert(verified, VerifyReport)))
    except ValidationError:  # of another version than ours: the lines of the log have said it all the same
        return []
    return found


def _summary_facts(pod: str, summary: dict[str, Any]) -> RenderableType:
    told = {key: "unknown" if value is None else str(value) for key, value in summary.items()}
    rows = [(key, told[key]) for key, value in summary.items() if not isinstance(value, dict | list)]
    return facts(f"{pod}, by its termination message", rows)


def _shares(record: JobRecord) -> RenderableType:
    result = table(f"The pods of {record.name}", "pod", "#share", "#moved", "#time", "#exit code")
    for pod in sorted(record.pods.values(), key=lambda one: one.index):
        data = pod.result or (pod.end.summary if pod.end else {})
        moved, seconds = data.get("moved"), data.get("seconds")
        result.add_row(
            pod.name,
            str(pod.index),
            size(moved) if isinstance(moved, int) else "",
            duration(float(seconds)) if isinstance(seconds, int | float) else "",
            str(pod.end.exit_code) if pod.end else "none",
        )
    return result


def status_table(namespace: str, jobs: Sequence[JobStatus]) -> RenderableType:
    """The Jobs there are, and below them their trouble."""
    from rich.console import Group

    if not jobs:
        return f"There is no Job of this installation in namespace {namespace}."
    result = table(
        f"Jobs in namespace {namespace}", "job", "release", "state", "pods", "since", "#exit code", "summary"
    )
    for one in jobs:
        code = "" if one.exit_code is None else str(one.exit_code)
        cells = (one.job, one.release, one.state, _pods(one), one.since, code, summary_line(one.summary))
        result.add_row(*map(printable, cells))
    troubles = [f"{job.job}: {one.message} {one.hint}".strip() for job in jobs for one in job.troubles]
    return Group(result, *map(printable, troubles))


def _pods(one: JobStatus) -> str:
    words = ((one.active, "active"), (one.succeeded, "done"), (one.failed, "failed"))
    return ", ".join(f"{number} {word}" for number, word in words if number) or "none"


def summary_line(summary: dict[str, Any]) -> str:
    """A termination message as one line."""
    if (error := summary.get("error")) is not None:
        return str(error)
    files, amount, seconds = (summary.get(key) for key in ("files", "bytes", "seconds"))
    parts = [
        count(files, "file") if isinstance(files, int) else "",
        size(amount) if isinstance(amount, int) else "",
        duration(float(seconds)) if isinstance(seconds, int | float) else "",
    ]
    return ", ".join(part for part in parts if part)


class LogLines:
    """The lines of pods as the log of a local command; `raw` leaves them as they are, but for control characters."""

    def __init__(self, *, raw: bool) -> None:
        self._raw = raw
        self._readers: dict[str, Reader] = {}

    def lines(self, pod: str, text: str, several: bool) -> Iterator[str]:
        """What to print for one line."""
        if self._raw:
            yield printable_json(text)
            return
        said = self._readers.setdefault(pod, Reader()).read(text)
        for one in self._said(said):
            yield printable(f"{pod}  {one}" if several else one)

    def _said(self, said: Any) -> Iterator[str]:
        match said:
            case None | Finished():
                return
            case Progress(bytes=amount):
                yield f"  {size(amount)}"
            case Failure(message, hint):
                yield f"provision: {message}"
                if hint:
                    yield f"  {hint}"
            case Result(data):
                yield from _plain(document(data))
            case _:
                yield event_line(said)


def _plain(parts: list[Any]) -> Iterator[str]:
    from rich.console import Console

    console = Console(width=160, highlight=False, markup=False, color_system=None, force_terminal=False)
    with console.capture() as captured:
        for part in parts:
            console.print(part)
    yield from captured.get().splitlines()
