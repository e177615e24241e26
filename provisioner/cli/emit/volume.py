"""`provision emit volume`."""

from __future__ import annotations

import click


@click.command("volume", short_help="In work.")
def command() -> None:
    """In work."""
