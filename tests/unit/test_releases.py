"""Which releases may go, and whether what is there is what the lock says."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from provisioner.errors import UsageError
from provisioner.ops.releases import status, summaries, to_prune
from provisioner.stores.directory import DirectoryStore
from tests.support.hub_fixture import publish, store
from tests.support.locks import lock_of, small, tree

MADE = [small(tokenizer=b"%d" % number) for number in range(4)]
NAMES = [tree(made).release_id for made in MADE]


def created(root: Path, release: str, moment: str) -> None:
    record = root / "releases" / release / "release.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"created": moment}))


@pytest.fixture
def place(tmp_path: Path) -> DirectoryStore:
    """Four releases, of which the folders' times say the opposite of the records."""
    for number, made in enumerate(MADE):
        publish(tmp_path, made, age=100 * number, activate=number == 3)
    for number, name in enumerate(NAMES):
        created(tmp_path, name, f"2026-01-0{number + 1}T00:00:00Z")
        os.utime(tmp_path / "releases" / name, (1000 - number, 1000 - number))
    return store(tmp_path)


def test_the_newest_by_their_records_stay(place: DirectoryStore) -> None:
    assert place.releases() == tuple(NAMES)
    assert [one.release for one in summaries(place)] == NAMES[::-1]
    assert to_prune(place, 1) == (NAMES[2], NAMES[1], NAMES[0])
    assert to_prune(place, 3) == (NAMES[0],)
    assert to_prune(place, 1, (NAMES[1], "absent")) == (NAMES[2], NAMES[0])
    place.activate(NAMES[0])
    assert to_prune(place, 1) == (NAMES[2], NAMES[1])


def test_an_unreadable_record_keeps_its_place_among_the_folders(place: DirectoryStore, tmp_path: Path) -> None:
    (tmp_path / "releases" / NAMES[0] / "release.json").write_text("{")
    created(tmp_path, NAMES[2], "yesterday")
    assert [one.release for one in summaries(place)] == [NAMES[0], NAMES[3], NAMES[1], NAMES[2]]


@pytest.mark.parametrize("text", ["", "nonsense\n", "0123456789ab\n"])
def test_nothing_is_pruned_while_the_active_release_is_unclear(
    place: DirectoryStore, tmp_path: Path, text: str
) -> None:
    (tmp_path / "current").write_text(text)
    with pytest.raises(UsageError) as caught:
        to_prune(place, 1)
    assert "releases activate" in caught.value.hint
    assert len(place.releases()) == 4


def test_without_any_active_release_the_newest_stay(place: DirectoryStore, tmp_path: Path) -> None:
    (tmp_path / "current").unlink()
    assert to_prune(place, 2) == (NAMES[1], NAMES[0])


def test_another_release_under_the_name_is_not_the_one(place: DirectoryStore, tmp_path: Path) -> None:
    assert status(place, lock_of(MADE[0])).present
    shutil.rmtree(tmp_path / "releases" / NAMES[0])
    shutil.copytree(tmp_path / "releases" / NAMES[1], tmp_path / "releases" / NAMES[0])
    found = status(place, lock_of(MADE[0]))
    assert not found.present
    assert found.problem
