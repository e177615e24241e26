"""`provision serve`."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn

import click

from provisioner.cli.options import output_options

if TYPE_CHECKING:
    from provisioner.render.output import Output
    from provisioner.serve.settings import Settings


@click.command("serve", short_help="Serve a release: embed and rerank over HTTP.")
@click.option("--at", metavar="DIR", help="The mounted release, or a mounted store.  [default: /models]")
@click.option("--lock", metavar="FILE", help="Refuse any other release than that of this lock.")
@click.option("--host", metavar="ADDRESS", help="The address to listen on.  [default: every one]")
@click.option("--port", metavar="PORT", help="Of HTTP; 0 takes a free one.  [default: 9000]")
@click.option("--grpc-port", metavar="PORT", help="Of gRPC; without it there is none.")
@click.option(
    "--verify",
    type=click.Choice(["recorded", "full"]),
    help="How the release is checked at the start: by its record and sizes, or every byte read.  [default: recorded]",
)
@click.option(
    "--engine",
    type=click.Choice(["auto", "onnx", "openvino", "torch", "fastembed", "cuda"]),
    help="What computes.  [default: auto]",
)
@click.option("--embedder", metavar="MODEL", help="ORG/NAME, where the release has several models that embed.")
@click.option("--reranker", metavar="MODEL", help="ORG/NAME, where the release has several models that rerank.")
@click.option("--indexing-only", is_flag=True, default=None, help="The indexing server: bulk, no reranking.")
@click.option("--check", is_flag=True, help="Check, load, embed one sentence, say what would be served, and exit.")
@output_options
def command(check: bool, output: Output, **given: str | bool | None) -> None:
    """Serve a release that is mounted read-only: embed and rerank over HTTP, and gRPC.

    A release that does not match its lock is not served: the server exits with 3 and one sentence. It never asks a
    network. Each option stands for a variable that pods set; docs/serve.md lists all of them, limits and threads too.

    \b
    Examples:
      provision serve --at /mnt/models
      provision serve --at /mnt/models --verify full --lock models.lock
      INDEXING_ONLY=True provision serve --port 9001
      provision serve --at /mnt/models --check
      curl -s localhost:9000/embed -H 'Content-Type: application/json' -d '{"texts": ["a sentence"]}'
    """
    from provisioner.serve.settings import OPTIONS

    chosen = {OPTIONS[name]: str(value) for name, value in given.items() if value is not None}
    if check:
        _run(chosen, check, output)
    else:
        signal.signal(signal.SIGTERM, _leave)
        with suppress(KeyboardInterrupt):  # SIGINT before the server has handlers of its own
            _run(chosen, check, output)


def _leave(_signal: int, _frame: Any) -> NoReturn:
    """SIGTERM before the server has handlers of its own: nothing was begun. A KeyboardInterrupt can be swallowed where
    Python calls back in the middle of an import, and the server would start."""
    os._exit(0)


def _run(chosen: dict[str, str], check: bool, output: Output) -> None:
    from provisioner.serve import extra, offline
    from provisioner.serve.settings import parse

    settings = parse(dict(os.environ) | chosen)
    offline.bound(os.environ, settings)
    try:
        from provisioner.serve import server
    except ModuleNotFoundError as error:
        raise (extra.missing(error) or error) from None
    if check:
        _check(settings, output)
    else:
        server.serve(settings)


def _check(settings: Settings, output: Output) -> None:
    from dataclasses import asdict

    from provisioner.render.served import served_table
    from provisioner.serve.start import checked

    status = checked(settings)
    output.result(asdict(status), lambda: served_table(status))
