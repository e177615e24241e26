"""What the doctor found, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioner.render.sizes import count
from provisioner.render.tables import table
from provisioner.report.health import Health, Outcome, Probe

if TYPE_CHECKING:
    from rich.console import RenderableType

_STYLES = {Outcome.FAILED: "bold red", Outcome.WARNING: "yellow", Outcome.SKIPPED: "dim", Outcome.OK: "green"}


def doctor_table(health: Health) -> RenderableType:
    """Every probe, and the verdict."""
    from rich.console import Group
    from rich.text import Text

    result = table(f"{health.target}", "probe", "result", "what was found", "what to do", "#time")
    for probe in health.probes:
        outcome = Text(probe.outcome, _STYLES[probe.outcome])
        result.add_row(probe.name, outcome, probe.detail, probe.advice, _time(probe))
    return Group(result, verdict(health))


def _time(probe: Probe) -> str:
    if probe.outcome is Outcome.SKIPPED:
        return ""
    return f"{probe.seconds * 1000:.0f} ms" if probe.seconds < 1 else f"{probe.seconds:.1f} s"


def verdict(health: Health) -> str:
    """One sentence."""
    outcomes = [probe.outcome for probe in health.probes]
    warnings = outcomes.count(Outcome.WARNING)
    more = f", {count(warnings, 'warning')}" if warnings else ""
    if health.ok:
        return f"OK: {count(outcomes.count(Outcome.OK), 'probe')} passed{more}."
    return f"FAILED: {count(outcomes.count(Outcome.FAILED), 'probe')}{more}. Begin with the first of them."
