"""What dead runs left in a bucket: markers, files of releases that never came to be, parts of files."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import suppress

from provisioner.errors import AccessDenied, NotFound
from provisioner.record import is_release_id
from provisioner.stores.objects.bucket import Bucket, Upload
from provisioner.stores.objects.keys import Keys
from provisioner.stores.objects.marker import lives
from provisioner.stores.objects.reading import read_small
from provisioner.stores.owner import Life

log = logging.getLogger(__name__)


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


def sweep(bucket: Bucket, keys: Keys, release: str | None) -> tuple[str, ...]:
    """Delete them, of one release or of all; the names of what went.

    Releases that somebody builds are left alone, and the active one, whose files may be read even while an interrupted
    repair keeps it from being a release.
    """
    markers = lives(bucket, keys, release)
    building = {_release_of(keys, key) for key, life in markers.items() if life is Life.ALIVE}
    dead = [key for key, life in markers.items() if life is not Life.ALIVE]
    bucket.delete(dead)
    gone = [keys.place(key) for key in dead]
    for name in (release,) if release else bucket.folders(keys.releases):
        if is_release_id(name) and name not in building and not _is_used(bucket, keys, name):
            gone += _drop(bucket, keys, name)
    for upload in uploads(bucket, keys.release(release) if release else keys.releases):
        name = upload.key.removeprefix(keys.releases).partition("/")[0]
        if is_release_id(name) and name not in building:
            bucket.abandon(upload.key, upload.id)
            gone.append(f"{keys.place(upload.key)} (parts)")
    return tuple(gone)


def _release_of(keys: Keys, marker: str) -> str:
    return marker.removeprefix(keys.staging).partition(".")[0]


def _is_used(bucket: Bucket, keys: Keys, release: str) -> bool:
    try:
        bucket.stat(keys.record(release))
    except NotFound:
        with suppress(NotFound):
            return read_small(bucket, keys.current, 4096).strip() == release.encode()
        return False
    return True


def _drop(bucket: Bucket, keys: Keys, release: str) -> Iterator[str]:
    """Delete the files of an unfinished release; its name, when there were any."""
    found = [one.key for one in bucket.list(keys.release(release))]
    if found and Life.ALIVE not in lives(bucket, keys, release).values():  # nobody has begun meanwhile
        bucket.delete(found)
        yield keys.place(keys.release(release)).rstrip("/")
