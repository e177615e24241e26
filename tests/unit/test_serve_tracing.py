"""Traces, received by a stand-in for a collector that reads OTLP over HTTP."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from provisioner.serve.http import tracing
from tests.support import grpc_core
from tests.support.grpc_core import MODELS, refused
from tests.support.http_core import MARK, PATIENCE_S, Core, serving, wait_for
from tests.support.otlp import Collector, collecting, facts
from tests.support.serve_engines import Gated

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", str(round(PATIENCE_S)))  # what is not taken in time is dropped
    with collecting() as found:
        yield found


@pytest.fixture
def traced(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> Iterator[Core]:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
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
    line = traced.line(request_id=done.headers["x-request-id"], status=200)
    assert line["trace_id"] == TRACE
    assert line["wait_ms"] >= 0 and line["compute_ms"] > 0


def test_the_wait_in_the_queue_is_told_from_the_computation(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    engine, held = Gated(), 0.3  # seconds
    with serving(engine) as core, ThreadPoolExecutor(2) as pool:
        first = pool.submit(core.embed, "a", x_request_id="first")
        engine.begun()
        second = pool.submit(core.embed, "b", x_request_id="second")
        wait_for(lambda: b'provision_serve_queue_depth_texts{task="embed"} 1.0' in core.ask("GET", "/metrics").body)
        time.sleep(held)
        engine.free()
        assert [first.result().status, second.result().status] == [200, 200]
        lines = [core.line(request_id=name, status=200) for name in ("first", "second")]
        assert core.app.tracing is not None
        core.app.tracing.close()
    assert lines[0]["compute_ms"] >= held * 1000
    assert lines[1]["wait_ms"] >= held * 1000
    spans: dict[str, dict[str, Any]] = {one["trace_id"]: {} for one in lines}
    for span in collector.spans:
        spans[span.trace_id.hex()][span.name] = span
    for found, part in zip(spans.values(), ("compute", "wait"), strict=True):
        assert found.keys() == {"POST /embed", "embed", "wait", "compute"}
        assert found["wait"].parent_span_id == found["compute"].parent_span_id == found["embed"].span_id
        assert found["wait"].end_time_unix_nano == found["compute"].start_time_unix_nano
        assert found[part].end_time_unix_nano - found[part].start_time_unix_nano >= held * 1e9 - 1e6


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
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
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
    assert {span.name for span in collector.spans} <= {"POST /embed", "embed", "wait", "compute"}


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
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
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
        wait_for(lambda: any(span.name == "POST /embed" for span in exporter.get_finished_spans()))  # ends last
    assert {span.name for span in exporter.get_finished_spans()} == {"POST /embed", "embed", "wait", "compute"}


@pytest.fixture(autouse=True)
def quiet_again() -> Iterator[None]:
    """The logger of the SDK as it was."""
    logger = logging.getLogger("opentelemetry")
    before = logger.propagate, logger.handlers[:]
    yield
    logger.propagate, logger.handlers = before[0], before[1]
