"""What became of the Jobs of one run: as data, and as the error the run ends with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from provisioner.errors import ProvisionError
from provisioner.ops.job.follow import JobRecord, PodRecord
from provisioner.ops.job.objects import is_over


class JobFailed(ProvisionError):
    """A Job that did not end well; the exit code is that of its pod."""


def failure(records: Sequence[JobRecord]) -> ProvisionError | None:
    """The error of the first Job that failed, with its pod's own exit code and failure; None when all went well."""
    failed = next((one for one in records if one.exit_code), None)
    if failed is None or not failed.exit_code:
        return None
    more = sum(1 for one in records if one.exit_code) - 1
    text, hint = _why(failed)
    others = f" {more} more failed." if more else ""
    kind = type("JobFailed", (JobFailed,), {"exit_code": failed.exit_code, "retryable": failed.exit_code == 5})
    error: ProvisionError = kind(f"{text}{others}", hint=hint)
    return error


def _why(failed: JobRecord) -> tuple[str, str]:
    trouble = failed.trouble
    text = trouble.message if trouble else f"It ended with exit code {failed.exit_code}."
    hint = trouble.hint if trouble else ""
    if failed.object is not None and not is_over(failed.object):
        return f"Job {failed.name} cannot go on. {text}", f"{hint} Then: provision job delete {failed.name}".strip()
    pods = [one for one in failed.pods.values() if one.end and one.end.exit_code == failed.exit_code]
    if pods and (said := pods[-1].failure) is not None and pods[-1].end and not pods[-1].end.summary:
        text, hint = f"{text} {said.message}", f"{said.hint} {hint}".strip()
    return f"Job {failed.name} failed. {text}", hint


def facts_of(namespace: str, release: str, records: Sequence[JobRecord]) -> dict[str, Any]:
    """Everything about the run as JSON has it."""
    return {"namespace": namespace, "release": release, "jobs": [_job(one) for one in records]}


def _job(record: JobRecord) -> dict[str, Any]:
    return {
        "job": record.name,
        "exit_code": record.exit_code,
        "trouble": asdict(record.trouble) if record.trouble else None,
        "pods": [_pod(one) for one in record.pods.values()],
    }


def _pod(record: PodRecord) -> dict[str, Any]:
    return {
        "pod": record.name,
        "index": record.index,
        "exit_code": record.end.exit_code if record.end else None,
        "trouble": asdict(record.trouble) if record.trouble else None,
        "summary": record.end.summary if record.end else {},
        "result": record.result,
    }


def deciding(record: JobRecord) -> PodRecord | None:
    """The pod whose report is the Job's: the last of index 0, which publishes, that left one."""
    pods = [one for one in record.pods.values() if one.result is not None or (one.end and one.end.summary)]
    failed = [one for one in pods if record.exit_code and one.end and one.end.exit_code == record.exit_code]
    first = [one for one in pods if one.index == 0]
    found = failed or first or pods
    return found[-1] if found else None
