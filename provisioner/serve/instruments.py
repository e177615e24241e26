"""What is measured. Labels are few and fixed words, so that the number of series is bounded; never a text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily
from prometheus_client.gc_collector import GCCollector
from prometheus_client.metrics_core import Metric
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from provisioner.serve.backend import Status
from provisioner.serve.batching.watch import Ran
from provisioner.serve.recent import Latencies, Recent

_LATENCY = (0.0025, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_WAIT = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_BATCH = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_PREFIX = "provision_serve"


class Instruments:
    """A registry of its own, what records into it, and the last minutes for the page. It is a Watch too.

    Its methods are quick, raise nothing and may be called from any thread.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._recent = Recent()
        self._requests_of_http()
        self._requests_of_engines()

    def _requests_of_http(self) -> None:
        self._requests = self._counter("requests", "Requests that were answered.", "route", "method", "status")
        self._seconds = self._histogram(
            "request_duration_seconds", "From a request's head to its end.", _LATENCY, "route"
        )
        self._received = self._counter("received_bytes", "Bodies of requests.")
        self._sent = self._counter("sent_bytes", "Bodies of answers.")
        self._refused = self._counter("refused", "Requests that were refused, by the kind of the refusal.", "kind")
        self._texts = self._counter("texts", "Texts, or pairs of query and document, that were answered.", "task")
        self._tokens = self._counter("tokens", "Tokens of them.", "task")
        self._at_work = Gauge(f"{_PREFIX}_requests_in_flight", "Requests for work.", registry=self.registry)

    def _requests_of_engines(self) -> None:
        self._batch = self._histogram("batch_size_texts", "Texts that were computed at once.", _BATCH, "task", "lane")
        self._wait = self._histogram("queue_wait_seconds", "From tokens to the engine.", _WAIT, "task", "lane")
        self._run = self._histogram("engine_run_seconds", "One batch in the engine.", _LATENCY, "task", "lane")
        self._padded = self._counter("computed_tokens", "Tokens that engines computed, padding included.", "task")
        self._filled = self._counter("engine_tokens", "Tokens that engines computed, without padding.", "task")
        self._failed = self._counter("engine_failures", "Batches that an engine failed on.", "task")
        self._queue = Gauge(f"{_PREFIX}_queue_depth_texts", "Texts that wait.", ("task",), registry=self.registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"{_PREFIX}_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: Iterable[float], *labels: str) -> Histogram:
        return Histogram(f"{_PREFIX}_{name}", text, labels, buckets=tuple(buckets), registry=self.registry)

    def answered(self, route: str, method: str, status: int, seconds: float, received: int = 0, sent: int = 0) -> None:
        """A request ended. `route` and `method` are of a bounded number; 499 is a client that went away."""
        self._requests.labels(route, method, str(status)).inc()
        self._seconds.labels(route).observe(seconds)
        self._received.inc(received)
        self._sent.inc(sent)
        if method == "POST" and status < 400:  # refusals and what people look at would hide what work takes
            self._recent.add(route, seconds)

    def refused(self, kind: str) -> None:
        """A request was refused."""
        self._refused.labels(kind).inc()

    def worked(self, task: str, texts: int, tokens: int) -> None:
        """A request for `embed` or `rerank` was answered."""
        self._texts.labels(task).inc(texts)
        self._tokens.labels(task).inc(tokens)

    def ran(self, ran: Ran) -> None:
        """After each batch."""
        self._batch.labels(ran.task, ran.lane).observe(ran.size)
        self._run.labels(ran.task, ran.lane).observe(ran.seconds)
        waits = self._wait.labels(ran.task, ran.lane)
        for seconds in ran.waits:
            waits.observe(seconds)
        self._padded.labels(ran.task).inc(ran.padded)
        self._filled.labels(ran.task).inc(ran.tokens)
        if ran.failed:
            self._failed.labels(ran.task).inc()

    def waiting(self, task: str, texts: int) -> None:
        """How many texts wait now."""
        self._queue.labels(task).set(texts)

    def at_work(self, count: Callable[[], int]) -> None:
        """What counts the requests for work."""
        self._at_work.set_function(count)

    def describe(self, status: Callable[[], Status]) -> None:
        """What tells the release and the models that are served: it is asked at each scrape. Once, at most."""
        self.registry.register(_About(status))

    def latencies(self) -> Latencies:
        """By route, of the last minutes."""
        return self._recent.read()


class _About(Collector):
    """The release and the models, as they are when somebody asks: models come after the server listens."""

    def __init__(self, status: Callable[[], Status]) -> None:
        self._status = status

    def describe(self) -> list[Metric]:
        """Nothing: registering must not ask a backend that is not there yet."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Now."""
        status = self._status()
        yield _info(status)
        yield _models(status)
        yield _loads(status)
        yield GaugeMetricFamily(f"{_PREFIX}_ready", "1 while requests are answered.", float(status.ready))
        yield GaugeMetricFamily(f"{_PREFIX}_start_seconds", "From start to ready.", status.start_seconds)


def _info(status: Status) -> Metric:
    checked = status.release
    facts = {"version": status.version, "role": str(status.role)}
    if checked:
        facts |= {"release": checked.release, "tree": checked.tree, "lock": checked.lock, "evidence": checked.evidence}
    return InfoMetricFamily(_PREFIX, "What is served.", facts)


def _models(status: Status) -> Metric:
    family = InfoMetricFamily(f"{_PREFIX}_model", "One model that is served.", labels=("task",))
    for model in status.models:
        about = model.about
        facts = {"repo": model.repo, "commit": model.commit, "engine": about.engine}
        family.add_metric((model.task,), facts | {"device": about.device, "precision": about.precision})
    return family


def _loads(status: Status) -> Metric:
    family = GaugeMetricFamily(f"{_PREFIX}_model_load_seconds", "To the end of its warm-up.", labels=("task", "repo"))
    for model in status.models:
        family.add_metric((model.task, model.repo), model.load_seconds)
    return family
