"""Where emitted objects go: YAML or JSON on stdout, or a folder for `kubectl apply -k`."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from typing import Any

import click


def out_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """`-o DIR` and `--json`; they arrive as one `write`, to be called with the objects."""

    @functools.wraps(function)
    def wrapped(*args: Any, out: str | None, as_json: bool, **kwargs: Any) -> Any:
        if out is not None and as_json:
            raise click.UsageError("-o writes YAML: leave --json out.")
        if (chosen := click.get_current_context().find_object(dict)) is not None:
            chosen["json"] = as_json
        return function(*args, write=functools.partial(_write, out, as_json), **kwargs)

    wrapped = click.option("--json", "as_json", is_flag=True, help="One List as JSON, which kubectl takes too.")(
        wrapped
    )
    return click.option(
        "-o", "--output", "out", metavar="DIR", help="Write a Kustomize base there instead of printing YAML."
    )(wrapped)


def _write(out: str | None, as_json: bool, objects: Sequence[dict[str, Any]], comment: str = "") -> None:
    """Print the objects, or make the folder hold exactly them."""
    if out is not None:
        _write_base(out, objects, comment)
    elif as_json:
        import json

        click.echo(json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}, indent=1))
    else:
        from provisioner.emit.yaml import dump

        click.echo(dump(objects, comment), nl=False)


def _write_base(out: str, objects: Sequence[dict[str, Any]], comment: str) -> None:
    from provisioner.emit.kubernetes.kustomize import base
    from provisioner.ops.folders import write_folder

    files = {name: comment_lines(comment) + text for name, text in base(objects).items()}
    gone = write_folder(out, files, click.get_current_context().command_path)
    click.echo(f"Wrote {len(files)} files to {out}" + (f", deleted {len(gone)} of before." if gone else "."), err=True)
    click.echo(f"  kubectl apply -k {os.path.normpath(out)}", err=True)


def comment_lines(comment: str) -> str:
    """The comment as YAML has it."""
    return "".join(f"# {line}\n" for line in comment.splitlines())
