"""A folder of generated text: written whole, and cleared of what an earlier run generated and this one did not."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Mapping
from contextlib import suppress

from provisioner.errors import InvalidInput, NotFound, StoreError, UsageError

LIST = ".provision-emitted"  # the names that we wrote; other files of the folder are not ours to touch


def write_folder(path: str, files: Mapping[str, str], command: str) -> tuple[str, ...]:
    """Make the folder hold these files, each replaced whole; the names of earlier ones that were deleted.

    Raises UsageError when a file of somebody else has one of the names, or another command wrote the folder;
    StoreError when nothing can be written.
    """
    try:
        os.makedirs(path, exist_ok=True)
        before = _listed(path, command)
        if foreign := [name for name in files if name not in before and os.path.lexists(os.path.join(path, name))]:
            raise UsageError(
                f"{path} has a {foreign[0]} that was not emitted by this command.", hint="Give -o a folder of its own."
            )
        _list(path, command, {*before, *files})
        for name, text in files.items():
            _replace(os.path.join(path, name), text)
        gone = tuple(sorted(before - set(files)))
        for name in gone:
            with suppress(FileNotFoundError):
                os.unlink(os.path.join(path, name))
        _list(path, command, files)
        return gone
    except OSError as error:
        raise StoreError(f"{error.filename or path} cannot be written: {error.strerror}.") from None


def write_file(path: str, text: str) -> None:
    """Replace one file whole, its mode kept. Raises StoreError."""
    try:
        _replace(os.path.realpath(path), text)
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror}.") from None


def read_file(path: str) -> str:
    """One file whole, its line ends kept. Raises NotFound, InvalidInput, StoreError."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            return file.read()
    except FileNotFoundError:
        raise NotFound(f"There is no file {path}.") from None
    except UnicodeDecodeError:
        raise InvalidInput(f"{path} is no text in UTF-8.") from None
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}.") from None


def _list(path: str, command: str, names: Iterable[str]) -> None:
    _replace(os.path.join(path, LIST), "".join(f"{line}\n" for line in (f"# {command}", *sorted(names))))


def _listed(path: str, command: str) -> set[str]:
    with suppress(FileNotFoundError), open(os.path.join(path, LIST), encoding="utf-8") as file:
        first, *names = [*(line.strip() for line in file), ""]
        if first != f"# {command}":
            raise UsageError(
                f"{path} was written by {first.lstrip('# ') or 'another command'}, and this is {command}.",
                hint="Give -o a folder of its own.",
            )
        return {name for name in names if name and "/" not in name and not name.startswith(".")}
    return set()


def _replace(path: str, text: str) -> None:
    temporary = f"{path}.{secrets.token_hex(4)}.tmp"
    try:
        with open(temporary, "x", encoding="utf-8", newline="") as file:
            file.write(text)
            with suppress(FileNotFoundError):
                os.fchmod(file.fileno(), os.stat(path).st_mode & 0o777)
        os.replace(temporary, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
