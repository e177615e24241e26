"""Every command explains itself, and `--help` stays light."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest

from provisioner.cli.main import SECTIONS, cli
from tests.support.faults_process import environment, provision

HEAVY = ("rich", "huggingface_hub", "urllib3", "msgspec", "tomlkit", "httpx", "pydantic", "starlette", "uvicorn")


def commands() -> dict[tuple[str, ...], click.Command]:
    found: dict[tuple[str, ...], click.Command] = {}
    ctx = click.Context(cli)

    def walk(command: click.Command, path: tuple[str, ...]) -> None:
        found[path] = command
        if isinstance(command, click.Group):
            for name in command.list_commands(ctx):
                child = command.get_command(ctx, name)
                assert child is not None
                walk(child, (*path, name))

    walk(cli, ())
    return found


COMMANDS = commands()


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: " ".join(path) or "provision")
def test_every_command_has_help(path: tuple[str, ...]) -> None:
    command = COMMANDS[path]
    assert command.help and command.help.strip()
    assert len(path) > 1 or "Examples:" in command.help
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help, f"{path}: {option.name}"
            assert option.help.split("  [")[0].endswith("."), f"{path}: {option.name}"
    text = command.get_help(click.Context(command, info_name=" ".join(("provision", *path))))
    assert "Usage: provision" in text


@pytest.mark.parametrize("name", [name for section in SECTIONS.values() for name in section])
def test_the_overview_says_what_the_commands_say(name: str) -> None:
    texts = {name: text for section in SECTIONS.values() for name, text in section.items()}
    assert COMMANDS[(name,)].short_help == texts[name]
    assert COMMANDS[(name,)].name == name


def test_help_lists_the_commands_by_task(tmp_path: Path) -> None:
    done = provision("--help", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    places = [done.out.index(f"{title}:") for title in SECTIONS]
    assert places == sorted(places)


def test_examples_keep_their_lines(tmp_path: Path) -> None:
    out = provision("fetch", "--help", cwd=tmp_path).out
    assert "\n    provision fetch\n" in out
    assert "\n    provision fetch --dry-run\n" in out


def test_a_mistyped_command_is_guessed(tmp_path: Path) -> None:
    done = provision("fetsch", cwd=tmp_path)
    assert done.code == 2
    assert "Did you mean 'fetch'?" in done.err


def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    script = (
        "import sys, json\n"
        "from provisioner.cli.main import main\n"
        "sys.argv = ['provision', '--help']\n"
        "try: main()\n"
        "except SystemExit as end: assert end.code == 0\n"
        f"print(json.dumps([name for name in {HEAVY} if name in sys.modules]), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=True
    )
    assert json.loads(done.stderr) == []
    assert "Usage: provision" in done.stdout


def test_version(tmp_path: Path) -> None:
    from provisioner import __version__

    done = provision("--version", cwd=tmp_path)
    assert (done.code, done.out.split()[-1]) == (0, __version__)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(tmp_path: Path, shell: str) -> None:
    done = provision("completion", shell, cwd=tmp_path)
    assert done.code == 0
    assert "_PROVISION_COMPLETE" in done.out


def test_completion_completes(tmp_path: Path) -> None:
    variables = {"_PROVISION_COMPLETE": "bash_complete", "COMP_WORDS": "provision rel", "COMP_CWORD": "1"}
    assert "releases" in provision(cwd=tmp_path, **variables).out
    variables["COMP_WORDS"], variables["COMP_CWORD"] = "provision releases ", "2"
    assert provision(cwd=tmp_path, **variables).out.split() == ["plain,activate", "plain,list", "plain,prune"]
