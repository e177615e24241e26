"""A store filled from the packages: what the demo's own Hub serves, and a model server's tests too."""

from __future__ import annotations

from provisioner.demo.weights import int8, minilm, package_source
from provisioner.lockfile import dump
from provisioner.model import Lock, Model
from provisioner.ops.documents import LockDocument
from provisioner.ops.execute import Settings
from provisioner.ops.transfer import TransferReport, carry_out, prepare
from provisioner.ports.store import Modes
from provisioner.stores.directory import DirectoryStore


def models() -> tuple[Model, ...]:
    """The real models that are installed as packages."""
    first = minilm()
    second = int8(first)
    return (second, first) if second else (first,)


def fill(root: str) -> TransferReport:
    """Publish the packages' models at `root`; every byte is checked against the published digests on the way."""
    lock = Lock(models())
    document = LockDocument(lock, dump(lock))
    store = DirectoryStore(root, Modes())
    report = carry_out(prepare(document, store), document, store, [package_source()], Settings(4))
    store.activate(report.release)
    return report
