"""`provision env`."""

from __future__ import annotations

import click

from provisioner.cli.options import default_store, mounted_option, release_option, store_option


@click.command("env", short_help="Print the offline environment that points consumers at a release.")
@mounted_option
@store_option
@release_option
@click.option(
    "--format", "form", type=click.Choice(["shell", "dotenv", "json"]), default="shell", show_default=True, help="How."
)
@click.option(
    "--root",
    metavar="PATH",
    help="Where the consumer sees the release.  [default: where it is in the store]",
)
@click.option(
    "--scratch",
    metavar="DIR",
    help="A writable folder for HOME, TMPDIR and remote code, as a pod with a read-only root needs it.",
)
def command(
    at: str | None, store: str | None, release: str | None, form: str, root: str | None, scratch: str | None
) -> None:
    """Print the offline environment that points consumers at a release.

    \b
    Examples:
      eval "$(provision env)"
      provision env --at pvc --format dotenv > models.env
      provision env --root /models --scratch /scratch --format json
    """
    from provisioner.emit.environment import Form, environment, write
    from provisioner.lockfile import parse
    from provisioner.ops.verify import chosen_release
    from provisioner.stores.targets import open_mounted

    target = open_mounted(at or store or default_store())
    chosen = chosen_release(target, release, None)
    lock = parse(target.lock_text(chosen), f"{chosen}/models.lock")
    folder = root.rstrip("/") if root else target.path(chosen)
    click.echo(write(environment(lock, folder, scratch), Form(form)))
