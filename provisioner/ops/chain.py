"""The sources of a transfer, in the order they are asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from provisioner.errors import AccessDenied, NotFound, ProvisionError, StoreError, Unavailable
from provisioner.ports.source import Source

HUB = "hub"


def open_sources(addresses: Sequence[str], endpoint: str | None, note: Callable[[str], None]) -> list[Source]:
    """A source for each address, `hub` among them; one that is not to be had is noted and left out.

    Raises UsageError for an address that means nothing, and the last failure when no source is left.
    """
    found: list[Source] = []
    failure: ProvisionError | None = None
    for address in addresses:
        try:
            found.append(_open(address, endpoint))
        except (AccessDenied, NotFound, StoreError, Unavailable) as error:
            failure = error
            if len(addresses) > 1:
                note(f"{error} It is left out.")
    if not found and failure:
        raise failure
    return found


def _open(address: str, endpoint: str | None) -> Source:
    if address == HUB:
        from provisioner.sources.hub import HubSource

        return HubSource(endpoint)
    from provisioner.stores.targets import open_store

    return open_store(address).as_source()
