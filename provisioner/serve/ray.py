"""The same server on Ray Serve: `serve run provisioner.serve.ray:app`, or `import_path` in a serveConfigV2.

Importing this module does nothing: no Ray, no file, no variable is touched. Serve calls `app` where it builds the
application, and each replica reads its own environment when it starts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from provisioner.errors import MissingExtra


def app(arguments: Mapping[str, Any]) -> Any:
    """The application: `Api` in front of `Embedder` and `Reranker`, each of which Serve scales by itself.

    Args:
        arguments: variables of docs/serve.md and docs/ray.md by name, before those of the environment.

    Raises InvalidDocument for the variables, NotFound and VerificationFailed for the release, as a local start does.
    """
    try:
        from provisioner.serve.raying import application
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "ray":
            raise
        raise MissingExtra("The model server on Ray", "ray") from None
    return application.build(arguments)
