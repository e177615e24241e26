"""`provision lock`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from provisioner.cli.options import endpoint_option, lock_option, output_options

if TYPE_CHECKING:
    from provisioner.model import Lock
    from provisioner.ops.lock_edits import Edited
    from provisioner.ops.small_files import Hub
    from provisioner.ports.events import Observer
    from provisioner.render.output import Output

LAYOUTS = ("hub", "flat", "huggingface", "fastembed", "sentence-transformers")


@click.group("lock", short_help="Pin models to commits and digests in models.lock.")
def command() -> None:
    """Pin models to commits and digests in models.lock.

    \b
    Examples:
      provision lock add sentence-transformers/all-MiniLM-L6-v2
      provision lock diff
      provision lock update all-MiniLM-L6-v2
      provision lock check
    """


@command.command("add", short_help="Pin models and the repositories whose code they load.")
@click.argument("repositories", metavar="[REPO[@REV]]...", nargs=-1)
@click.option("--preset", "presets", metavar="NAME", multiple=True, help="The models of a known deployment.")
@click.option("--fastembed", metavar="NAME", multiple=True, help="A model by fastembed's name for it.")
@click.option(
    "--sentence-transformers", metavar="NAME", multiple=True, help="A model by sentence-transformers' name for it."
)
@click.option(
    "--layout", "layouts", type=click.Choice(LAYOUTS), multiple=True, help="Where libraries find it.  [default: hub]"
)
@click.option("--include", metavar="GLOB", multiple=True, help="Take these files instead of the default choice.")
@click.option("--exclude", metavar="GLOB", multiple=True, help="Leave these files out.")
@click.option("--allow-pickle", is_flag=True, help="Accept weights that can run code when they are loaded.")
@click.option("--allow-remote-code", is_flag=True, help="Accept Python that loading the model runs.")
@click.option("--dry-run", is_flag=True, help="Say what would be locked and what left out; write nothing.")
@lock_option
@endpoint_option
@output_options
def add(lock: str, endpoint: str | None, dry_run: bool, output: Output, **wanted: Any) -> None:
    """Pin models to the commit their revision means now, and every file to its sha256.

    Without --include a sensible choice is made: safetensors rather than other formats, all shards, the tokenizer, no
    pictures and nothing left over from training. Globs are those of `hf download`: * crosses /. A repository whose
    Python the model loads (auto_map) is pinned with it.

    \b
    Examples:
      provision lock add sentence-transformers/all-MiniLM-L6-v2
      provision lock add mistralai/Mistral-Small-24B-Instruct-2501@main --layout flat
      provision lock add --fastembed BAAI/bge-small-en-v1.5 --layout fastembed
      provision lock add Alibaba-NLP/gte-modernbert-base --include onnx/model.onnx --include '*.json'
      provision lock add nomic-ai/nomic-embed-text-v1 --allow-remote-code
      provision lock add --preset onyx
      provision lock add BAAI/bge-m3 --allow-pickle --dry-run
    """
    from provisioner.ops import lock_edits
    from provisioner.ops.wanted import requests
    from provisioner.render import lock_tables

    asked = requests(**wanted)
    before = _read(lock, create=True)
    with output.watching() as observer:
        edited = lock_edits.add(before, asked, _hub(endpoint, observer))
    changed = _save(lock, before, edited, dry_run, output)
    output.result(
        {"lock": lock, "changed": changed, "models": [lock_tables.chosen(one) for one in edited.locked]},
        lambda: lock_tables.added(edited, lock, dry_run),
    )


@command.command("update", short_help="Pin models again, to what their revisions mean now.")
@click.argument("models", metavar="[MODEL]...", nargs=-1)
@lock_option
@endpoint_option
@output_options
def update(models: tuple[str, ...], lock: str, endpoint: str | None, output: Output) -> None:
    """Pin models again, to what their revisions mean now; all of them when none is named.

    Globs, layouts and flags stay. A MODEL is ORG/NAME, or NAME where that is unique.

    \b
    Examples:
      provision lock update
      provision lock update all-MiniLM-L6-v2
    """
    from provisioner.lockfile import diff
    from provisioner.render import lock_tables

    before = _read(lock)
    edited = _updated(before, models, endpoint, output)
    changed = _save(lock, before, edited, False, output)
    changes = diff(before, edited.lock)
    output.result(
        {"lock": lock, "changed": changed, "models": [lock_tables.change(one) for one in changes]},
        lambda: lock_tables.changes(changes, "Updated", lock),
    )


@command.command("remove", short_help="Take models out of the lock.")
@click.argument("models", metavar="MODEL...", nargs=-1, required=True)
@lock_option
@output_options
def remove(models: tuple[str, ...], lock: str, output: Output) -> None:
    """Take models out of the lock. Releases that have them stay as they are.

    \b
    Examples:
      provision lock remove all-MiniLM-L6-v2
    """
    from provisioner.ops import lock_edits
    from provisioner.ops.documents import write_lock

    before = _read(lock)
    gone = lock_edits.find(before, models)
    write_lock(lock, lock_edits.remove(before, gone))
    names = [str(model.repo) for model in gone]
    output.result({"lock": lock, "removed": names}, lambda: f"Removed {', '.join(names)} from {lock}.")


@command.command("list", short_help="The locked models.")
@lock_option
@output_options
def list_(lock: str, output: Output) -> None:
    """The locked models with their commits, layouts, licences and sizes.

    \b
    Examples:
      provision lock list
      provision lock list --json
    """
    from provisioner.render import lock_tables

    document = _read(lock)
    output.result([lock_tables.model(model) for model in document.models], lambda: lock_tables.models(document, lock))


@command.command("diff", short_help="What an update would change.")
@click.argument("models", metavar="[MODEL]...", nargs=-1)
@lock_option
@endpoint_option
@output_options
def diff_(models: tuple[str, ...], lock: str, endpoint: str | None, output: Output) -> None:
    """What an update would change, file by file, with sizes. Nothing is written.

    \b
    Examples:
      provision lock diff
      provision lock diff all-MiniLM-L6-v2 --json
    """
    from provisioner.lockfile import diff
    from provisioner.render import lock_tables

    before = _read(lock)
    edited = _updated(before, models, endpoint, output)
    changes = diff(before, edited.lock)
    output.result(
        [lock_tables.change(one) for one in changes], lambda: lock_tables.changes(changes, "Would update", lock)
    )


@command.command("check", short_help="Check the lock without a network.")
@lock_option
@output_options
def check(lock: str, output: Output) -> None:
    """Check the lock without a network: its syntax, the policy, and the structure as far as file names show it.

    \b
    Examples:
      provision lock check
    """
    from provisioner.errors import InvalidDocument
    from provisioner.ops import lock_edits
    from provisioner.render.sizes import count

    document = _read(lock)
    if problems := lock_edits.check(document):
        raise InvalidDocument(lock, problems, hint="Add the model again with other globs or flags.")
    files = sum(len(model.files) for model in document.models)
    output.result(
        {"lock": lock, "ok": True, "models": len(document.models), "files": files},
        lambda: f"{lock} is in order: {count(len(document.models), 'model')}, {count(files, 'file')}.",
    )


def _read(path: str, *, create: bool = False) -> Lock:
    from provisioner.errors import NotFound
    from provisioner.model import Lock
    from provisioner.ops.documents import read_lock

    try:
        return read_lock(path).lock
    except NotFound:
        if create:
            return Lock(())
        raise


def _hub(endpoint: str | None, observer: Observer) -> Hub:
    from provisioner.ops.small_files import Hub
    from provisioner.sources.hub import HubSource
    from provisioner.sources.hub_api import HubApi

    return Hub(HubApi(endpoint, observer=observer), HubSource(endpoint).read)


def _updated(lock: Lock, names: tuple[str, ...], endpoint: str | None, output: Output) -> Edited:
    from provisioner.ops import lock_edits

    chosen = lock_edits.find(lock, names) if names else lock.models
    with output.watching() as observer:
        return lock_edits.update(lock, chosen, _hub(endpoint, observer))


def _save(path: str, before: Lock, edited: Edited, dry_run: bool, output: Output) -> bool:
    """Write the lock unless nothing changed or nothing shall be written; whether it differs."""
    from provisioner.lockfile import dump, parse
    from provisioner.ops.documents import write_lock

    for notice in edited.notices:
        output.note(notice)
    parse(dump(edited.lock), path)  # models that cannot stand beside each other are not written
    return before != edited.lock if dry_run else write_lock(path, edited.lock)
