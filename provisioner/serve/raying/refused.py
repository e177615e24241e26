"""Why something does not start, for `serve status`, which shows the text of an exception and nothing else of it."""

from __future__ import annotations

from provisioner.errors import ProvisionError


class StartRefused(Exception):
    """Why the application or a replica does not start, and what to do next, in one text."""

    @classmethod
    def of(cls, error: ProvisionError) -> StartRefused:
        """With the hint."""
        text = str(error)
        return cls(f"{text.removesuffix('.')}. {error.hint}" if error.hint else text)
