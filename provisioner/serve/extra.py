"""What the extra `serve` brings."""

from __future__ import annotations

from provisioner.errors import MissingExtra

_MODULES = ("fastapi", "httptools", "numpy", "prometheus_client", "pydantic", "starlette", "uvicorn", "uvloop")


def missing(error: ImportError) -> MissingExtra | None:
    """The sentence for a module that is not there, if it is one of the extra's."""
    return MissingExtra("The model server", "serve") if (error.name or "").partition(".")[0] in _MODULES else None
