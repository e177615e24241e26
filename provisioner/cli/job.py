"""`provision job`."""

from __future__ import annotations

import click


@click.group("job", short_help="Run and watch the mirror Job in a cluster.")
def command() -> None:
    """Run and watch the mirror Job in a cluster."""
