"""Pin one model: choose its files, digest them, apply policy and structure rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from provisioner.errors import InvalidDocument, InvalidInput, PolicyRefused
from provisioner.model import Layout, Model, RelPath, RepoId, Revision
from provisioner.ops.small_files import Hub, SmallFiles, known_digests
from provisioner.rules import (
    Choice,
    Code,
    choose,
    code_of,
    left_without_code,
    policy_problems,
    structure_problems,
)
from provisioner.sources.hub_api import RemoteSnapshot

MAIN = Revision("main")


@dataclass(frozen=True, slots=True)
class Request:
    """What somebody wants locked.

    Attributes:
        optional: globs of `include` that may match nothing.
    """

    repo: RepoId
    revision: Revision = MAIN
    layouts: tuple[Layout, ...] = (Layout.HUB,)
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    allow_pickle: bool = False
    allow_remote_code: bool = False
    optional: tuple[str, ...] = ()

    @classmethod
    def again(cls, model: Model) -> Request:
        """What led to a locked model."""
        return cls(
            model.repo,
            model.revision,
            model.layouts,
            model.include,
            model.exclude,
            model.allow_pickle,
            model.allow_remote_code,
            optional=model.include,
        )


@dataclass(frozen=True, slots=True)
class Locked:
    """A model that was pinned.

    Attributes:
        choice: which files were taken, and why the others were not.
        needs: repositories whose Python the model loads.
        notices: what the operator should know.
    """

    model: Model
    choice: Choice
    needs: tuple[RepoId, ...]
    notices: tuple[str, ...]


def lock_model(request: Request, hub: Hub, before: Model | None = None) -> Locked:
    """Pin a model to the commit its revision means now.

    Digests of `before` are used again where the git sha1 is unchanged. Raises PolicyRefused, InvalidDocument with
    everything that is missing, VerificationFailed, NotFound, AccessDenied, Unavailable.
    """
    snapshot = hub.api.snapshot(request.repo, request.revision)
    files = SmallFiles(hub, snapshot, known_digests(before))
    paths = frozenset(file.path for file in snapshot.files)
    # With code first: only the documents of what may be taken are worth reading, and they say whether code is.
    files.read_documents(_choose(request, paths, snapshot.unsafe, code=True).files)
    asked = code_of(files.documents, request.repo)
    choice = _choose(request, paths, snapshot.unsafe, code=bool(asked.modules))
    documents = {path: data for path, data in files.documents.items() if path in choice.files}
    model = _model(request, snapshot, files, choice)
    code = code_of(documents, request.repo)
    _accept(model, code, choice, documents, frozenset(map(str, paths)))
    return Locked(model, choice, _needs(model, code), _notices(request, snapshot, choice, code))


def _choose(request: Request, paths: frozenset[RelPath], unsafe: tuple[tuple[str, str], ...], *, code: bool) -> Choice:
    try:
        choice = choose(paths, request.include, request.exclude, code=code)
        listed = cast("tuple[RelPath, ...]", (*paths, *(name for name, _ in unsafe)))  # names are only compared
        everything = choose(listed, request.include, request.exclude, code=code)
    except InvalidInput as error:
        raise InvalidInput(f"{request.repo}: {error}", hint=error.hint) from None
    for name, why in unsafe:
        if name in everything.files:
            raise InvalidInput(
                f"{request.repo} has the file {name!r}, {why}.",
                hint="It cannot be stored; leave it out with --exclude, or name others with --include.",
            )
    if not choice.files:
        raise InvalidInput(
            f"{request.repo}: no file is left to lock.", hint="Check --include and --exclude against the repository."
        )
    return choice


def _model(request: Request, snapshot: RemoteSnapshot, files: SmallFiles, choice: Choice) -> Model:
    return Model(
        repo=request.repo,
        revision=request.revision,
        commit=snapshot.commit,
        layouts=tuple(layout for layout in Layout if layout in request.layouts),
        files=files.entries(choice.files),
        include=request.include,
        exclude=request.exclude,
        license=snapshot.license,
        allow_pickle=request.allow_pickle,
        allow_remote_code=request.allow_remote_code,
    )


def _accept(
    model: Model, code: Code, choice: Choice, documents: Mapping[RelPath, bytes], paths: frozenset[str]
) -> None:
    if problems := policy_problems(model, code):
        raise PolicyRefused(str(model.repo), problems, hint=_hint(choice, code))
    if problems := structure_problems(model, documents, paths):
        raise InvalidDocument(str(model.repo), problems, hint="Choose files with --include and --exclude.")


def _hint(choice: Choice, code: Code) -> str:
    onnx = next((path for path, _ in choice.left_out if path.endswith(".onnx")), None)
    if onnx:
        return f"Allow it by name if you trust the repository, or take the ONNX weights with --include '{onnx}'."
    if code:
        return "Allow it by name if you trust the repository, or lock without code: --exclude '*.py'."
    return "Allow it by name if you trust the repository, or leave the file out with --exclude."


def _needs(model: Model, code: Code) -> tuple[RepoId, ...]:
    if not model.allow_remote_code or left_without_code(model.exclude, code):
        return ()
    return tuple(_repo_id(name, model.repo) for name in code.repos)


def _repo_id(name: str, asker: RepoId) -> RepoId:
    try:
        return RepoId(name)
    except ValueError as error:
        raise InvalidInput(f"{asker} asks for code of {name!r}, {error}.") from None


def _notices(request: Request, snapshot: RemoteSnapshot, choice: Choice, code: Code) -> tuple[str, ...]:
    notices = [
        f"{request.repo}: nothing matches --include {glob!r}."
        for glob in choice.unmatched
        if glob not in request.optional
    ]
    if code and left_without_code(request.exclude, code):
        notices.append(f"{request.repo} is locked without the Python it asks for; libraries that run it fail.")
    if snapshot.unsafe:
        name, why = snapshot.unsafe[0]
        notices.append(
            f"{request.repo}: {len(snapshot.unsafe)} of its files cannot be stored and are left out: {name!r}, {why}."
        )
    if snapshot.name != request.repo:
        notices.append(f"{request.repo} is called {snapshot.name} now; the lock keeps the name you asked for.")
    return tuple(notices)
