"""Options that describe a target on the command line: the short way to a `[targets.NAME]`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

Table = dict[str, Any]


def target_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """`--to` and one option for each kind of volume; they arrive as `to`, as `short` (whether one was given)
    and, for `settings_options`, as `described`.
    """

    @functools.wraps(function)
    def wrapped(*args: Any, to: str, **kwargs: Any) -> Any:
        table = _table({name: kwargs.pop(name) for name in (*_SHORT, "storage_class", "rwo", "size")})
        return function(*args, to=to, short=bool(table), described=(to, table) if table else None, **kwargs)

    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped


def _nfs(_ctx: click.Context, _param: click.Parameter, value: str | None) -> Table | None:
    if value is None:
        return None
    server, colon, path = value.partition(":/")
    if not colon or not server:
        raise click.BadParameter(f"{value!r} is not SERVER:/PATH.")
    return {"kind": "nfs", "server": server.removeprefix("[").removesuffix("]"), "path": f"/{path}"}


def _azure(_ctx: click.Context, _param: click.Parameter, value: str | None) -> Table | None:
    if value is None:
        return None
    account, _, rest = value.removeprefix("azurefiles://").partition("/")
    share, _, folder = rest.strip("/").partition("/")
    if not account or not share:
        raise click.BadParameter(f"{value!r} is not ACCOUNT/SHARE.")
    return {"kind": "azure-files", "account": account, "share": share} | ({"folder": folder} if folder else {})


def _s3(_ctx: click.Context, _param: click.Parameter, value: str | None) -> Table | None:
    return None if value is None else {"kind": "s3", "address": value}


_SHORT = {"nfs": _nfs, "azure": _azure, "s3": _s3}
_OPTIONS = (
    click.option("--to", metavar="NAME", default="pvc", show_default=True, help="The target: [targets.NAME]."),
    click.option("--nfs", metavar="SERVER:/PATH", callback=_nfs, help="An NFS export."),
    click.option("--azure", metavar="ACCOUNT/SHARE[/FOLDER]", callback=_azure, help="An Azure file share."),
    click.option("--storage-class", metavar="NAME", help="A class that makes volumes for many nodes to write."),
    click.option(
        "--rwo", metavar="CLAIM", multiple=True, help="A claim that one node writes, for one consumer; repeat it."
    ),
    click.option(
        "--s3", metavar="ADDRESS", callback=_s3, help="A bucket: s3://B/PREFIX or minio://HOST:PORT/B/PREFIX."
    ),
    click.option("--size", metavar="SIZE", help="Of the volume, as 20Gi.  [default: two releases and headroom]"),
)


def _table(chosen: dict[str, Any]) -> Table:
    """The keys of the target; empty when no option was given."""
    tables = [chosen[name] for name in _SHORT if chosen[name]]
    if made := _provisioned(chosen["storage_class"], chosen["rwo"]):
        tables.append(made)
    if len(tables) > 1:
        raise click.UsageError("Give one of --nfs, --azure, --s3, and --storage-class or --rwo.")
    size = {"size": chosen["size"]} if chosen["size"] else {}
    return (tables[0] if tables else {}) | size


def _provisioned(storage_class: str | None, rwo: tuple[str, ...]) -> Table:
    chosen: Table = {"storage_class": storage_class} if storage_class else {}
    if rwo:
        return {"kind": "rwo", "claims": list(rwo)} | chosen
    return {"kind": "storage-class"} | chosen if chosen else {}
