"""What `emit` and `job` share: the lock, the settings and the flags over them."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from provisioner.cli.options import Decorator, lock_option
from provisioner.cli.settings import KUBERNETES

if TYPE_CHECKING:
    from provisioner.emit.kubernetes.facts import Facts
    from provisioner.emit.kubernetes.settings import Settings

Described = tuple[str, dict[str, Any]]

Flag = tuple[str, str, str]  # key of [kubernetes], metavar (N is a number), help
_FLAGS: dict[str, Flag] = {
    "name": ("name", "NAME", "What the objects are called.  [default: models]"),
    "namespace": ("namespace", "NAME", "The namespace.  [default: none, so kubectl's]"),
    "image": ("image", "IMAGE", "The image that runs `provision`, best with its digest."),
}


def settings_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """`--name`, `--namespace`, `--image` and `--set`; they arrive as one `settings`.

    `described` may come from options of the command: a target's name and its keys, stronger than the file's.
    """
    return settings_flags()(function)


def settings_flags(**more: Flag) -> Decorator:
    """As `settings_options`, with more flags for keys of [kubernetes], or others in the place of those."""
    flags = _FLAGS | more

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapped(*args: Any, given: tuple[str, ...], described: Described | None = None, **kwargs: Any) -> Any:
            values = {flags[flag][0]: value for flag in flags if (value := kwargs.pop(flag)) is not None}
            return function(*args, settings=_settings(values, given, described), **kwargs)

        wrapped = click.option(
            "--set",
            "given",
            metavar="KEY=VALUE",
            multiple=True,
            help="A key of [kubernetes], or targets.NAME.KEY, over provision.toml.",
        )(wrapped)
        for flag, (_, metavar, text) in reversed(flags.items()):
            kind = int if metavar == "N" else str
            wrapped = click.option(f"--{flag.replace('_', '-')}", flag, metavar=metavar, type=kind, help=text)(wrapped)
        return wrapped

    return decorate


def facts_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """`--lock`; it arrives read, as `facts`."""

    @functools.wraps(function)
    def wrapped(*args: Any, lock: str, **kwargs: Any) -> Any:
        return function(*args, facts=read_facts(lock), **kwargs)

    return lock_option(wrapped)


def read_facts(lock: str) -> Facts:
    """What emission has to know of a lock that a transfer may act on."""
    from provisioner.emit.kubernetes.facts import Facts
    from provisioner.ops.documents import open_lock

    document = open_lock(lock)
    return Facts.of(document.lock, document.text, document.digest)


def _settings(flags: dict[str, Any], given: tuple[str, ...], described: Described | None) -> Settings:
    from provisioner.emit.kubernetes.overrides import describe, override, put
    from provisioner.emit.kubernetes.settings import read

    name, tables = click.get_current_context().find_root().meta.get(KUBERNETES[0], ("provision.toml", {}))
    kubernetes, targets = (copy.deepcopy(tables.get(key, {})) for key in KUBERNETES)
    if isinstance(kubernetes, dict) and isinstance(targets, dict):
        for key, value in flags.items():
            put(kubernetes, key.split("."), value)
        if described:
            describe(targets, *described)
        override(kubernetes, targets, given)
    return read(kubernetes, targets, name)
