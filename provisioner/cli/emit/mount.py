"""`provision emit mount`."""

from __future__ import annotations

import click


@click.command("mount", short_help="In work.")
def command() -> None:
    """In work."""
