"""What a store holds already."""

from __future__ import annotations

from provisioner.ports.store import Store
from provisioner.report.health import Answer, fine, warning


def held(store: Store) -> Answer:
    """The releases of a store."""
    count = len(store.releases())
    if not count:
        return fine("none yet", "Bring one with provision mirror.")
    return fine(f"{count}, active: {store.active() or 'none'}")


def leftovers(alive: int, dead: dict[str, int], target: str) -> Answer:
    """What dead runs left; `dead` counts each kind of it."""
    found = [f"{count} {what}{'' if count == 1 else 's'}" for what, count in dead.items() if count]
    busy = f"; {alive} at work" if alive else ""
    if found:
        advice = f"The next mirror continues them; else: provision releases prune --keep 2 --at {target}"
        return warning(", ".join(found) + busy, advice)
    return fine(f"none{busy}")
