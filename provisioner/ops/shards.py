"""Several processes that fill one store together: each builds its part, number 0 takes all and publishes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from provisioner.errors import ProvisionError
from provisioner.ops.documents import LockDocument
from provisioner.ops.execute import Execution, Settings, Tally
from provisioner.ops.transfer import TransferReport, carry_out, prepare, require_room
from provisioner.ops.waiting import await_others
from provisioner.plan import Plan
from provisioner.plan.shards import Part, Shard, part_of, split
from provisioner.ports.events import Finished, Notice, Observer, Started
from provisioner.ports.source import Source
from provisioner.ports.store import Store


@dataclass(frozen=True, slots=True)
class ShardReport:
    """What was this process's of a release.

    Attributes:
        files, bytes: its part; equal contents count once, whether they were moved now or before.
        was_there: whether the release was there before anything was done.
        waited: seconds until the others had brought theirs.
        taken_over: bytes of others' parts that came from sources all the same, for they were missing or damaged.
    """

    index: int
    count: int
    files: int
    bytes: int
    was_there: bool = False
    waited: float = 0.0
    taken_over: int = 0

    @classmethod
    def of(cls, work: Plan, shard: Shard, part: Part) -> ShardReport:
        """Before anything was done."""
        return cls(shard.index, shard.count, len(part.digests), part.bytes, work.is_empty)


@dataclass(frozen=True, slots=True)
class Together:
    """How one of several processes works.

    Attributes:
        patience: seconds without a new byte in the store after which number 0 waits no longer.
    """

    shard: Shard
    sources: Callable[[], Sequence[Source]]
    settings: Settings
    observer: Observer
    task: str
    patience: float


def transfer_together(document: LockDocument, store: Store, how: Together) -> tuple[TransferReport, ShardReport]:
    """Do one shard's part of a transfer; number 0 then waits for the others, takes what they built and publishes.

    The others publish nothing. Raises what `carry_out` and `prepare` raise.
    """
    work = prepare(document, store)
    shard = ShardReport.of(work, how.shard, split(work.tree, how.shard.count)[how.shard.index])
    if work.is_empty:
        return carry_out(work, document, store, (), how.settings, how.observer, how.task), shard
    if how.shard.index:
        return build_part(work, store, how.sources(), how), shard
    return _publish(work, document, store, how, shard)


def build_part(work: Plan, store: Store, sources: Sequence[Source], how: Together) -> TransferReport:
    """Build one shard's part, verified as always, and let go of it, so that number 0 may take it.

    Raises StoreFull before the first byte when there is no room, and whatever stopped it.
    """
    begin, part, tally = time.monotonic(), part_of(work, how.shard), Tally()
    if not part.is_empty:
        require_room(_to_fit(work, part), store)
        how.observer(Started(how.task, len(part.actions), sum(action.entries[0].size for action in part.actions)))
        _fill(part, store, Execution(sources, how.settings, how.observer, tally))
        how.observer(Finished(how.task))
    mine = split(work.tree, how.shard.count)[how.shard.index]
    return TransferReport(
        store.name,
        work.tree.release_id,
        False,
        len(mine.digests),
        mine.bytes,
        tally.moved,
        0,
        tally.resumed,
        time.monotonic() - begin,
        tally.origins,
    )


def _to_fit(work: Plan, part: Plan) -> Plan:
    """What must fit before the first byte: everything, so that a full volume ends it early.

    But once others have begun, what they wrote and what is free are not seen at one moment; then only the own part.
    """
    begun = work.bytes_resumed or (work.repeats_cost and work.bytes_shared)
    return part if begun else work


def _fill(part: Plan, store: Store, execution: Execution) -> None:
    build = store.build(part.tree)
    try:
        execution.run(part, build)
    except ProvisionError as error:
        if part.tree.release_id not in store.releases():
            raise
        execution.observer(Notice(f"The release was published while this shard stopped: {error}"))
    finally:
        build.close()
    if part.tree.release_id in store.releases():  # number 0 did not wait, so nobody will take this any more
        store.sweep(part.tree.release_id)


def _publish(
    work: Plan, document: LockDocument, store: Store, how: Together, shard: ShardReport
) -> tuple[TransferReport, ShardReport]:
    sources = how.sources()
    sign_of_life = store.build(work.tree)  # while there is one, a prune leaves the other shards' work alone
    try:
        own = build_part(work, store, sources, how)
        begin = time.monotonic()
        await_others(store, work.tree, how.patience, how.observer)
        waited = time.monotonic() - begin
        rest = carry_out(prepare(document, store), document, store, sources, how.settings, how.observer, how.task)
    finally:
        sign_of_life.close()
    return _sum(own, rest, waited), replace(shard, waited=waited, taken_over=rest.moved)


def _sum(own: TransferReport, rest: TransferReport, waited: float) -> TransferReport:
    """The transfer as a whole; its own part was taken up once more like that of the others."""
    origins = dict(own.origins)
    for name, (files, size) in rest.origins.items():
        before = origins.get(name, (0, 0))
        origins[name] = (before[0] + files, before[1] + size)
    return replace(
        rest,
        moved=own.moved + rest.moved,
        resumed=own.resumed + max(rest.resumed - own.moved - own.resumed, 0),
        seconds=own.seconds + waited + rest.seconds,
        origins=origins,
    )
