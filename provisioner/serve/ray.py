"""The same server on Ray Serve: `serve run provisioner.serve.ray:app`, or `import_path` in a serveConfigV2.

Importing this module does nothing: no Ray, no file, no variable is touched. Serve calls `app` where it builds the
application, and each replica reads its own environment when it starts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from provisioner.errors import MissingExtra, ProvisionError
from provisioner.serve.raying.refused import StartRefused


def app(arguments: Mapping[str, Any]) -> Any:
    """The application: `Api` in front of `Embedder` and `Reranker`, each of which Serve scales by itself.

    Args:
        arguments: variables of docs/serve.md and docs/ray.md by name, before those of the environment.

    Raises StartRefused where the variables or the release are not right, or Ray is not installed: message and hint in
    one text, and the traceback ends here, since both are all that `serve status` and `serve run` show.
    """
    try:
        return _built(arguments)
    except ProvisionError as error:
        raise StartRefused.of(error) from None


def _built(arguments: Mapping[str, Any]) -> Any:
    try:
        from provisioner.serve.raying import application
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "ray":
            raise
        raise MissingExtra("The model server on Ray", "ray") from None
    return application.build(arguments)
