"""What the deployments behind an Api replica are and do."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from threading import Thread
from typing import Any

from ray import serve

from provisioner import __version__
from provisioner.serve.backend import Status
from provisioner.serve.raying.replica import Described
from provisioner.serve.settings import Role

# Serve's controller is asked by every Api replica, so seldom once all is well.
SOON_S, LATER_S = 0.5, 3.0
PATIENCE_S = 10.0  # for a replica to say what it serves
_log = logging.getLogger(__name__)


class Watch:
    """Asks Serve's controller whether each deployment has a running replica, in a thread of its own.

    Args:
        names: of the deployments, by task.
        handles: of the same.
    """

    def __init__(self, application: str, names: Mapping[str, str], handles: Mapping[str, Any], role: Role) -> None:
        self._application = application
        self._names = names
        self._handles = handles
        self._role = role
        self._began = time.monotonic()
        self._found: dict[str, Described] = {}
        self._start_seconds = 0.0
        self.status = self._status("The models are being loaded.")

    @property
    def described(self) -> bool:
        """Whether every deployment has answered once; from then on a request can wait for a replica that starts."""
        return len(self._found) == len(self._names)

    def start(self) -> None:
        """Look every few seconds, for as long as this process lives."""
        Thread(target=self._work, name="watch", daemon=True).start()

    def _work(self) -> None:
        while True:
            try:
                self.look()
            except Exception as error:  # of whatever kind: without this thread readiness would stay what it was
                _log.warning("Serve's controller did not answer: %s", type(error).__name__)
                self.status = self._status("Serve's controller does not answer.")
            time.sleep(LATER_S if self.status.ready else SOON_S)

    def look(self) -> None:
        """Ask once."""
        running = self._running()
        for task, name in self._names.items():
            if name in running and task not in self._found:
                self._found[task] = self._handles[task].describe.remote().result(timeout_s=PATIENCE_S)
        missing = [name for task, name in self._names.items() if name not in running or task not in self._found]
        if not missing and not self._start_seconds:
            self._start_seconds = time.monotonic() - self._began
        self.status = self._status(f"No replica of {' and '.join(missing)} is running." if missing else "")

    def _running(self) -> set[str]:
        """The deployments of this application with at least one running replica."""
        found = serve.status().applications.get(self._application)
        deployments = found.deployments if found else {}
        return {name for name, one in deployments.items() if one.replica_states.get("RUNNING", 0)}

    def _status(self, detail: str) -> Status:
        every = [self._found[task] for task in self._names if task in self._found]
        release = every[0].checked if every else None
        models = tuple(one.served for one in every)
        return Status(not detail, detail, self._role, __version__, release, models, self._start_seconds)
