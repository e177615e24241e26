"""Deleting in a bucket: releases, and what dead runs left of them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice

from provisioner.errors import AccessDenied, NotFound, Unavailable
from provisioner.record import is_release_id
from provisioner.stores.objects.bucket import Bucket, Upload
from provisioner.stores.objects.keys import Keys
from provisioner.stores.objects.marker import Marker, builders, lives, new_marker, release_of
from provisioner.stores.objects.reading import read_small
from provisioner.stores.owner import Life

AT_ONCE = 1000

log = logging.getLogger(__name__)


class Busy(Unavailable):
    """Somebody builds what was to be deleted."""


def uploads(bucket: Bucket, prefix: str) -> tuple[Upload, ...]:
    """Every upload that nobody has completed, oldest first; none where they may not be listed."""
    try:
        found = list(bucket.uploads(prefix))
        if not found:  # MinIO takes the prefix for a whole key (minio/minio#20989)
            found = [upload for upload in bucket.uploads("") if upload.key.startswith(prefix)]
    except AccessDenied:
        log.info("%s: multipart uploads may not be listed, so none is continued or ended", bucket.name)
        return ()
    return tuple(sorted(found, key=lambda upload: upload.started))


def remove(bucket: Bucket, keys: Keys, release: str) -> None:
    """Delete a release, first of all the record that makes it one. Raises Busy."""
    with _going(bucket, keys, release) as sign:
        bucket.delete([keys.record(release)])
        _delete(bucket, keys, release, sign)


def sweep(bucket: Bucket, keys: Keys, release: str | None) -> tuple[str, ...]:
    """Delete what dead runs left, of one release or of all; the names of what went.

    Releases that somebody builds are left alone, and the active one, whose files may be read even while an interrupted
    repair keeps it from being a release.
    """
    signs = lives(bucket, keys, f"{release}." if release else "")
    busy = {release_of(keys, key) for key, life in signs.items() if life is Life.ALIVE}
    dead = [key for key, life in signs.items() if life is not Life.ALIVE]
    bucket.delete(dead)
    gone = [keys.place(key) for key in dead]
    for name in (release,) if release else bucket.folders(keys.releases):
        if is_release_id(name) and name not in busy and not _is_used(bucket, keys, name):
            gone += _drop(bucket, keys, name)
    for upload in uploads(bucket, keys.release(release) if release else keys.releases):
        name = upload.key.removeprefix(keys.releases).partition("/")[0]
        if is_release_id(name) and name not in busy and not builders(bucket, keys, name):
            bucket.abandon(upload.key, upload.id)
            gone.append(f"{keys.place(upload.key)} (parts)")
    return tuple(gone)


def _drop(bucket: Bucket, keys: Keys, release: str) -> Iterator[str]:
    """Delete the files of an unfinished release; its name, when there were any."""
    if next(iter(bucket.list(keys.release(release))), None) is None:
        return
    with suppress(Busy), _going(bucket, keys, release) as sign:
        if not _is_used(bucket, keys, release):  # it may have become one before our sign was there
            _delete(bucket, keys, release, sign)
            yield keys.place(keys.release(release)).rstrip("/")


@contextmanager
def _going(bucket: Bucket, keys: Keys, release: str) -> Iterator[Marker]:
    """Our sign that a release goes. Raises Busy when somebody builds it.

    Both sides set their sign before they look for the other's, so at least one of them sees the other.
    """
    sign = new_marker(bucket, keys, release, going=True)
    try:
        if builders(bucket, keys, release):
            raise Busy(f"Release {release} is being built by another run.", hint="Run again when it is done.")
        yield sign
    finally:
        sign.remove()


def _delete(bucket: Bucket, keys: Keys, release: str, sign: Marker) -> None:
    """Delete every object of a release, for as long as our sign holds."""
    left = iter([one.key for one in bucket.list(keys.release(release))])
    while batch := list(islice(left, AT_ONCE)):
        sign.renew()
        bucket.delete(batch)


def _is_used(bucket: Bucket, keys: Keys, release: str) -> bool:
    try:
        bucket.stat(keys.record(release))
    except NotFound:
        with suppress(NotFound):
            return read_small(bucket, keys.current, 4096).strip() == release.encode()
        return False
    return True
