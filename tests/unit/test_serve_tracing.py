"""Traces, received by a stand-in for a collector that reads OTLP over HTTP."""

from __future__ import annotations

import gzip
import http.server
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from provisioner.serve.http import tracing
from tests.support import grpc_core
from tests.support.grpc_core import MODELS, refused
from tests.support.http_core import MARK, Core, serving, wait_for
from tests.support.serve_engines import Gated

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@dataclass
class Collector:
    port: int = 0
    spans: list[Any] = field(default_factory=list)
    resources: list[dict[str, str]] = field(default_factory=list)
    raw: bytes = b""

    def named(self, name: str) -> Any:
        wait_for(lambda: any(span.name == name for span in self.spans))
        return next(span for span in self.spans if span.name == name)


def facts(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


@pytest.fixture
def collector() -> Iterator[Collector]:
    found = Collector()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            body = gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
            found.raw += body
            for part in ExportTraceServiceRequest.FromString(body).resource_spans:
                found.resources.append(facts(part.resource.attributes))
                found.spans += [span for scope in part.scope_spans for span in scope.spans]
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield found
        server.shutdown()


@pytest.fixture
def traced(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> Iterator[Core]:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.port}")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    engine = Gated()
    engine.free()
    with serving(engine) as core:
        assert core.app.tracing is not None
        yield core
        core.app.tracing.close()


def test_a_request_is_a_span_below_the_clients_and_work_a_span_below_it(traced: Core, collector: Collector) -> None:
    done = traced.embed("a", "b", traceparent=f"00-{TRACE}-{PARENT}-01")
    server, work = collector.named("POST /embed"), collector.named("embed")
    assert server.trace_id.hex() == work.trace_id.hex() == TRACE
    assert server.parent_span_id.hex() == PARENT
    assert work.parent_span_id == server.span_id
    assert server.kind == 2  # SPAN_KIND_SERVER
    found = facts(server.attributes)
    assert found["http.request.method"] == "POST"
    assert found["http.route"] == "/embed"
    assert found["http.response.status_code"] == 200
    assert found["url.scheme"] == "http"
    assert found["network.protocol.version"] == "1.1"
    assert found["server.port"] == traced.port
    assert found["provision.texts"] == 2
    assert found["provision.request_id"] == done.headers["x-request-id"]
    assert collector.resources[0]["service.name"] == "provision-serve"
    assert traced.line(request_id=done.headers["x-request-id"], status=200)["trace_id"] == TRACE


def test_failures_are_marked_and_texts_are_nowhere(traced: Core, collector: Collector) -> None:
    traced.ask("POST", f"/embed?{MARK}", {"texts": [f"poison {MARK}"]}, User_Agent=MARK, Host=MARK)
    traced.ask("GET", f"/{MARK}")
    traced.ask("POST", "/rerank", {"query": MARK, "documents": MARK})
    failed = collector.named("POST /embed")
    assert failed.status.code == 2  # STATUS_CODE_ERROR
    assert facts(failed.attributes)["error.type"] == "engine_failed"
    assert facts(collector.named("GET").attributes)["http.response.status_code"] == 404
    assert collector.named("POST /rerank").status.code == 0  # the client's error is none of the server's
    assert MARK.encode() not in collector.raw


def test_calls_of_grpc_have_their_spans_too(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.port}")
    spans = tracing.configured(os.environ)
    assert spans is not None
    engine = Gated()
    engine.free()
    with grpc_core.serving(engine, tracing=spans) as core:
        parent = (("traceparent", f"00-{TRACE}-{PARENT}-01"),)
        core.embed(MARK, metadata=parent).result()
        assert core.line(route=f"/{MODELS}/Embed")["trace_id"] == TRACE
        refused(core.embed(f"poison {MARK}", metadata=parent))
        spans.close()
    calls = [span for span in collector.spans if span.name == f"POST /{MODELS}/Embed"]
    assert [facts(span.attributes)["http.response.status_code"] for span in calls] == [200, 500]
    assert [span.status.code for span in calls] == [0, 2]
    assert {span.parent_span_id.hex() for span in calls} == {PARENT}
    assert {span.parent_span_id for span in collector.spans if span.name == "embed"} == {one.span_id for one in calls}
    assert MARK.encode() not in collector.raw


def test_probes_and_scrapes_are_not_traced(traced: Core, collector: Collector) -> None:
    for path in ("/healthz", "/readyz", "/metrics"):
        traced.ask("GET", path)
    traced.embed("a")
    collector.named("POST /embed")
    assert {span.name for span in collector.spans} <= {"POST /embed", "embed"}


def test_a_client_that_does_not_sample_is_followed(traced: Core, collector: Collector) -> None:
    traced.embed("a", traceparent=f"00-{TRACE}-{PARENT}-00")
    traced.ask("POST", "/rerank", {"query": "a", "documents": ["b"]})
    collector.named("POST /rerank")
    assert all(span.trace_id.hex() != TRACE for span in collector.spans)


def test_a_collector_that_is_away_disturbs_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
    with serving() as core:
        assert core.app.tracing is not None
        for _ in range(20):
            assert core.embed("a").status == 200
        core.app.tracing.close()
        loud = [line for line in core.lines if line["level"] in ("warning", "error", "critical")]
    assert len(loud) <= 1


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_TRACES_EXPORTER": "none"},
        {"OTEL_TRACES_EXPORTER": "console"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": " "},
    ],
)
def test_no_traces_where_none_are_asked_for(variables: dict[str, str]) -> None:
    assert tracing.configured(variables) is None


WITHOUT = """
import sys
from provisioner.serve.http.app import create_app
from provisioner.serve.instruments import Instruments
from provisioner.serve.local import LocalBackend
from provisioner.serve.settings import Limits, Role, Settings
class Missing:
    def find_spec(self, name, *_):
        if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter")):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Missing())
app = create_app(LocalBackend(Role.INFERENCE, Limits(), 0.0), Settings(), Instruments())
assert app.tracing is None
assert not any(name.startswith("opentelemetry.sdk") for name in sys.modules)
"""


@pytest.mark.parametrize("asked", [True, False])
def test_without_the_sdk_there_are_no_traces_and_no_failure(asked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if asked:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert ("extra `otel`" in done.stderr) is asked


def test_a_provider_that_is_configured_already_is_used(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)  # the global one can be set only once
    with serving() as core:
        core.embed("a")
        wait_for(lambda: len(exporter.get_finished_spans()) == 2)
    assert {span.name for span in exporter.get_finished_spans()} == {"POST /embed", "embed"}


@pytest.fixture(autouse=True)
def quiet_again() -> Iterator[None]:
    """The logger of the SDK as it was."""
    logger = logging.getLogger("opentelemetry")
    before = logger.propagate, logger.handlers[:]
    yield
    logger.propagate, logger.handlers = before[0], before[1]
