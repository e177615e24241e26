"""`provision emit verify`."""

from __future__ import annotations

import click


@click.command("verify", short_help="In work.")
def command() -> None:
    """In work."""
