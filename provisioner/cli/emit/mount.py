"""`provision emit mount`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from provisioner.cli.kubernetes import facts_option, settings_options
from provisioner.cli.options import default_store, store_option

if TYPE_CHECKING:
    from provisioner.emit.kubernetes.facts import Facts
    from provisioner.emit.kubernetes.mount import Mount
    from provisioner.emit.kubernetes.settings import Settings
    from provisioner.emit.mounts.service import Bind
    from provisioner.emit.mounts.write import Choice

FORMS = ("snippet", "patch", "component", "helm", "compose")


@click.command("mount", short_help="The mount and the offline environment for a pod, or in a manifest that is there.")
@click.option("--form", type=click.Choice(FORMS), help="What to print.  [default: snippet]")
@click.option("--write", "file", metavar="FILE", help="Change this manifest or Compose file instead of printing.")
@click.option("--dry-run", is_flag=True, help="With --write: print what would change, as a diff.")
@click.option("--workload", metavar="[KIND/]NAME", help="Which one of the file, or the patch's; a Compose service.")
@click.option("--container", metavar="NAME", help="Which one of the pod.  [default: the only one]")
@click.option("--replace", is_flag=True, help="With --write: take the place of other volumes in our paths and names.")
@click.option("--to", metavar="NAME", default="pvc", show_default=True, help="The target: [targets.NAME].")
@click.option("--claim", metavar="NAME", help="The claim to mount.  [default: the target's claim for consumers]")
@click.option("--path", metavar="PATH", help="Where the container sees the release.  [default: /models]")
@click.option("--model", metavar="NAME", help="Mount this model's flat folder alone: for vLLM, TEI, KServe.")
@click.option(
    "--wait",
    metavar="SECONDS",
    type=click.IntRange(0, 86400),
    help="An init container that waits for the release and checks it.",
)
@click.option("-o", "--output", "out", metavar="DIR", help="The component's folder, for --form component.")
@click.option("--json", "as_json", is_flag=True, help="The form, or what --write did, as JSON.")
@store_option
@settings_options
@facts_option
def command(
    form: str | None,
    file: str | None,
    dry_run: bool,
    to: str,
    claim: str | None,
    path: str | None,
    model: str | None,
    wait: int | None,
    out: str | None,
    as_json: bool,
    store: str | None,
    settings: Settings,
    facts: Facts,
    **choice: Any,
) -> None:
    """The volume, the read-only mount and the offline environment of a release, for a pod that somebody else wrote.

    --write changes only what is ours, so comments, order and all other documents of the file stay; a second run
    changes nothing, and after a new lock it moves the workload to the new release. A Compose service gets a bind mount
    of the store on this machine (--store). docs/mount.md shows every form.

    \b
    Examples:
      provision emit mount --write deployment.yaml
      provision emit mount --write deployment.yaml --dry-run
      provision emit mount --write all.yaml --workload deployment/api --container server --wait 600
      provision emit mount --write compose.yaml --workload api --store /srv/models
      provision emit mount --form patch --workload deployment/api --container server > patch.yaml
      provision emit mount --form component -o deploy/models
      provision emit mount --form helm | helm upgrade api ./chart --reuse-values -f -
    """
    from provisioner.emit.kubernetes.mount import mount, reader
    from provisioner.emit.mounts.write import Choice

    _check(form, file, dry_run, choice["replace"], out, as_json)
    if (chosen := click.get_current_context().find_object(dict)) is not None:
        chosen["json"] = as_json  # for a failure later on
    claim = reader(settings.target(to), to, claim)
    wanted = mount(settings, facts, claim, path, model=model, wait=wait)
    bind = functools.partial(_bind, settings, facts, wanted, model, store)
    if file is not None:
        _write(file, wanted, bind, Choice(**choice), dry_run, as_json)
    else:
        _emit(form or "snippet", settings, wanted, bind, Choice(**choice), out, as_json)


def _check(form: str | None, file: str | None, dry_run: bool, replace: bool, out: str | None, as_json: bool) -> None:
    """What makes no sense together."""
    if file is not None and (form is not None or out is not None):
        raise click.UsageError("--write changes a file: leave --form and -o out.")
    if file is None and (dry_run or replace):
        raise click.UsageError("--dry-run and --replace go with --write FILE.")
    if (form == "component") != (out is not None) and not (form == "component" and as_json):
        raise click.UsageError("--form component is a folder: -o DIR. The other forms go to stdout.")
    if out is not None and as_json:
        raise click.UsageError("-o writes YAML: leave --json out.")


def _bind(settings: Settings, facts: Facts, mount: Mount, model: str | None, store: str | None) -> Bind:
    import os

    from provisioner.emit.kubernetes.mount import folder
    from provisioner.emit.kubernetes.quantities import bytes_of
    from provisioner.emit.mounts.service import bind

    where = os.path.abspath(store if store is not None else default_store())
    at = str(mount.mounts[0]["mountPath"])
    size = bytes_of(settings.scratch_size)
    return bind(where, folder(facts, model), at, mount.environment, facts.release, size)


def _emit(
    form: str,
    settings: Settings,
    mount: Mount,
    bind: Callable[[], Bind],
    choice: Choice,
    out: str | None,
    as_json: bool,
) -> None:
    from provisioner.emit.mounts import forms
    from provisioner.emit.yaml import dump

    comment = f"Release {mount.release}, read-only at {mount.mounts[0]['mountPath']}."
    if form == "component":
        _component(forms.component(settings, mount, choice.container), out, comment)
        return
    if form == "snippet":
        parts = forms.snippet(mount)
        value: dict[str, Any] = {key: one for _, part in parts for key, one in part.items()}
        text = "".join(dump([part], title) for title, part in parts)
    else:
        value = _value(form, settings, mount, bind, choice)
        text = dump([value])
    _print(value if as_json else f"# {comment}\n{text}")


def _value(form: str, settings: Settings, mount: Mount, bind: Callable[[], Bind], choice: Choice) -> dict[str, Any]:
    from provisioner.emit.mounts import forms

    if form == "helm":
        return forms.helm(mount)
    if choice.workload is None:
        raise click.UsageError(f"--form {form} needs --workload.")
    if form == "compose":
        if mount.init or choice.container is not None:
            raise click.UsageError("A Compose service has neither --wait nor --container.")
        return forms.compose(bind(), choice.workload.removeprefix("service/"))
    if choice.container is None:
        raise click.UsageError("--form patch needs --container: a strategic merge patch finds it by its name.")
    return forms.patch(settings, mount, choice.workload, choice.container)


def _component(files: dict[str, Any], out: str | None, comment: str) -> None:
    from provisioner.emit.yaml import dump
    from provisioner.ops.folders import write_folder

    if out is None:
        _print(files)
        return
    write_folder(
        out, {name: dump([one], comment) for name, one in files.items()}, click.get_current_context().command_path
    )
    click.echo(f"Wrote a Kustomize Component to {out}: name it in `components:` of a kustomization,", err=True)
    click.echo('  and give workloads the label model-provisioner/mount: "true".', err=True)


def _print(value: object) -> None:
    import json

    click.echo(value if isinstance(value, str) else json.dumps(value, indent=1) + "\n", nl=False)


# --write


def _write(file: str, mount: Mount, bind: Callable[[], Bind], choice: Choice, dry_run: bool, as_json: bool) -> None:
    from provisioner.emit.mounts.write import written
    from provisioner.ops.folders import read_file, write_file

    before = read_file(file)
    done = written(file, before, mount, bind, choice)
    changed = done.text != before
    if changed and not dry_run:
        write_file(file, done.text)
    if as_json:
        said = {"file": file, "workload": done.where, "release": mount.release, "changed": changed, "dry_run": dry_run}
        _print(said | {"notes": list(done.notes)} | ({"diff": _diff(file, before, done.text)} if dry_run else {}))
        return
    for note in done.notes:
        click.echo(note, err=True)
    if dry_run:
        _print(_diff(file, before, done.text))
    what = "nothing to change" if not changed else "would change" if dry_run else "changed"
    click.echo(f"{file}: {what}: {done.where}, release {mount.release}.", err=True)


def _diff(file: str, before: str, after: str) -> str:
    import difflib

    lines = difflib.unified_diff(before.splitlines(True), after.splitlines(True), file, file)
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)
