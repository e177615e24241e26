"""`provision emit server`."""

from __future__ import annotations

import click


@click.command("server", short_help="In work.")
def command() -> None:
    """In work."""
