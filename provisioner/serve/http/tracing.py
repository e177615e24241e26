"""Traces, where the environment asks OpenTelemetry's SDK for them; else nothing is imported and nothing is done.

Spans have routes, statuses and counts, no path, query, header or message that a client chose.
"""

from __future__ import annotations

import importlib.util
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from starlette.types import ASGIApp, Receive, Scope, Send

from provisioner import __version__
from provisioner.serve.backend import Spent
from provisioner.serve.http import ids
from provisioner.serve.http.access_log import GONE, QUIET
from provisioner.serve.http.ids import Asked
from provisioner.serve.http.routes import OTHER

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span

log = logging.getLogger(__name__)

_ASKED_BY = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_TRACES_EXPORTER")
_TIMEOUTS = ("OTEL_EXPORTER_OTLP_TIMEOUT", "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT")
_TIMEOUT = 3.0  # seconds: the end of the process waits for the last export
_CALM = 60.0


def configured(variables: Mapping[str, str]) -> Tracing | None:
    """What makes spans: of the provider that `opentelemetry-instrument` has set, or else of one that the usual
    variables describe; None where there is neither."""
    if variables.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    if set_already := _set_already():
        return Tracing(set_already, own=False)
    provider = _of_environment(variables)
    return Tracing(provider, own=True) if provider else None


def _set_already() -> TracerProvider | None:
    if "opentelemetry.sdk.trace" not in sys.modules:
        return None
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider

    provider = trace.get_tracer_provider()
    return provider if isinstance(provider, TracerProvider) else None


def _of_environment(variables: Mapping[str, str]) -> TracerProvider | None:
    exporter = variables.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    if exporter == "none" or not any(variables.get(name, "").strip() for name in _ASKED_BY):
        return None
    if exporter not in ("", "otlp"):
        log.warning("OTEL_TRACES_EXPORTER is neither `otlp` nor `none`: there will be no traces.")
        return None
    if not _installed():
        log.warning("OTEL_* variables ask for traces, which need the extra `otel`: there will be none.")
        return None
    return _provider(variables)


def _installed() -> bool:
    try:
        return importlib.util.find_spec("opentelemetry.exporter.otlp.proto.http.trace_exporter") is not None
    except ModuleNotFoundError:
        return False


def _provider(variables: Mapping[str, str]) -> TracerProvider:
    """Not made the global one: libraries would record into it what no span of ours has, as query strings."""
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    facts = {"service.version": __version__}
    if not variables.get("OTEL_SERVICE_NAME") and "service.name=" not in variables.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        facts["service.name"] = "provision-serve"
    provider = TracerProvider(resource=Resource.create(dict(facts)))
    provider.add_span_processor(BatchSpanProcessor(_exporter(variables)))
    _calm_down()
    return provider


def _exporter(variables: Mapping[str, str]) -> SpanExporter:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter(timeout=None if any(map(variables.get, _TIMEOUTS)) else _TIMEOUT)


class _Calm(logging.Handler):
    """Passes one line a minute on: a collector that is away fails every batch."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._last = float("-inf")

    def emit(self, record: logging.LogRecord) -> None:
        """Pass it on, or not."""
        now = time.monotonic()
        if now - self._last >= _CALM:
            self._last = now
            log.warning("Traces are not exported: %s", record.getMessage())


def _calm_down() -> None:
    logger = logging.getLogger("opentelemetry")
    logger.propagate = False
    if not any(isinstance(handler, _Calm) for handler in logger.handlers):
        logger.addHandler(_Calm())


class Tracing:
    """Makes spans. A provider that is not our `own` goes on after us."""

    def __init__(self, provider: TracerProvider, *, own: bool) -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider, self._own = provider, own
        self._tracer = provider.get_tracer("provisioner.serve", __version__)
        self._parents = TraceContextTextMapPropagator()

    def close(self) -> None:
        """Exports what is left. Blocks for some seconds at most."""
        if self._own:
            self._provider.shutdown()
        else:  # whose time-outs are its owner's, and which goes by no other
            flushing = threading.Thread(target=self._provider.force_flush, daemon=True)
            flushing.start()
            flushing.join(_TIMEOUT)

    @contextmanager
    def request(self, asked: Asked, scope: Scope) -> Iterator[None]:
        """A span of the server for one request; below the client's, where it sent one."""
        from opentelemetry import context, trace

        carrier = {name: asked.headers.get(name.encode(), b"").decode("latin-1") for name in self._parents.fields}
        # No parent but the client's: the context of the task may have a span of something else.
        parent = self._parents.extract(carrier, context.Context())
        span = self._tracer.start_span(_name(asked), parent, trace.SpanKind.SERVER, _head(asked, scope))
        asked.trace = trace.format_trace_id(span.get_span_context().trace_id)
        token = context.attach(trace.set_span_in_context(span, parent))
        try:
            yield
        finally:
            context.detach(token)
            _end(span, asked)

    @contextmanager
    def work(self, task: str) -> Iterator[Callable[[Spent], None]]:
        """A span inside of it. Gives what makes its parts of the time that was spent: `wait` and `compute`."""
        from opentelemetry.trace import Status, StatusCode

        with self._tracer.start_as_current_span(task, record_exception=False, set_status_on_exception=False) as span:
            try:
                yield self._parts
            except BaseException as error:
                span.set_attribute("error.type", type(error).__qualname__)
                span.set_status(Status(StatusCode.ERROR))
                raise

    def _parts(self, spent: Spent) -> None:
        """Made afterwards, ending now: the lane's threads know nothing of spans, and Ray's are in other processes."""
        ended = time.time_ns()
        began = ended - int(spent.computing * 1e9)
        for name, start, end in (("wait", began - int(spent.waiting * 1e9), began), ("compute", began, ended)):
            self._tracer.start_span(name, start_time=start).end(end)


def _name(asked: Asked) -> str:
    method = "HTTP" if asked.method == OTHER else asked.method
    return method if asked.route == OTHER else f"{method} {asked.route}"


def _head(asked: Asked, scope: Scope) -> dict[str, str | int]:
    facts: dict[str, str | int] = {
        "http.request.method": "_OTHER" if asked.method == OTHER else asked.method,
        "url.scheme": scope.get("scheme", "http"),
        "network.protocol.version": scope.get("http_version", "1.1"),
        "provision.request_id": asked.id,
    }
    if asked.route != OTHER:
        facts |= {"http.route": asked.route, "url.path": asked.route}
    if server := scope.get("server"):
        facts["server.address"] = server[0]
        if server[1]:
            facts["server.port"] = server[1]
    return facts


def _end(span: Span, asked: Asked) -> None:
    from opentelemetry.trace import Status, StatusCode

    status = GONE if asked.gone else asked.status or 500
    span.set_attribute("http.response.status_code", status)
    span.set_attribute("http.request.body.size", asked.received)
    span.set_attribute("http.response.body.size", asked.sent)
    if asked.texts:
        span.set_attribute("provision.texts", asked.texts)
        span.set_attribute("provision.tokens", asked.tokens)
    if status >= 500:
        span.set_attribute("error.type", asked.refused or str(status))
        span.set_status(Status(StatusCode.ERROR))
    span.end()


class Traces:
    """A span for each request but probes and scrapes."""

    def __init__(self, app: ASGIApp, tracing: Tracing) -> None:
        self._app = app
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request through."""
        if scope["type"] != "http" or ids.of(scope).route in QUIET:
            return await self._app(scope, receive, send)
        with self._tracing.request(ids.of(scope), scope):
            return await self._app(scope, receive, send)
