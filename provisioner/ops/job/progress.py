"""The progress of several pods as that of one work. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from provisioner.ops.job.log import Failure, Progress, Result, Said
from provisioner.ports.events import Advanced, FileDone, Finished, Notice, Observer, Retrying, Started

Key = tuple[str, int]  # a Job and the index of its pod: a pod that replaces another has the same


@dataclass(slots=True)
class _Share:
    started: Started
    shown: int = 0
    done: int = 0  # bytes of whole files
    files: int = 0
    finished: bool = False


class Sum:
    """Gives an observer what one process would: one `Started` over all, bytes, files, and one `Finished`."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._shares: dict[Key, _Share] = {}
        self._open = False

    def take(self, key: Key, pod: str, said: Said) -> None:
        """One thing that a pod said; results and failures are for others to show."""
        share = self._shares.get(key)
        match said:
            case Started():
                if share is not None and share.finished:  # one pod goes on to the next part, so that part is the work
                    self._shares = {one: held for one, held in self._shares.items() if not held.finished}
                self._shares[key] = _Share(said)
                self._begin(said.task)
            case Progress(bytes=amount) if share is not None:
                self._move(share, amount)
            case FileDone():
                self._file(share, said)
            case Finished() if share is not None:
                share.finished = True
                if all(one.finished for one in self._shares.values()):
                    self._finish(said.task)
            case Retrying() | Notice():
                self._observer(self._named(pod, said))
            case Failure() | Result():
                pass

    def tell(self, message: str) -> None:
        """Something about the Job itself."""
        self._observer(Notice(message))

    def _begin(self, task: str) -> None:
        """Again whenever a share comes or is begun anew: the whole is another one then."""
        self._finish(task)
        shares = self._shares.values()
        files = sum(one.started.files - one.files for one in shares)
        self._observer(Started(task, files, sum(one.started.bytes for one in shares)))
        self._open = True
        for one in shares:
            if one.shown:
                self._observer(Advanced("", one.shown))

    def _finish(self, task: str) -> None:
        if self._open:
            self._observer(Finished(task))
        self._open = False

    def _move(self, share: _Share, amount: int) -> None:
        if amount != share.shown:
            self._observer(Advanced("", amount - share.shown))
            share.shown = amount

    def _file(self, share: _Share | None, said: FileDone) -> None:
        if share is not None:
            share.files += 1
            share.done += said.size
            if share.done > share.shown:  # a log says only every few seconds how far it is
                self._move(share, share.done)
        self._observer(said)

    def _named(self, pod: str, said: Retrying | Notice) -> Retrying | Notice:
        if len(self._shares) < 2 or isinstance(said, Retrying):
            return said
        return Notice(f"{pod}: {said.message}")
