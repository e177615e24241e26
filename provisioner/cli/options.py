"""Options that several commands have, and what they build."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from provisioner.cli.lazy import flag_of

if TYPE_CHECKING:
    from provisioner.render.output import Output

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def default_store() -> str:
    """The local store: under the user's data folder, as the XDG base directories say.

    Raises UsageError where there is neither HOME nor an entry for the user, as a pod may run.
    """
    base = os.environ.get("XDG_DATA_HOME") or os.path.join(os.path.expanduser("~"), ".local", "share")
    if base.startswith("~"):
        from provisioner.errors import UsageError

        raise UsageError("This user has no home folder to keep a store in.", hint="Give --store, or set HOME.")
    return os.path.join(base, "model-provisioner")


class _Shared(click.Option):
    """An option of several commands: the variable of one command is stronger than the variable of all."""

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        """The value in PROVISION_COMMAND_OPTION, else in the variables of all commands."""
        own = f"{ctx.auto_envvar_prefix}_{flag_of(self).upper()}"
        return os.environ.get(own) or super().resolve_envvar_value(ctx)


def not_empty(_ctx: click.Context, _param: click.Parameter, value: Any) -> Any:
    """Refuses what a variable that is not set leaves of an address: "" would mean the local store, or nothing."""
    for one in value if isinstance(value, tuple) else (value,):
        if one == "":
            raise click.BadParameter("it is empty. Is the variable set?")
    return value


ADDRESSES = "pvc, nfs, a path, s3://, minio:// or azurefiles://"

lock_option: Decorator = click.option(
    "--lock",
    cls=_Shared,
    metavar="FILE",
    default="models.lock",
    show_default=True,
    envvar="PROVISION_LOCK",
    help="The lock.",
)
store_option: Decorator = click.option(
    "--store",
    callback=not_empty,
    cls=_Shared,
    metavar="DIR",
    envvar="PROVISION_STORE",
    help="The local store.  [default: ~/.local/share/model-provisioner]",
)
at_option: Decorator = click.option(
    "--at",
    callback=not_empty,
    metavar="TARGET",
    help=f"The store: {ADDRESSES}.  [default: the local store]",
)
mounted_option: Decorator = click.option(
    "--at",
    callback=not_empty,
    metavar="TARGET",
    help="The store, mounted here: pvc, nfs, a path or file://.  [default: the local store]",
)
endpoint_option: Decorator = click.option(
    "--endpoint",
    cls=_Shared,
    metavar="URL",
    envvar=["PROVISION_ENDPOINT", "HF_ENDPOINT"],
    help="The Hub.  [default: HF_ENDPOINT or https://huggingface.co]",
)
release_option: Decorator = click.option("--release", metavar="ID", help="The release.  [default: the active one]")


def output_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """`--json`, `--quiet` and `-v`, handed to the command as one `output`."""
    import functools

    @functools.wraps(function)
    def wrapped(*args: Any, as_json: bool, quiet: bool, verbose: int, **kwargs: Any) -> Any:
        return function(*args, output=_output(as_json, quiet, verbose), **kwargs)

    for option in (
        click.option("-v", "--verbose", count=True, help="Say more; twice for everything."),
        click.option("-q", "--quiet", is_flag=True, help="No progress, results and errors only."),
        click.option("--json", "as_json", is_flag=True, help="Results and progress as JSON."),
    ):
        wrapped = option(wrapped)
    return wrapped


def _output(as_json: bool, quiet: bool, verbose: int) -> Output:
    import logging

    from provisioner.render.output import Output

    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)]
    logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s")
    # Their debug lines hold URLs with signatures; ours say what is needed.
    for library in ("urllib3", "httpx", "httpx2", "httpcore", "httpcore2", "huggingface_hub"):
        logging.getLogger(library).setLevel(logging.WARNING)
    if (chosen := click.get_current_context().find_object(dict)) is not None:
        chosen["json"] = as_json  # for a failure later on
    return Output(as_json=as_json, quiet=quiet)
