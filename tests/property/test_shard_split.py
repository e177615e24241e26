"""Whatever the lock and however many shards: every content in exactly one part, and a whole release at the end."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from provisioner.model import Tree
from provisioner.ops.execute import Settings
from provisioner.ops.shards import Together, transfer_together
from provisioner.plan.shards import Shard, contents, split
from provisioner.ports.events import silent
from tests.support.hub_fixture import make
from tests.support.locks import MemorySource, document, tree
from tests.support.stores import QUICK, DirectoryBackend, findings

SIZES = st.lists(st.integers(0, 50), min_size=1, max_size=12)


def made_of(sizes: list[int]) -> dict[str, bytes]:
    """Files of these sizes, most of them different."""
    return {f"f{number:02}.bin": (b"%02d" % number * 25)[:size] for number, size in enumerate(sizes)}


@given(SIZES, st.integers(1, 20), st.randoms(use_true_random=False))
@settings(max_examples=100)
def test_every_content_is_in_one_part_and_no_part_is_far_from_another(
    sizes: list[int], count: int, chance: random.Random
) -> None:
    wanted = tree(make("org/one", made_of(sizes)))
    parts, known = split(wanted, count), contents(wanted)
    assert len(parts) == count
    assert sorted(digest for part in parts for digest in part.digests) == sorted(known)
    for part in parts:
        assert part.bytes == sum(known[digest] for digest in part.digests)
    loads = [part.bytes for part in parts]
    assert max(loads) - min(loads) <= max(known.values())
    entries = list(wanted.entries)
    chance.shuffle(entries)
    assert split(Tree(tuple(entries)), count) == parts


@given(SIZES, st.integers(2, 4), st.data())
@settings(max_examples=12)
def test_shards_in_any_order_make_one_release_and_move_every_byte_once(
    sizes: list[int], count: int, data: st.DataObject
) -> None:
    made = make("org/one", made_of(sizes))
    order = data.draw(st.permutations(range(1, count)))
    lost = data.draw(st.sets(st.sampled_from(range(1, count))))
    source = MemorySource(made)
    with tempfile.TemporaryDirectory() as folder:
        backend = DirectoryBackend(Path(folder, "store"))
        backend.open().create()
        for index in (*(index for index in order if index not in lost), 0, *lost):
            how = Together(Shard(index, count), lambda: (source,), Settings(2, QUICK), silent, "mirror", 0.0)
            report, shard = transfer_together(document(made), backend.open(), how)
            assert report.changed is (index == 0)
            assert shard.was_there is (index in lost)
            assert backend.open().releases() == ((tree(made).release_id,) if index == 0 or index in lost else ())
        assert sorted(path for path, _, _ in source.asked) == sorted({path for path, _, _ in source.asked})
        assert sum(stop - start for _, start, stop in source.asked) == sum(contents(tree(made)).values())
        assert findings(backend.open(), tree(made).release_id) == {}
        assert backend.unfinished() == []
