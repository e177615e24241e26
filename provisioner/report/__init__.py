"""What was found and what was done, as values; `render` turns them into text."""

from provisioner.report.findings import Evidence, Finding, Kind, VerifyReport

__all__ = ["Evidence", "Finding", "Kind", "VerifyReport"]
