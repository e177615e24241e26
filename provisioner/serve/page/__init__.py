"""The page for a person at `/`, and the same facts for machines at `/status.json`."""

from provisioner.serve.page.routes import router

__all__ = ["router"]
