"""Locking against a real HTTP hub, through the real huggingface_hub client."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import pytest

from provisioner.errors import InvalidDocument, InvalidInput, NotFound, PolicyRefused, UsageError, VerificationFailed
from provisioner.lockfile import diff
from provisioner.model import Layout, Lock, RepoId, Revision
from provisioner.ops import lock_edits
from provisioner.ops.locking import Request
from provisioner.ops.small_files import Hub
from provisioner.sources.hub import HubSource
from provisioner.sources.hub_api import HubApi
from tests.support.tiny_hub import Reply, TinyHub, git_sha1

EMPTY = Lock(())
PLAIN: dict[str, Any] = {
    "config.json": {"architectures": ["BertModel"]},
    "model.safetensors": b"weights",
    "tokenizer.json": {},
}


@pytest.fixture
def hub() -> Iterator[TinyHub]:
    with TinyHub() as server:
        server.add("org/plain", PLAIN, card={"license": "mit"})
        yield server


def ends(hub: TinyHub) -> Hub:
    return Hub(HubApi(hub.url, attempts=2, sleep=lambda _: None), HubSource(hub.url).read)


def wanted(repo: str, **more: Any) -> Request:
    return Request(RepoId(repo), **more)


def add(hub: TinyHub, *requests: Request, lock: Lock = EMPTY) -> lock_edits.Edited:
    return lock_edits.add(lock, requests, ends(hub))


def test_a_model_is_pinned_with_every_digest(hub: TinyHub) -> None:
    (model,) = add(hub, wanted("org/plain", layouts=(Layout.FLAT, Layout.HUB))).lock.models
    repo = hub.repos["org/plain"]
    assert (model.repo, model.revision, model.commit, model.license) == ("org/plain", "main", repo.commit, "mit")
    assert model.layouts == (Layout.HUB, Layout.FLAT)
    for file in model.files:
        data = repo.content[file.path]
        lfs = file.path == "model.safetensors"
        assert (file.size, file.sha256) == (len(data), hashlib.sha256(data).hexdigest())
        assert file.git_sha1 == (None if lfs else git_sha1(data))


def test_weights_are_not_read_and_everything_is_of_one_commit(hub: TinyHub) -> None:
    add(hub, wanted("org/plain"))
    assert len(hub.paths("/api/")) == 1
    resolved = hub.paths("/resolve/")
    assert {path.rpartition("/")[2] for path in resolved} == {"config.json", "tokenizer.json"}
    assert all(hub.repos["org/plain"].commit in path for path in resolved)


def test_locking_twice_gives_the_same_lock_and_an_update_reads_only_documents_again(hub: TinyHub) -> None:
    first = add(hub, wanted("org/plain")).lock
    hub.asked.clear()
    assert lock_edits.update(first, first.models, ends(hub)).lock == first
    assert [path.rpartition("/")[2] for path in hub.paths("/resolve/")] == ["config.json"]


def test_an_update_follows_the_revision_and_keeps_the_rest(hub: TinyHub) -> None:
    first = add(hub, wanted("org/plain", exclude=("*.md",), layouts=(Layout.FLAT,))).lock
    hub.repos["org/plain"].content |= {"model.safetensors": b"better", "README.md": b"new", "vocab.txt": b"v"}
    second = lock_edits.update(first, first.models, ends(hub)).lock
    (change,) = diff(first, second)
    assert [(f.path, f.before is None) for f in change.files] == [("model.safetensors", False), ("vocab.txt", True)]
    assert second.models[0].layouts == (Layout.FLAT,)
    pinned = Revision(first.models[0].commit)
    with pytest.raises(NotFound):  # a pin to a commit that the hub no longer has
        add(hub, wanted("org/plain", revision=pinned))


def test_bytes_that_are_not_the_listed_ones_are_refused(hub: TinyHub) -> None:
    hub.always("tokenizer.json$", Reply(200, b"[]"))
    with pytest.raises(VerificationFailed, match=r"org/plain: tokenizer\.json is not what the Hub lists"):
        add(hub, wanted("org/plain"))


def test_a_listing_without_lfs_digests_for_large_files_is_refused(hub: TinyHub) -> None:
    listing = hub.repos["org/plain"].info()
    listing["siblings"] = [{"rfilename": "model.safetensors", "size": 2**40, "blobId": "0" * 40}]
    hub.always("/api/", Reply(200, json.dumps(listing).encode()))
    with pytest.raises(InvalidInput, match="gives no sha256"):
        add(hub, wanted("org/plain"))
    assert hub.paths("/resolve/") == []


def test_a_pickle_is_refused_and_the_onnx_way_out_is_named(hub: TinyHub) -> None:
    hub.add("org/pickle", {"config.json": {}, "pytorch_model.bin": b"p", "onnx/model.onnx": b"o", "tokenizer.json": {}})
    with pytest.raises(PolicyRefused, match=r"org/pickle/pytorch_model\.bin") as caught:
        add(hub, wanted("org/pickle"))
    assert "--allow-pickle" in str(caught.value)
    assert "--include 'onnx/model.onnx'" in caught.value.hint
    assert add(hub, wanted("org/pickle", allow_pickle=True)).lock.models[0].allow_pickle


def test_a_broken_model_is_refused_with_all_that_is_missing(hub: TinyHub) -> None:
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    hub.add("org/broken", {"model.safetensors.index.json": index, "model-00001-of-00002.safetensors": b"1"})
    with pytest.raises(InvalidDocument) as caught:
        add(hub, wanted("org/broken"))
    assert {problem.place.removeprefix("org/broken/") for problem in caught.value.problems} == {
        "config.json",
        "model-00002-of-00002.safetensors",
    }
    assert "the repository does not have it" in str(caught.value)


def test_nothing_left_to_lock(hub: TinyHub) -> None:
    with pytest.raises(InvalidInput, match="no file is left"):
        add(hub, wanted("org/plain", include=("*.gguf",)))


def listed(hub: TinyHub, *names: str) -> None:
    """The repository lists these names too, which no store could hold."""
    listing = hub.repos["org/plain"].info()
    listing["siblings"] += [{"rfilename": name, "size": 1, "blobId": "0" * 40} for name in names]
    hub.always("/api/", Reply(200, json.dumps(listing).encode()))


def test_a_name_that_cannot_be_stored_is_no_obstacle_where_nobody_wants_it(hub: TinyHub) -> None:
    listed(hub, "runs/12:30:00/x", "runs/12:31:00/x")
    edited = add(hub, wanted("org/plain"))
    assert {file.path for file in edited.lock.models[0].files} == set(PLAIN)
    (notice,) = edited.notices
    assert "2 of its files cannot be stored" in notice
    assert "'runs/12:30:00/x'" in notice
    assert add(hub, wanted("org/plain", include=("*.json", "model*"))).lock.models


@pytest.mark.parametrize("name", ["../evil", "a\\b", "con.json", "a\x00b", "weights:1.safetensors"])
def test_a_name_that_cannot_be_stored_is_refused_where_it_would_be_taken(hub: TinyHub, name: str) -> None:
    listed(hub, name)
    for request in (wanted("org/plain"), wanted("org/plain", include=("*",))):
        with pytest.raises(InvalidInput) as caught:
            add(hub, request)
        assert f"has the file {name!r}" in str(caught.value)
    assert add(hub, wanted("org/plain", exclude=(name.replace("\\", "?"),))).lock.models


def test_an_included_name_that_cannot_be_stored_is_refused(hub: TinyHub) -> None:
    listed(hub, "runs/12:30:00/x")
    with pytest.raises(InvalidInput, match="12:30:00"):
        add(hub, wanted("org/plain", include=("*.json", "runs/")))


def test_a_glob_that_matches_nothing_is_noticed(hub: TinyHub) -> None:
    asked = wanted("org/plain", include=("*.json", "*.onnx", "vocab.txt"), optional=("vocab.txt",))
    assert add(hub, asked).notices == ("org/plain: nothing matches --include '*.onnx'.",)


def test_a_repository_that_moved_is_noticed(hub: TinyHub) -> None:
    hub.repos["old-name"] = hub.repos["org/plain"]
    edited = add(hub, wanted("old-name"))
    assert edited.lock.models[0].repo == "old-name"
    assert "is called org/plain now" in edited.notices[0]


REMOTE = PLAIN | {"config.json": {"auto_map": {"AutoModel": "other/code--modeling.M", "AutoConfig": "other/code--c.C"}}}
CODE: dict[str, Any] = {
    "config.json": {"auto_map": {"AutoModel": "modeling.M", "AutoTokenizer": ["third/tok--t.T", None]}},
    "modeling.py": "import helper",
    "helper.py": "",
    "model.safetensors": b"not wanted",
}


@pytest.fixture
def remote(hub: TinyHub) -> TinyHub:
    hub.add("org/remote", REMOTE)
    hub.add("other/code", CODE)
    hub.add("third/tok", {"t.py": "", "config.json": {"auto_map": {"A": "other/code--modeling.M"}}})
    return hub


def test_code_of_other_repositories_is_pinned_with_the_model_all_the_way(remote: TinyHub) -> None:
    edited = add(remote, wanted("org/remote", allow_remote_code=True, layouts=(Layout.FLAT, Layout.HUGGINGFACE)))
    files = {model.repo: [file.path for file in model.files] for model in edited.lock.models}
    assert files == {
        "org/remote": ["config.json", "model.safetensors", "tokenizer.json"],
        "other/code": ["config.json", "helper.py", "modeling.py"],
        "third/tok": ["config.json", "t.py"],
    }
    code = edited.lock.find("other/code")
    assert code is not None
    assert (code.revision, code.allow_remote_code, code.layouts) == ("main", True, (Layout.HUB, Layout.HUGGINGFACE))
    assert any("other/code is locked too: org/remote runs its Python" in notice for notice in edited.notices)


def test_remote_code_is_refused_unless_allowed_or_left_out_on_purpose(remote: TinyHub) -> None:
    with pytest.raises(PolicyRefused, match="other/code") as caught:
        add(remote, wanted("org/remote"))
    assert "--exclude '*.py'" in caught.value.hint
    edited = add(remote, wanted("org/remote", exclude=("*.py",)))
    assert [model.repo for model in edited.lock.models] == ["org/remote"]
    assert "locked without the Python it asks for" in edited.notices[0]


def test_own_python_is_taken_when_the_auto_map_asks_for_it(hub: TinyHub) -> None:
    hub.add("org/own", PLAIN | {"config.json": {"auto_map": {"A": "m.M"}}, "m.py": "", "n.py": ""})
    (model,) = add(hub, wanted("org/own", allow_remote_code=True)).lock.models
    assert {"m.py", "n.py"} <= {file.path for file in model.files}
    with pytest.raises(InvalidDocument, match=r"org/own/m\.py: missing"):
        add(hub, wanted("org/own", allow_remote_code=True, include=("*.json", "*.safetensors")))


def test_code_that_is_locked_already_is_widened_not_lost(remote: TinyHub) -> None:
    lock = add(remote, wanted("org/remote", allow_remote_code=True)).lock
    again = add(remote, wanted("org/remote", allow_remote_code=True, layouts=(Layout.HUGGINGFACE,)), lock=lock).lock
    code = again.find("other/code")
    assert code is not None
    assert code.layouts == (Layout.HUB, Layout.HUGGINGFACE)


def test_a_hostile_name_of_a_code_repository(hub: TinyHub) -> None:
    hub.add("org/evil", PLAIN | {"config.json": {"auto_map": {"A": "../../etc--m.M"}}})
    with pytest.raises(InvalidInput, match="asks for code of"):
        add(hub, wanted("org/evil", allow_remote_code=True))


def test_adding_a_model_again_extends_it(hub: TinyHub) -> None:
    lock = add(hub, wanted("org/plain", layouts=(Layout.FLAT,))).lock
    assert add(hub, wanted("org/plain"), lock=lock).lock.models[0].layouts == (Layout.HUB, Layout.FLAT)
    with pytest.raises(InvalidInput, match="another choice of files") as caught:
        add(hub, wanted("org/plain", include=("*.json",)), lock=lock)
    assert "lock remove org/plain" in caught.value.hint


def test_two_selections_of_one_repository_become_one(hub: TinyHub) -> None:
    hub.add("org/two", PLAIN | {"a.onnx": b"a", "b.onnx": b"b"})
    base = ("*.json",)
    lock = add(hub, wanted("org/two", include=(*base, "a.onnx")), wanted("org/two", include=(*base, "b.onnx"))).lock
    assert lock.models[0].include == ("*.json", "a.onnx", "b.onnx")
    assert {"a.onnx", "b.onnx"} <= {file.path for file in lock.models[0].files}


def test_finding_and_removing(hub: TinyHub) -> None:
    hub.add("other/plain", PLAIN)
    lock = add(hub, wanted("org/plain"), wanted("other/plain")).lock
    assert [m.repo for m in lock_edits.find(lock, ("ORG/plain", "org/plain"))] == ["org/plain"]
    with pytest.raises(UsageError, match="org/plain or other/plain"):
        lock_edits.find(lock, ("plain",))
    with pytest.raises(NotFound) as caught:
        lock_edits.find(lock, ("org/plane",))
    assert "Did you mean org/plain?" in caught.value.hint
    left = lock_edits.remove(lock, lock_edits.find(lock, ("org/plain",)))
    assert [model.repo for model in left.models] == ["other/plain"]


def test_check_places_problems(hub: TinyHub) -> None:
    from tests.support.models import model

    lock = Lock((*add(hub, wanted("org/plain")).lock.models, model("pytorch_model.bin", repo="z/pickle")))
    assert [str(problem) for problem in lock_edits.check(lock)] == [
        "models[1]: z/pickle/pytorch_model.bin: a pickle, which can run code when it is loaded (--allow-pickle)",
        "models[1]: z/pickle/config.json: missing: the weights need it",
    ]
