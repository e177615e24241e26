"""`provision completion`."""

from __future__ import annotations

import click


@click.command("completion", short_help="Print the shell completion script.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the shell completion script.

    \b
    Examples:
      eval "$(provision completion bash)"
      provision completion fish > ~/.config/fish/completions/provision.fish
    """
    from click.shell_completion import get_completion_class

    completion = get_completion_class(shell)
    assert completion is not None  # the argument's choices are click's own names
    click.echo(completion(ctx.find_root().command, {}, "provision", "_PROVISION_COMPLETE").source())
