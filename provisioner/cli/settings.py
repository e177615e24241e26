"""`provision.toml`: defaults for every option, checked against the options that exist."""

from __future__ import annotations

import os
from typing import Any

import click

from provisioner.cli.lazy import flag_of
from provisioner.errors import InvalidDocument, NotFound, Problem

SHARED = ("lock", "store", "endpoint")  # may stand at the top, for every command that has the option


def defaults(ctx: click.Context, path: str) -> dict[str, Any]:
    """The file as click's default map. Raises InvalidDocument for a key that no option has."""
    if not os.path.exists(path):
        if ctx.get_parameter_source("config") is click.core.ParameterSource.DEFAULT:
            return {}
        raise NotFound(f"There is no settings file {path}.", hint="Check --config or PROVISION_CONFIG.")
    document = _read(path)
    shared = {key: document.pop(key) for key in SHARED if not isinstance(document.get(key, {}), dict)}
    group = ctx.command
    assert isinstance(group, click.Group)
    unknown = [key for key in document if key not in group.list_commands(ctx)]
    problems = [Problem(key, "unknown key") for key in unknown]
    commands = {name: group.get_command(ctx, name) for name in {*document, ctx.invoked_subcommand} if name}
    tables = {
        name: _with_shared(command, _checked(command, document.get(name, {}), name, problems), shared)
        for name, command in commands.items()
        if command
    }
    _refuse(path, problems)
    return tables


def _read(path: str) -> dict[str, Any]:
    import tomllib

    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidDocument(path, (Problem("", f"not TOML: {error}"),)) from None
    except OSError as error:
        raise NotFound(f"Cannot read {path}: {error.strerror}.") from None


def _refuse(path: str, problems: list[Problem]) -> dict[str, Any]:
    if problems:
        raise InvalidDocument(path, tuple(problems), hint="Keys are options as `provision COMMAND --help` shows them.")
    return {}


def _options(command: click.Command) -> dict[str, str]:
    """The flag of each option -> Python's name for it."""
    return {flag_of(p): p.name for p in command.params if isinstance(p, click.Option) and p.name}


def _checked(command: click.Command, table: Any, place: str, problems: list[Problem]) -> dict[str, Any]:
    if not isinstance(table, dict):
        problems.append(Problem(place, "not a table"))
        return {}
    result, options = {}, _options(command)
    for key, value in table.items():
        name = key.replace("-", "_")
        if isinstance(command, click.Group) and key in command.commands:
            result[key] = _checked(command.commands[key], value, f"{place}.{key}", problems)
        elif name in options:
            result[options[name]] = value
        else:
            problems.append(Problem(f"{place}.{key}", "unknown key"))
    return result


def _with_shared(command: click.Command, chosen: dict[str, Any], shared: dict[str, Any]) -> dict[str, Any]:
    result = {key: value for key, value in shared.items() if key in _options(command)} | chosen
    if isinstance(command, click.Group):
        for name, child in command.commands.items():
            result[name] = _with_shared(child, chosen.get(name, {}), shared)
    return result
