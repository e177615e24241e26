"""`provision emit inspector`."""

from __future__ import annotations

import click


@click.command("inspector", short_help="In work.")
def command() -> None:
    """In work."""
