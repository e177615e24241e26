"""Entry point: the group of commands, the settings file, and errors as sentences with exit codes."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any, NoReturn

import click

from provisioner import __version__
from provisioner.cli.lazy import LazyGroup
from provisioner.cli.summary import Ending
from provisioner.errors import Interrupted, ProvisionError, UsageError
from provisioner.render import streams

# Command -> what it does. The texts stand here too so that `--help` imports no command; a test keeps them equal.
SECTIONS = {
    "Pin models": {
        "lock": "Pin models to commits and digests in models.lock.",
    },
    "Provision": {
        "fetch": "Bring the locked models from the Hub into the local store.",
        "mirror": "Bring the locked models into another store, such as a mounted volume.",
        "verify": "Check a release against the lock, every finding before it exits.",
        "status": "Compare the lock with what a store holds.",
        "releases": "List, activate and prune the releases of a store.",
        "doctor": "Probe a target end to end: what holds, and what to do.",
        "access": "Least-privilege access for readers and the mirror: MinIO, S3, Azure Files.",
    },
    "Consume": {
        "env": "Print the offline environment that points consumers at a release.",
        "hub": "Serve a store as a read-only Hub endpoint.",
        "serve": "Serve a release: embed and rerank over HTTP.",
        "sums": "Write the SHA256SUMS of a release, for sha256sum and rclone.",
    },
    "Deploy": {
        "emit": "Write the Kubernetes and Compose YAML around a release.",
        "job": "Run and watch the mirror Job in a cluster.",
        "rollout": "Update without downtime: mirror, repoint the workloads, prune; and back.",
    },
    "Try it": {
        "demo": "Provision a real model end to end on this machine.",
        "completion": "Print the shell completion script.",
    },
}


@click.group(
    cls=LazyGroup,
    sections=SECTIONS,
    package="provisioner.cli",
    context_settings={"auto_envvar_prefix": "PROVISION", "help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, package_name="model-provisioner", prog_name="provision")
@click.option(
    "--config",
    metavar="FILE",
    default="provision.toml",
    help="Defaults for all options.  [default: provision.toml, where there is one]",
)
@click.pass_context
def cli(ctx: click.Context, config: str) -> None:
    """Get exactly the pinned models, every byte verified, onto the volumes that model servers mount read-only.

    \b
    Examples:
      provision lock add sentence-transformers/all-MiniLM-L6-v2
      provision fetch
      provision mirror --to pvc
      provision verify --at pvc
      eval "$(provision env --at /mnt/models)"

    Every option can be given as an environment variable too, PROVISION_COMMAND_OPTION (PROVISION_MIRROR_TO=pvc),
    and has a default in provision.toml; the command line is strongest, then the environment, then the file.
    PROVISION_SUMMARY=FILE gets one line of JSON at the end of every command, such as a pod's termination message.
    """
    from provisioner.cli.settings import defaults

    ctx.ensure_object(dict)["command"] = ctx.invoked_subcommand or ""
    ctx.default_map = defaults(ctx, config)


def main() -> NoReturn:
    """Run the command and exit with a code of the table in the README."""
    signal.signal(signal.SIGTERM, _interrupt)
    streams.prepare()
    chosen = {"json": "--json" in sys.argv}  # a command knows better: the environment may say it too
    ending = Ending(chosen)
    try:
        result = cli.main(prog_name="provision", standalone_mode=False, obj=chosen)
        sys.stdout.flush()
        code = ending.write(result if isinstance(result, int) else 0)
    except (click.exceptions.Abort, KeyboardInterrupt):  # click turns the one into the other
        interrupted = Interrupted("Interrupted.", hint="Run the same command again to continue.")
        code = ending.failed(interrupted, report(interrupted, chosen["json"]))
        os._exit(code)  # a thread that waits for a silent server would hold an ordinary exit up
    except click.UsageError as error:
        code = ending.failed(UsageError(error.format_message()), _refuse(error, chosen["json"]))
    except streams.Gone as error:
        code = ending.failed(error, error.exit_code)  # nobody reads a sentence
    except ProvisionError as error:
        code = ending.failed(error, report(error, chosen["json"]))
    except Exception as error:
        ending.failed(error, 1)
        streams.let_go()
        raise
    streams.let_go()
    sys.exit(code)


def _interrupt(_signal: int, _frame: Any) -> NoReturn:
    """A Job's pod is stopped with SIGTERM: leave the way Ctrl-C does."""
    raise KeyboardInterrupt


def _refuse(error: click.UsageError, as_json: bool) -> int:
    if as_json:
        return report(UsageError(error.format_message()), as_json)
    error.show()
    return UsageError.exit_code


def report(error: ProvisionError, as_json: bool) -> int:
    """Show a failure on stderr, as JSON when that was asked for; its exit code."""
    from provisioner.render.failure import show

    show(error, as_json=as_json)
    return error.exit_code
