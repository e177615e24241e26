"""`provision sums`."""

from __future__ import annotations

import click

from provisioner.cli.options import at_option, default_store, release_option, store_option


@click.command("sums", short_help="Write the SHA256SUMS of a release, for sha256sum and rclone.")
@at_option
@store_option
@release_option
@click.option("--model", metavar="NAME", help="Only this model, with paths relative to its own folder.")
@click.option(
    "--layout",
    type=click.Choice(["hub", "flat", "huggingface", "fastembed", "sentence-transformers"]),
    help="With --model: which of its folders.  [default: flat, else its first]",
)
@click.option("-o", "--output", "target", metavar="FILE", help="Where to.  [default: stdout]")
def command(
    at: str | None, store: str | None, release: str | None, model: str | None, layout: str | None, target: str | None
) -> None:
    """Write the SHA256SUMS of a release, from its record, for sha256sum -c and rclone check.

    \b
    Examples:
      provision sums --at pvc | (cd /mnt/models/releases/7f3c9a1b2d4e && sha256sum -c)
      provision sums --at pvc --model ORG/NAME -o SHA256SUMS
      rclone checksum sha256 SHA256SUMS remote:bucket/releases/7f3c9a1b2d4e/models/NAME --download
    """
    from provisioner.emit.sums import folder_of, sums
    from provisioner.errors import UsageError
    from provisioner.lockfile import parse
    from provisioner.model import Layout
    from provisioner.ops.verify import chosen_release
    from provisioner.stores.targets import require_store

    if layout and not model:
        raise UsageError("--layout needs --model.")
    source = require_store(at or store or default_store())
    chosen = chosen_release(source, release, None)
    folder = ""
    if model:
        lock = parse(source.lock_text(chosen), f"{chosen}/models.lock")
        folder = folder_of(lock, model, Layout(layout) if layout else None)
    text = sums(source.record(chosen), folder)
    if target is None:
        click.echo(text, nl=False)
    else:
        _write(target, text)


def _write(path: str, text: str) -> None:
    from provisioner.errors import StoreError

    try:
        with open(path, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except OSError as error:
        raise StoreError(f"Cannot write {path}: {error.strerror}.", hint="Choose another -o FILE.") from None
