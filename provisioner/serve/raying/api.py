"""The deployment Api: the HTTP APIs of the local server over the other deployments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ray import serve

from provisioner.serve.raying.backend import RayBackend
from provisioner.serve.raying.variables import merged
from provisioner.serve.raying.watch import Watch
from provisioner.serve.settings import parse


def deployment(names: Mapping[str, str], given: Mapping[str, str]) -> serve.Deployment:
    """The ingress over deployments of these names, by task."""

    class Api:
        """The handles make the other deployments part of the application."""

        def __init__(self, **handles: Any) -> None:
            pass

    # A builder, which Serve calls in the replica: an application of FastAPI made here would be pickled.
    def application() -> Any:
        return asgi(names, given)

    return serve.deployment(serve.ingress(application)(Api))


def asgi(names: Mapping[str, str], given: Mapping[str, str]) -> Any:
    """The ASGI application of one replica."""
    from provisioner.serve.http.app import create_app
    from provisioner.serve.instruments import Instruments

    settings = parse(merged(given))
    handles = {task: serve.get_deployment_handle(name) for task, name in names.items()}
    watch = Watch(serve.get_replica_context().app_name, names, handles, settings.role)
    watch.start()
    backend = RayBackend(handles, settings.role, settings.limits.seconds, watch)
    app = create_app(backend, settings, Instruments())
    app.add_middleware(Unprefixed)  # around all others
    return app


class Unprefixed:
    """An ASGI application that knows nothing of the route prefix of the Serve application that it is in."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Mapping[str, Any], receive: Any, send: Any) -> None:
        """One request, or the lifespan."""
        prefix = scope.get("root_path", "")
        if prefix and scope["path"].startswith(prefix):
            scope = {**scope, "path": scope["path"].removeprefix(prefix) or "/", "root_path": ""}
        await self._app(scope, receive, send)
