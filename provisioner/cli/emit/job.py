"""`provision emit job`."""

from __future__ import annotations

import click


@click.command("job", short_help="In work.")
def command() -> None:
    """In work."""
