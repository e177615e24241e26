"""Changes to a lock: models added, updated, removed, checked. No file is written here."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from provisioner.errors import InvalidInput, NotFound, Problem, UsageError
from provisioner.model import Layout, Lock, Model, RepoId
from provisioner.ops.locking import MAIN, Locked, Request, lock_model
from provisioner.ops.small_files import Hub
from provisioner.rules import policy_problems, structure_problems

CODE_FILES = ("*.py", "config.json")
_MOST_CODE_REPOSITORIES = 16


@dataclass(frozen=True, slots=True)
class Edited:
    """A new lock and how each of its changed models was pinned."""

    lock: Lock
    locked: tuple[Locked, ...]

    @property
    def notices(self) -> tuple[str, ...]:
        """What the operator should know, in order."""
        return tuple(notice for locked in self.locked for notice in locked.notices)


def add(lock: Lock, requests: Iterable[Request], hub: Hub) -> Edited:
    """Pin models, and the repositories whose code they load. A model that is locked already is extended."""
    edited = Edited(lock, ())
    for request in requests:
        before = edited.lock.find(request.repo)
        edited = _pin(edited, merged(before, request), hub)
    return edited


def update(lock: Lock, models: Iterable[Model], hub: Hub) -> Edited:
    """Pin models again, to what their revisions mean now."""
    edited = Edited(lock, ())
    for model in models:
        edited = _pin(edited, Request.again(model), hub)
    return edited


def remove(lock: Lock, models: Iterable[Model]) -> Lock:
    """The lock without some models."""
    gone = {model.repo for model in models}
    return Lock(tuple(model for model in lock.models if model.repo not in gone))


def find(lock: Lock, names: Iterable[str]) -> tuple[Model, ...]:
    """Models by `ORG/NAME`, or by `NAME` where that is unique. Raises NotFound, UsageError."""
    return tuple(dict.fromkeys(_find(lock, name) for name in names))


def check(lock: Lock) -> tuple[Problem, ...]:
    """What policy and structure rules say about a lock, by names alone."""
    return tuple(
        Problem(f"models[{index}]", str(problem))
        for index, model in enumerate(lock.models)
        for problem in (*policy_problems(model), *structure_problems(model))
    )


def merged(before: Model | None, request: Request) -> Request:
    """A request that keeps what the lock already says about its repository. Raises InvalidInput if it cannot."""
    if before is None:
        return request
    if bool(before.include) != bool(request.include) or before.exclude != request.exclude:
        raise InvalidInput(
            f"{request.repo} is locked with another choice of files.",
            hint=f"To replace it, run: provision lock remove {request.repo}; then add it again.",
        )
    return replace(
        request,
        layouts=tuple(layout for layout in Layout if layout in {*before.layouts, *request.layouts}),
        include=tuple(dict.fromkeys((*before.include, *request.include))),
        allow_pickle=before.allow_pickle or request.allow_pickle,
        allow_remote_code=before.allow_remote_code or request.allow_remote_code,
        optional=(*before.include, *request.optional),
    )


def _find(lock: Lock, name: str) -> Model:
    if model := lock.find(name):
        return model
    folded = name.lower()
    found = [m for m in lock.models if folded in (m.repo.lower(), m.repo.name.lower())]
    if len(found) > 1:
        raise UsageError(f"{name} can mean {' or '.join(m.repo for m in found)}.", hint="Give the whole name.")
    if found:
        return found[0]
    close = difflib.get_close_matches(name, [model.repo for model in lock.models], 1, 0.5)
    hint = f"Did you mean {close[0]}?" if close else "See: provision lock list"
    raise NotFound(f"The lock has no model {name}.", hint=hint)


def _pin(edited: Edited, request: Request, hub: Hub) -> Edited:
    lock, done = edited.lock, list(edited.locked)
    queue = [(request, "")]
    for _ in range(_MOST_CODE_REPOSITORIES):
        if not queue:
            break
        wanted, asker = queue.pop(0)
        locked = lock_model(wanted, hub, lock.find(wanted.repo))
        if asker:
            locked = _as_code(locked, asker)
        lock = _with(lock, locked.model)
        done.append(locked)
        queue += [(request, str(wanted.repo)) for request in _code_requests(locked, lock)]
    if queue:
        raise InvalidInput(f"{request.repo} loads code from more than {_MOST_CODE_REPOSITORIES} repositories.")
    return Edited(lock, tuple(done))


def _with(lock: Lock, model: Model) -> Lock:
    others = (other for other in lock.models if other.repo != model.repo)
    return Lock(tuple(sorted((*others, model), key=lambda model: model.repo.lower())))


def _as_code(locked: Locked, asker: str) -> Locked:
    repo = locked.model.repo
    if not any(file.path.endswith(".py") for file in locked.model.files):
        raise InvalidInput(
            f"{asker} loads code from {repo}, which is locked without its Python.",
            hint=f"Run: provision lock remove {repo}; then add {asker} again.",
        )
    return replace(locked, notices=(*locked.notices, f"{repo} is locked too: {asker} runs its Python."))


def _code_requests(locked: Locked, lock: Lock) -> Iterator[Request]:
    """The repositories a model loads code from, at `main`: no consumer can ask for another revision of them."""
    layouts = _code_layouts(locked.model)
    for repo in locked.needs:
        before = lock.find(repo)
        if before is None or not _serves(before, layouts):
            yield _code_request(repo, layouts, before)


def _code_request(repo: RepoId, layouts: tuple[Layout, ...], before: Model | None) -> Request:
    request = Request(repo, MAIN, layouts, CODE_FILES, allow_remote_code=True, optional=CODE_FILES)
    if before is None:
        return request
    whole = replace(request, include=CODE_FILES if before.include else (), exclude=before.exclude)
    return merged(before, replace(whole, revision=before.revision))


def _code_layouts(model: Model) -> tuple[Layout, ...]:
    """Code is looked up in a Hub cache even by a model in the flat layout."""
    wanted = {Layout.HUB if layout is Layout.FLAT else layout for layout in model.layouts}
    return tuple(layout for layout in Layout if layout in wanted)


def _serves(model: Model, layouts: tuple[Layout, ...]) -> bool:
    has_code = any(file.path.endswith(".py") for file in model.files)
    return has_code and model.allow_remote_code and set(layouts) <= set(model.layouts)
