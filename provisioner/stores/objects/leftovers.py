"""What dead runs left in a bucket: markers, files of releases that never came to be, parts of files."""

from __future__ import annotations

from collections.abc import Iterator

from provisioner.errors import NotFound
from provisioner.record import is_release_id
from provisioner.stores.objects.bucket import Bucket
from provisioner.stores.objects.keys import Keys
from provisioner.stores.objects.marker import lives
from provisioner.stores.owner import Life


def sweep(bucket: Bucket, keys: Keys, release: str | None) -> tuple[str, ...]:
    """Delete them, of one release or of all; the names of what went. Releases that somebody builds are left alone."""
    markers = lives(bucket, keys, release)
    building = {_release_of(keys, key) for key, life in markers.items() if life is Life.ALIVE}
    dead = [key for key, life in markers.items() if life is not Life.ALIVE]
    bucket.delete(dead)
    gone = [keys.place(key) for key in dead]
    for name in (release,) if release else bucket.folders(keys.releases):
        if is_release_id(name) and name not in building and not _is_published(bucket, keys, name):
            gone += _drop(bucket, keys, name)
    for upload in list(bucket.uploads(keys.release(release) if release else keys.releases)):
        name = upload.key.removeprefix(keys.releases).partition("/")[0]
        if is_release_id(name) and name not in building:
            bucket.abandon(upload.key, upload.id)
            gone.append(f"{keys.place(upload.key)} (parts)")
    return tuple(gone)


def _release_of(keys: Keys, marker: str) -> str:
    return marker.removeprefix(keys.staging).partition(".")[0]


def _is_published(bucket: Bucket, keys: Keys, release: str) -> bool:
    try:
        bucket.stat(keys.record(release))
    except NotFound:
        return False
    return True


def _drop(bucket: Bucket, keys: Keys, release: str) -> Iterator[str]:
    """Delete the files of an unfinished release; its name, when there were any."""
    found = [one.key for one in bucket.list(keys.release(release))]
    if found and Life.ALIVE not in lives(bucket, keys, release).values():  # nobody has begun meanwhile
        bucket.delete(found)
        yield keys.place(keys.release(release)).rstrip("/")
