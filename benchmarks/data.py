"""The models that are moved: `large` (4 shards and 10 small files), `small` (2,000 files in 50 folders), `tiny` (20,000
files of 1 KiB in as many).

Run as a script (`python -m benchmarks.data ROOT full|small`): the lock's libraries would otherwise swell the process
that measures, and a child's peak RSS starts at its parent's.

    ROOT/models/NAME/...    the files
    ROOT/api/NAME/          revision.json, tree.json: what the Hub's API says of them
    ROOT/NAME.lock          the lock, written by provisioner.lockfile
    ROOT/maps.conf          the headers that the hub sends with each file, for nginx
    ROOT/manifest.json      name -> commit, number of files, bytes
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.shards import SHARDS, shard_name
from provisioner.lockfile import dump
from provisioner.model import (
    Commit,
    Digest,
    FileEntry,
    GitSha1,
    Layout,
    Lock,
    Model,
    RelPath,
    RepoId,
    Revision,
)

MIB = 2**20
BLOCK = 16 * MIB
COMMITS = {"large": "a" * 40, "small": "b" * 40, "tiny": "c" * 40}


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of everything: shard size in bytes, folders, files in each of `small` (`tiny`: ten times as many)."""

    shard: int
    folders: int
    files: int


SCALES = {"full": Scale(512 * MIB, 50, 40), "small": Scale(16 * MIB, 5, 20)}


def large(scale: Scale) -> Iterator[tuple[str, Iterator[bytes]]]:
    rng = random.Random(1)
    shards = [shard_name(index) for index in range(SHARDS)]
    for name in shards:
        yield name, (rng.randbytes(BLOCK) for _ in range(scale.shard // BLOCK))
    index = {"metadata": {}, "weight_map": {f"layer.{n}": name for n, name in enumerate(shards)}}
    yield "model.safetensors.index.json", iter([json.dumps(index).encode()])
    yield "config.json", iter([b'{"model_type": "bench"}'])
    for n in range(8):
        yield f"extra_{n}.json", iter([json.dumps({"n": n, "text": rng.randbytes(3000).hex()}).encode()])


def small(scale: Scale) -> Iterator[tuple[str, Iterator[bytes]]]:
    rng = random.Random(2)
    for folder in range(scale.folders):
        for file in range(scale.files):
            yield f"part-{folder:02}/{file:04}.txt", iter([rng.randbytes(rng.randint(4, 64) * 1024)])


def tiny(scale: Scale) -> Iterator[tuple[str, Iterator[bytes]]]:
    rng = random.Random(3)
    for folder in range(scale.folders):
        for file in range(10 * scale.files):
            yield f"part-{folder:02}/{file:04}.txt", iter([rng.randbytes(1024)])


MODELS = {"large": large, "small": small, "tiny": tiny}


def write(path: Path, name: str, blocks: Iterator[bytes]) -> FileEntry:
    """One file, with the names that the Hub has for it: LFS files a sha256, the others a git sha1."""
    path.parent.mkdir(parents=True, exist_ok=True)
    digest, size = hashlib.sha256(), 0
    with path.open("wb") as file:
        for block in blocks:
            file.write(block)
            digest.update(block)
            size += len(block)
    lfs = name.endswith(".safetensors")
    git = None if lfs else hashlib.sha1(b"blob %d\0" % size + path.read_bytes()).hexdigest()
    return FileEntry(RelPath(name), size, Digest(digest.hexdigest()), GitSha1(git) if git else None)


def tree_item(file: FileEntry) -> dict[str, object]:
    item: dict[str, object] = {"type": "file", "path": file.path, "size": file.size}
    if file.git_sha1:
        return item | {"oid": file.git_sha1}
    return item | {"oid": file.sha256[:40], "lfs": {"oid": file.sha256, "size": file.size, "pointerSize": 135}}


def describe(root: Path, name: str, files: tuple[FileEntry, ...]) -> dict[str, object]:
    """The lock and the API's answers of one model; returns its part of the manifest."""
    repo, commit = RepoId(f"bench/{name}"), Commit(COMMITS[name])
    model = Model(repo, Revision("main"), commit, (Layout.HUB,), files)
    (root / f"{name}.lock").write_bytes(dump(Lock((model,))))
    api = root / "api" / name
    api.mkdir(parents=True, exist_ok=True)
    info = {"id": repo, "modelId": repo, "sha": commit, "private": False, "tags": []}
    siblings = [{"rfilename": file.path} for file in files]
    (api / "revision.json").write_text(json.dumps(info | {"siblings": siblings}))
    (api / "tree.json").write_text(json.dumps([tree_item(file) for file in files]))
    return {"commit": commit, "files": len(files), "bytes": sum(file.size for file in files)}


def maps(models: Mapping[str, tuple[FileEntry, ...]]) -> str:
    """The per-file headers: a path below models/ -> ETag, size and commit."""
    every = [(f'"{name}/{file.path}"', file) for name, files in models.items() for file in files]
    tables = {
        "etag": [f"{path} '\"{file.git_sha1 or file.sha256}\"';" for path, file in every],
        "size": [f"{path} {file.size};" for path, file in every],
        "commit": [f'"~^{name}/" {COMMITS[name]};' for name in models],
    }
    return "".join(f"map $bench_file $bench_{key} {{\n{chr(10).join(rows)}\n}}\n" for key, rows in tables.items())


def main(root: Path, scale: Scale) -> None:
    manifest, models = {}, {}
    for name, contents in MODELS.items():
        folder = root / "models" / name
        models[name] = tuple(write(folder / path, path, blocks) for path, blocks in contents(scale))
        manifest[name] = describe(root, name, models[name])
    (root / "maps.conf").write_text(maps(models))
    (root / "manifest.json").write_text(json.dumps(manifest))  # last: it says that the rest is whole


if __name__ == "__main__":
    main(Path(sys.argv[1]), SCALES[sys.argv[2]])
