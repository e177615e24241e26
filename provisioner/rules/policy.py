"""What a lock refuses unless it says so by name: pickles and remote code."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from provisioner.errors import Problem
from provisioner.model import Model
from provisioner.rules.choose import matches_any
from provisioner.rules.documents import MAX_DOCUMENT, NO_CODE, Code, is_unseen
from provisioner.rules.formats import Format, format_of

PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib")


def policy_problems(model: Model, code: Code = NO_CODE) -> tuple[Problem, ...]:
    """What the model's flags do not allow, each placed like `ORG/NAME/pytorch_model.bin`.

    `code` is what its documents ask for, known when it is locked; without it the file names have to do.
    """
    return tuple(_problems(model, code))


def _problems(model: Model, code: Code) -> Iterator[Problem]:
    paths = [str(file.path) for file in model.files]
    if not model.allow_pickle:
        for path in paths:
            if is_pickle(path, paths):
                yield _refused(model, path, "a pickle, which can run code when it is loaded (--allow-pickle)")
    for file in model.files:
        if is_unseen(file.path, file.size):
            yield _refused(
                model, file.path, f"larger than {MAX_DOCUMENT} bytes, so the code it may ask for stays unseen"
            )
    if model.allow_remote_code:
        return
    for path in paths:
        if path.endswith(".py"):
            yield _refused(model, path, "Python that loading would run (--allow-remote-code)")
    if code and not left_without_code(model.exclude, code):
        wanted = ", ".join((*code.modules, *code.repos))
        yield _refused(model, "auto_map", f"it asks to run code, {wanted} (--allow-remote-code)")


def _refused(model: Model, path: str, why: str) -> Problem:
    return Problem(f"{model.repo}/{path}", why)


def is_pickle(path: str, names: Collection[str]) -> bool:
    """Whether a file is a pickle by its name; OpenVINO's `openvino_X.bin` beside its .xml is none."""
    return path.lower().endswith(PICKLES) and format_of(path, names) is not Format.OPENVINO


def left_without_code(exclude: tuple[str, ...], code: Code) -> bool:
    """Whether the operator left the code out on purpose: `--exclude '*.py'`."""
    modules = code.modules or ("modeling.py",)
    return bool(code) and all(matches_any(module, exclude) for module in modules)
