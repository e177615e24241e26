"""Waiting for what other processes do to a store."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

from provisioner.errors import NotFound, ProvisionError, Unavailable
from provisioner.model import Digest, Tree
from provisioner.plan.shards import contents
from provisioner.ports.events import Notice, Observer
from provisioner.ports.store import Observed, Store
from provisioner.record import is_release_id

SAY_SECONDS = 30.0
LOOK_SECONDS = 5.0  # between two looks, once the wait is long
LET_GO_SECONDS = 10.0
ANSWER_SECONDS = 10.0  # that a look may take, however short the wait is


def pause(waited: float) -> float:
    """Seconds until the next look: short at first, for most waits are."""
    return min(LOOK_SECONDS, max(0.1, waited / 10))


def await_release(
    open_store: Callable[[], Store], release: str | None, seconds: float, observer: Observer, place: str
) -> None:
    """Return once a release, or any active one, is published; a store that is not there yet is waited for too.

    Raises NotFound when the time is over, and at once for what can be no release; AccessDenied, StoreError.
    """
    if release and not is_release_id(release):
        hint = f"See: provision releases list --at {place}"
        raise NotFound(f"{release!r} is not the name of a release.", hint=hint)
    what = f"release {release}" if release else "an active release"
    begin, said = time.monotonic(), -SAY_SECONDS
    while problem := _look(open_store, release, seconds - (time.monotonic() - begin)):
        waited = time.monotonic() - begin
        if waited >= seconds:
            raise NotFound(
                f"{place} has not got {what} within {seconds:g} s: {problem}",
                hint="See what the mirror that fills it says, or whether this is the volume that it fills.",
            )
        if waited - said >= SAY_SECONDS:
            said = waited
            observer(Notice(f"Waiting for {what} in {place}."))
        time.sleep(min(pause(waited), seconds - waited))


def _look(open_store: Callable[[], Store], release: str | None, left: float) -> str:
    """What is in its way; nothing when it is there."""

    def is_there() -> bool:
        store = open_store()
        return (release or store.active()) in store.releases()

    try:
        return "" if _within(is_there, max(left, ANSWER_SECONDS)) else "it is not published."
    except TimeoutError:
        return "the store does not answer."
    except ProvisionError as error:
        if not (isinstance(error, NotFound | Unavailable) or is_passing(error)):
            raise
        return str(error)


def _within(ask: Callable[[], bool], seconds: float) -> bool:
    """The answer. Raises TimeoutError without one: a client is patient with a silent server, for minutes."""
    answer: Future[bool] = Future()

    def run() -> None:
        try:
            answer.set_result(ask())
        except BaseException as error:
            answer.set_exception(error)

    threading.Thread(target=run, name="look", daemon=True).start()  # a daemon does not hold the exit up
    return answer.result(seconds)


def is_passing(error: ProvisionError) -> bool:
    """Whether the next look may succeed. EIO is what a soft NFS mount says while its server is away."""
    cause = error.__cause__
    return error.retryable or (isinstance(cause, OSError) and cause.errno == errno.EIO)


@dataclass
class _Others:
    """What the other shards have brought so far, look by look."""

    tree: Tree
    sizes: dict[Digest, int]
    missing: dict[Digest, int] = field(default_factory=dict)
    begun: int = 0
    changed: float = 0.0
    complete: float | None = None

    def look(self, observed: Observed, now: float) -> None:
        """Note what there is; any change is a sign of life, for a file may also begin anew."""
        missing = {digest: size for digest, size in self.sizes.items() if digest not in observed.held}
        begun = sum(observed.partial.get(digest, 0) for digest in missing)
        if (missing, begun) != (self.missing, self.begun):
            self.missing, self.begun, self.changed = missing, begun, now
        self.complete = (self.complete or now) if not missing else None

    def is_done(self, observed: Observed, now: float) -> bool:
        """Whether everything can be taken.

        Without hard links what a living process holds must be copied; the last shard is just about to let go of it.
        """
        if self.complete is None:
            return False
        lent = any(digest in self.sizes and not held.movable for digest, held in observed.held.items())
        return observed.capabilities.hard_links or not lent or now - self.complete >= LET_GO_SECONDS

    def sentence(self) -> str:
        missing = sum(self.missing.values()) - self.begun
        files = "1 file" if len(self.missing) == 1 else f"{len(self.missing)} files"
        return f"Waiting for the other shards: {missing} of {sum(self.sizes.values())} bytes are missing, in {files}."


@dataclass
class _Watch:
    """Looks at a store whose server may be away for a moment, though not for longer than `patience` seconds."""

    store: Store
    tree: Tree
    patience: float
    observer: Observer
    failing: float | None = None

    def look(self) -> Observed | None:
        """None when it could not be seen now. Raises StoreError, Unavailable."""
        try:
            observed = self.store.observe(self.tree)
        except ProvisionError as error:
            now = time.monotonic()
            if not is_passing(error) or (self.failing is not None and now - self.failing >= self.patience):
                raise
            if self.failing is None:
                self.failing = now
                self.observer(Notice(f"The store is looked at again: {error}"))
            return None
        self.failing = None
        return observed


def await_others(store: Store, tree: Tree, patience: float, observer: Observer) -> None:
    """Return once the store holds everything of a tree, or nothing has changed for `patience` seconds.

    What was never begun, because its pod was lost or never started, is the publisher's then. Raises StoreError, and
    Unavailable when the store could not be seen for so long.
    """
    begin = time.monotonic()
    others, said = _Others(tree, contents(tree), changed=begin), begin
    watch = _Watch(store, tree, patience, observer)
    while True:
        looked = time.monotonic()
        observed = watch.look()
        now = time.monotonic()
        if observed is not None:
            others.look(observed, now)
            if observed.published or observed.damage or others.is_done(observed, now):
                return
            if now - others.changed >= patience and others.missing:
                observer(Notice(f"Nothing has come for {patience:g} s. What is missing is fetched here instead."))
                return
            if now - said >= SAY_SECONDS and others.missing:
                said = now
                observer(Notice(others.sentence()))
        time.sleep(max(pause(now - begin), now - looked))  # many builds over a slow network take long to look at
