"""The endpoint against the real huggingface_hub."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3
from huggingface_hub import HfApi, get_hf_file_metadata, hf_hub_download, hf_hub_url, snapshot_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import http_get
from huggingface_hub.hf_api import RepoFile, RepoFolder

from provisioner.hub import running
from tests.support.hub_fixture import git_blob_id, make, publish, store
from tests.support.patience import PATIENCE

WEIGHTS = random.Random(1).randbytes(5_000_003)
CONTENT = {
    "README.md": b"# A model\n",
    "config.json": b'{"model_type": "bert"}',
    "empty.txt": b"",
    "model.safetensors": WEIGHTS,
    "1_Pooling/config.json": b'{"pooling": true}',
    "onnx/deep/er/model.onnx": WEIGHTS[:70_000],
    "onnx/café #1 100%41.json": b"{}",
}
ORG = make("org/model", CONTENT, revision="v1.0")
LEGACY = make("gpt2", {"config.json": b"{}", "resolve/main/config.json": b'{"nested": 1}'}, revision="refs/pr/1")
MANY = make("org/many", {f"d{i % 7}/{i:04}.json": b"%d" % i for i in range(2500)})
COMMIT = str(ORG.model.commit)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    root = tmp_path_factory.mktemp("store")
    publish(root, ORG, LEGACY, MANY)
    with running(store(root)) as url:
        yield url


@pytest.fixture
def api(url: str) -> HfApi:
    return HfApi(endpoint=url, token=False)


def content_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.relative_to(folder).parts[0] != ".cache"
    }


@pytest.mark.parametrize("revision", [[], ["--revision", "v1.0"], ["--revision", COMMIT]])
def test_the_download_command(url: str, tmp_path: Path, revision: list[str]) -> None:
    hf = shutil.which("hf", path=str(Path(sys.executable).parent))
    assert hf, "huggingface_hub brings its command along"
    clean = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    environment = clean | {"HF_ENDPOINT": url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_TELEMETRY": "1"}
    environment |= dict.fromkeys(("HF_HUB_DOWNLOAD_TIMEOUT", "HF_HUB_ETAG_TIMEOUT"), f"{PATIENCE:.0f}")
    target = ["--local-dir", str(tmp_path / "model")]
    done = subprocess.run(
        [hf, "download", "org/model", *revision, *target],
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    assert content_of(tmp_path / "model") == CONTENT


@pytest.mark.parametrize("revision", [None, "main", "v1.0", COMMIT])
def test_snapshot(url: str, tmp_path: Path, revision: str | None) -> None:
    found = snapshot_download("org/model", revision=revision, endpoint=url, cache_dir=tmp_path, token=False)
    assert Path(found).name == COMMIT
    assert content_of(Path(found)) == CONTENT
    names = {path.name for path in (tmp_path / "models--org--model" / "blobs").iterdir()}
    assert {str(file.git_sha1 or file.sha256) for file in ORG.model.files} == names


def test_snapshot_of_some_files(url: str, tmp_path: Path) -> None:
    found = snapshot_download(
        "org/model",
        allow_patterns=["*.json"],
        ignore_patterns=["onnx/*"],
        endpoint=url,
        cache_dir=tmp_path,
        token=False,
    )
    assert set(content_of(Path(found))) == {"config.json", "1_Pooling/config.json"}


def test_snapshot_of_many_files_in_pages(url: str, tmp_path: Path) -> None:
    found = snapshot_download("org/many", allow_patterns="d6/*", endpoint=url, cache_dir=tmp_path, token=False)
    assert content_of(Path(found)) == {path: data for path, data in MANY.content.items() if path.startswith("d6/")}


@pytest.mark.parametrize("name", list(CONTENT))
def test_one_file(url: str, tmp_path: Path, name: str) -> None:
    found = hf_hub_download("org/model", name, endpoint=url, cache_dir=tmp_path, token=False)
    assert Path(found).read_bytes() == CONTENT[name]


@pytest.mark.parametrize("revision", ["main", "refs/pr/1", str(LEGACY.model.commit)])
@pytest.mark.parametrize("name", list(LEGACY.content))
def test_a_repository_without_an_organisation(url: str, tmp_path: Path, revision: str, name: str) -> None:
    found = hf_hub_download("gpt2", name, revision=revision, endpoint=url, cache_dir=tmp_path, token=False)
    assert Path(found).read_bytes() == LEGACY.content[name]


@pytest.mark.parametrize("revision", [None, "main", "v1.0", COMMIT])
def test_model_info(api: HfApi, revision: str | None) -> None:
    info = api.model_info("org/model", revision=revision, files_metadata=True)
    assert (info.id, info.sha, info.author) == ("org/model", COMMIT, "org")
    assert (info.private, info.gated, info.disabled) == (False, False, False)
    assert info.card_data is not None
    assert info.card_data.license == "apache-2.0"
    assert info.tags == ["license:apache-2.0"]
    assert info.siblings is not None
    assert {sibling.rfilename: sibling.size for sibling in info.siblings} == {k: len(v) for k, v in CONTENT.items()}
    for sibling, file in zip(info.siblings, ORG.model.files, strict=True):
        assert (sibling.lfs is None) == (file.git_sha1 is not None)
        if sibling.lfs:
            assert (sibling.lfs.sha256, sibling.lfs.size) == (file.sha256, file.size)
        else:
            assert sibling.blob_id == file.git_sha1


def test_the_blob_id_of_an_lfs_file_is_that_of_its_pointer(api: HfApi) -> None:
    (found,) = api.get_paths_info("org/model", ["model.safetensors"])
    assert isinstance(found, RepoFile)
    assert found.lfs is not None
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{found.lfs.sha256}\nsize {len(WEIGHTS)}\n"
    assert found.blob_id == git_blob_id(pointer.encode())
    assert found.lfs.pointer_size == len(pointer)


@pytest.mark.parametrize("expand", [False, True])
def test_tree(api: HfApi, expand: bool) -> None:
    listed = list(api.list_repo_tree("org/model", recursive=True, expand=expand))
    files = {entry.path: entry for entry in listed if isinstance(entry, RepoFile)}
    assert {path: file.size for path, file in files.items()} == {path: len(data) for path, data in CONTENT.items()}
    assert {entry.path for entry in listed if isinstance(entry, RepoFolder)} == {
        "1_Pooling",
        "onnx",
        "onnx/deep",
        "onnx/deep/er",
    }
    for file in ORG.model.files:
        lfs = files[file.path].lfs
        assert (lfs.sha256 if lfs else files[file.path].blob_id) == (file.git_sha1 or file.sha256)


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        (None, {"1_Pooling", "README.md", "config.json", "empty.txt", "model.safetensors", "onnx"}),
        ("onnx", {"onnx/deep", "onnx/café #1 100%41.json"}),
        ("onnx/deep/er", {"onnx/deep/er/model.onnx"}),
    ],
)
def test_tree_of_one_folder(api: HfApi, folder: str | None, expected: set[str]) -> None:
    assert {entry.path for entry in api.list_repo_tree("org/model", folder)} == expected


def test_tree_in_pages(api: HfApi) -> None:
    listed = [entry.path for entry in api.list_repo_tree("org/many", recursive=True)]
    assert listed == sorted({*MANY.content, *(f"d{i}" for i in range(7))})


def test_paths_info(api: HfApi) -> None:
    found = api.get_paths_info(
        "org/model", ["onnx", "config.json", "absent", "onnx/café #1 100%41.json"], revision="v1.0"
    )
    assert [(entry.path, type(entry)) for entry in found] == [
        ("onnx", RepoFolder),
        ("config.json", RepoFile),
        ("onnx/café #1 100%41.json", RepoFile),
    ]


def test_refs(api: HfApi) -> None:
    refs = api.list_repo_refs("org/model")
    assert [(ref.name, ref.ref, ref.target_commit) for ref in refs.branches] == [("main", "refs/heads/main", COMMIT)]
    assert [(ref.name, ref.ref, ref.target_commit) for ref in refs.tags] == [("v1.0", "refs/tags/v1.0", COMMIT)]
    pulls = api.list_repo_refs("gpt2", include_pull_requests=True).pull_requests
    assert pulls is not None
    assert [(ref.name, ref.ref) for ref in pulls] == [("1", "refs/pr/1")]


def test_existence(api: HfApi) -> None:
    assert api.repo_exists("org/model")
    assert not api.repo_exists("org/other")
    assert not api.repo_exists("org/model", repo_type="dataset")
    assert api.revision_exists("org/model", "v1.0")
    assert not api.revision_exists("org/model", "v2.0")
    assert api.file_exists("org/model", "onnx/deep/er/model.onnx")
    assert not api.file_exists("org/model", "onnx/deep/er")
    assert not api.file_exists("org/model", "vocab.txt")


@pytest.mark.parametrize("name", ["config.json", "empty.txt", "model.safetensors"])
def test_file_metadata(url: str, name: str) -> None:
    found = get_hf_file_metadata(
        hf_hub_url("org/model", name, revision="v1.0", endpoint=url), endpoint=url, token=False
    )
    locked = next(file for file in ORG.model.files if file.path == name)
    assert (found.commit_hash, found.size, found.etag) == (COMMIT, locked.size, locked.git_sha1 or locked.sha256)
    assert found.xet_file_data is None


def test_what_is_missing_has_the_clients_own_errors(url: str, api: HfApi, tmp_path: Path) -> None:
    options = {"endpoint": url, "cache_dir": tmp_path, "token": False}
    with pytest.raises(RepositoryNotFoundError):
        hf_hub_download("org/other", "config.json", **options)
    with pytest.raises(RevisionNotFoundError):
        hf_hub_download("org/model", "config.json", revision="v2.0", **options)
    with pytest.raises(EntryNotFoundError):
        hf_hub_download("org/model", "vocab.txt", **options)
    with pytest.raises(RepositoryNotFoundError):
        api.model_info("nobody")
    with pytest.raises(RevisionNotFoundError):
        api.model_info("org/model", revision="0" * 40)
    with pytest.raises(EntryNotFoundError):
        list(api.list_repo_tree("org/model", "absent"))
    with pytest.raises(RevisionNotFoundError):
        snapshot_download("org/model", revision="refs/pr/9", **options)
    assert not list(tmp_path.rglob("*.incomplete"))


def test_listing_models(api: HfApi) -> None:
    assert [model.id for model in api.list_models()] == ["gpt2", "org/many", "org/model"]
    assert [model.id for model in api.list_models(search="MOD")] == ["org/model"]
    assert [model.id for model in api.list_models(author="org", limit=1)] == ["org/many"]
    assert [model.id for model in api.list_models(filter="license:mit")] == []


def test_there_are_no_users(api: HfApi) -> None:
    with pytest.raises(HfHubHTTPError) as raised:
        api.whoami(token="hf_anything")
    assert raised.value.response.status_code == 401


def test_writing_is_refused(api: HfApi) -> None:
    with pytest.raises(HfHubHTTPError) as raised:
        api.create_repo("org/new", token="hf_anything")
    assert raised.value.response.status_code == 405


def test_a_client_that_begins_with_one_byte(url: str) -> None:
    """The Rust client learns size, commit and etag from `GET` with `Range: bytes=0-0`, then asks for parts."""
    http = urllib3.PoolManager()
    address = f"{url}/org/model/resolve/main/model.safetensors"
    first = http.request("GET", address, headers={"Range": "bytes=0-0"})
    assert (first.status, first.data) == (206, WEIGHTS[:1])
    assert first.headers["x-repo-commit"] == COMMIT
    assert first.headers["x-linked-etag"] == f'"{hashlib.sha256(WEIGHTS).hexdigest()}"'
    size = int(first.headers["content-range"].rpartition("/")[2])
    step = 1_500_000
    parts = [
        http.request("GET", address, headers={"Range": f"bytes={start}-{min(start + step, size) - 1}"}).data
        for start in range(0, size, step)
    ]
    assert b"".join(parts) == WEIGHTS
    http.clear()


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_curl_resumes(url: str, tmp_path: Path) -> None:
    target = tmp_path / "weights"
    target.write_bytes(WEIGHTS[:3_000_001])
    address = f"{url}/org/model/resolve/{COMMIT}/model.safetensors"
    subprocess.run(["curl", "-sSf", "-C", "-", "-o", str(target), address], check=True, timeout=PATIENCE)
    assert target.read_bytes() == WEIGHTS


def test_the_python_client_resumes(url: str, tmp_path: Path) -> None:
    target = tmp_path / "weights"
    target.write_bytes(WEIGHTS[:4_000_000])
    with target.open("ab") as file:
        http_get(f"{url}/org/model/resolve/main/model.safetensors", file, resume_size=4_000_000)
    assert target.read_bytes() == WEIGHTS
