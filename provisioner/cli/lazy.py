"""A click group that imports a command when it is run, and lists commands by task."""

from __future__ import annotations

import importlib
from typing import Any

import click


def flag_of(option: click.Option) -> str:
    """What people call an option: `--from` is `from`, whatever Python calls it."""
    return max(option.opts, key=len).lstrip("-").replace("-", "_")


def flags_name_variables(command: click.Command, prefix: str) -> None:
    """click names an option's variable after Python's name for it; where that is another, the flag's counts too."""
    for option in command.params:
        if isinstance(option, click.Option) and option.envvar is None and flag_of(option) != option.name:
            option.envvar = f"{prefix}_{flag_of(option).upper()}"
    if isinstance(command, click.Group):
        for name, child in command.commands.items():
            flags_name_variables(child, f"{prefix}_{name.upper()}")


class LazyGroup(click.Group):
    """Commands live in `PACKAGE.NAME` as `command`; `sections` names them with their one-line help."""

    def __init__(self, *args: Any, sections: dict[str, dict[str, str]], package: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.sections = sections
        self.package = package

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names in the order of the sections."""
        return [name for section in self.sections.values() for name in section]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        if cmd_name not in self.list_commands(ctx):
            return None
        command: click.Command = importlib.import_module(f"{self.package}.{cmd_name}").command
        flags_name_variables(command, f"{ctx.auto_envvar_prefix or 'PROVISION'}_{cmd_name.upper()}")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with a guess when a name is mistyped."""
        if args and args[0] not in self.list_commands(ctx) and not args[0].startswith("-"):
            import difflib

            close = difflib.get_close_matches(args[0], self.list_commands(ctx), 1)
            ctx.fail(f"No such command {args[0]!r}." + (f" Did you mean {close[0]!r}?" if close else ""))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """One block per section."""
        for title, commands in self.sections.items():
            with formatter.section(title):
                formatter.write_dl(list(commands.items()))
