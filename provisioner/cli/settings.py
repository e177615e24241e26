"""`provision.toml`: defaults for every option, checked against the options that exist."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import click

from provisioner.cli.lazy import flag_of
from provisioner.errors import InvalidDocument, NotFound, Problem

KUBERNETES = ("kubernetes", "targets")  # tables that are settings of their own; emit and job read them
SHARED = ("lock", "store", "endpoint")  # may stand at the top, for every command that has the option


def defaults(ctx: click.Context, path: str) -> dict[str, Any]:
    """The file as click's default map. Raises InvalidDocument for a key that no option has."""
    if not os.path.exists(path):
        if ctx.get_parameter_source("config") is click.core.ParameterSource.DEFAULT:
            return {}
        raise NotFound(f"There is no settings file {path}.", hint="Check --config or PROVISION_CONFIG.")
    document = _read(path)
    problems: list[Problem] = []
    shared = _shared(document, problems)
    ctx.meta[KUBERNETES[0]] = path, {name: document.pop(name, {}) for name in KUBERNETES}
    group = ctx.command
    assert isinstance(group, click.Group)
    unknown = [key for key in document if key not in group.list_commands(ctx)]
    problems += [Problem(key, "unknown key") for key in unknown]
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
    except (ValueError, RecursionError, OverflowError) as error:
        raise InvalidDocument(path, (Problem("", f"not TOML: {error}"),)) from None
    except OSError as error:
        raise NotFound(f"Cannot read {path}: {error.strerror}.") from None


def _shared(document: dict[str, Any], problems: list[Problem]) -> dict[str, Any]:
    """What stands at the top or in `[defaults]`, for beside `[lock.add]` there can be no `lock = "FILE"`."""
    top = {key: document.pop(key) for key in SHARED if not isinstance(document.get(key, {}), dict)}
    table = document.pop("defaults", {})
    if not isinstance(table, dict):
        problems.append(Problem("defaults", "not a table"))
        table = {}
    problems += [Problem(f"defaults.{key}", "unknown key") for key in table if key not in SHARED]
    problems += [Problem(f"defaults.{key}", "stands at the top too") for key in table if key in top]
    for place, values in (("", top), ("defaults.", table)):
        problems += [Problem(place + key, "not a string") for key, one in values.items() if not isinstance(one, str)]
    return top | table


def _refuse(path: str, problems: list[Problem]) -> dict[str, Any]:
    if problems:
        raise InvalidDocument(path, tuple(problems), hint="Keys are options as `provision COMMAND --help` shows them.")
    return {}


def _options(command: click.Command) -> dict[str, click.Option]:
    """The options by their flags."""
    return {flag_of(p): p for p in command.params if isinstance(p, click.Option) and p.name}


def _wrong(option: click.Option, value: Any) -> Iterator[str]:
    """What is wrong with a value, by the option's own type; click itself would turn 5 into "5" and 3.7 into 3."""
    if option.multiple and not isinstance(value, list):
        yield "not an array"
        return
    for one in value if option.multiple else (value,):
        if isinstance(option.type, click.types.StringParamType) and not isinstance(one, str):
            yield "not a string"
        elif isinstance(one, bool) != option.is_flag:
            yield "not true or false" if option.is_flag else "not a value of this option"
        elif isinstance(one, float | list | dict):
            yield "not a value of this option"
        else:
            yield from _refused(option, one)


def _refused(option: click.Option, value: Any) -> Iterator[str]:
    try:
        option.type.convert(value, option, None)
    except click.BadParameter as error:
        yield error.message
    except (ValueError, TypeError):
        yield "not a value of this option"


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
            problems += [Problem(f"{place}.{key}", wrong) for wrong in _wrong(options[name], value)]
            result[str(options[name].name)] = value
        else:
            problems.append(Problem(f"{place}.{key}", "unknown key"))
    return result


def _with_shared(command: click.Command, chosen: dict[str, Any], shared: dict[str, Any]) -> dict[str, Any]:
    result = {key: value for key, value in shared.items() if key in _options(command)} | chosen
    if isinstance(command, click.Group):
        for name, child in command.commands.items():
            result[name] = _with_shared(child, chosen.get(name, {}), shared)
    return result
