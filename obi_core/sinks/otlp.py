"""Metrics over OTLP, pushed once an interval. Nothing of OpenTelemetry is imported before an endpoint is configured."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import TYPE_CHECKING, ClassVar, Self

from obi_core.bus import own_metric
from obi_core.model import Kind, Metric
from obi_core.settings import CoreSettings, OtlpSettings
from obi_core.sink import Sink, Source
from obi_core.sinks.endpoint import parse_endpoint
from obi_core.sinks.otlp_failure import FailureLog, diagnose

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import MetricExporter, MetricsData

    from obi_core.sinks.otlp_data import Converter
    from obi_core.sinks.otlp_exporter import Overheard

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Tally:
    """How the export is doing; written by the sink's thread alone."""

    sent: int = 0
    failed: int = 0
    retries: int = 0
    request_s: float = 0.0
    last_success_s: float = 0.0


class OtlpSink(Sink):
    """Pushes every metric of the bus to one OTLP endpoint, cumulative, exponential histograms as they are.

    Args:
        settings: The section `otlp`, with an endpoint.
        resource: Attributes of this agent.
        clock: Monotonic, s.

    Raises:
        ConfigError: The endpoint is none.
    """

    name: ClassVar[str] = "otlp"

    def __init__(
        self, settings: OtlpSettings, resource: Mapping[str, str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings, self._resource, self._clock = settings, resource, clock
        self._endpoint = parse_endpoint(settings.endpoint or "", settings.protocol)
        self._failures = FailureLog(self._endpoint.url("metrics"), clock)
        self._asked: SimpleQueue[Event | None] = SimpleQueue()
        self._exporter: MetricExporter | None = None
        self._thread: Thread | None = None
        self._started_ns = 0
        self.tally = Tally()

    @classmethod
    def create(cls, settings: CoreSettings, resource: Mapping[str, str]) -> Self | None:
        """Make the sink if an endpoint is set.

        Raises:
            ConfigError: The endpoint is none.
        """
        return cls(settings.otlp, resource) if settings.otlp.endpoint else None

    def start(self, source: Source) -> None:
        """Begin to export: now, and then once an interval."""
        from obi_core.sinks.otlp_data import Converter  # brings OpenTelemetry in
        from obi_core.sinks.otlp_exporter import make_exporter

        headers = {name: secret.get_secret_value() for name, secret in self._settings.headers.items()}
        gzip = self._settings.compression == "gzip"
        self._exporter = make_exporter(self._endpoint, headers, self._settings.timeout_s, gzip=gzip)
        self._started_ns = time.time_ns()
        self._thread = Thread(
            target=self._run, args=(source, Converter(self._resource), self._exporter), name="obi-otlp", daemon=True
        )
        self._thread.start()

    def own(self) -> Sequence[Metric]:
        """Say what was sent and what was not."""
        tally = self.tally

        def metric(name: str, kind: Kind, description: str, value: float) -> Metric:
            reading = ({"signal": "metrics"}, value)
            return own_metric(f"otlp_exporter_{name}", kind, description, [reading], start_ns=self._started_ns)

        return (
            metric("sent_items_total", Kind.COUNTER, "Points that the endpoint took.", tally.sent),
            metric("failed_items_total", Kind.COUNTER, "Points of requests that failed.", tally.failed),
            metric("retries_total", Kind.COUNTER, "Requests that were sent again.", tally.retries),
            metric("request_seconds", Kind.GAUGE, "Duration of the last request.", tally.request_s),
            metric("last_success_timestamp_seconds", Kind.GAUGE, "Time of the last success.", tally.last_success_s),
        )

    def flush(self, deadline_s: float) -> None:
        """Export once more; give up after `deadline_s` seconds."""
        if self._thread is None or not self._thread.is_alive():
            return
        done = Event()
        self._asked.put(done)
        if not done.wait(deadline_s):
            _log.warning("the last export to %s did not end within %g s", self._endpoint.target, deadline_s)

    def stop(self) -> None:
        """End the thread; a request under way is broken off."""
        exporter, self._exporter = self._exporter, None
        if exporter is None:
            return
        self._asked.put(None)
        exporter.shutdown()
        if self._thread is not None:
            self._thread.join(1.0)

    def _run(self, source: Source, converter: "Converter", exporter: "MetricExporter") -> None:
        from obi_core.sinks.otlp_exporter import overhearing

        due = self._clock()
        with overhearing() as overheard:
            while True:
                asked: Event | None = None
                try:
                    asked = self._asked.get(timeout=max(0.0, due - self._clock()))
                    if asked is None:
                        return
                except Empty:
                    due = max(due + self._settings.interval_s, self._clock())
                try:
                    self._export(source, converter, exporter, overheard)
                except Exception as error:  # noqa: BLE001 - an isolation border: a failed export must not end all exports
                    if self._exporter is not None:
                        self._failures.failed(f"{type(error).__name__}: {error}")
                if asked is not None:
                    asked.set()

    def _export(self, source: Source, converter: "Converter", exporter: "MetricExporter", overheard: "Overheard") -> None:
        failed = False
        for request, points in converter.requests(source.metrics(), time.time_ns()):
            # After one failure the rest of the round would only fail more slowly.
            if not failed and self._send(request, exporter, overheard):
                self.tally.sent += points
            else:
                failed = True
                self.tally.failed += points
        if not failed:
            self.tally.last_success_s = time.time()
            self._failures.succeeded()
        elif self._exporter is not None:
            self._failures.failed(diagnose(self._endpoint, overheard.status, overheard.text))

    def _send(self, request: "MetricsData", exporter: "MetricExporter", overheard: "Overheard") -> bool:
        from opentelemetry.sdk.metrics.export import MetricExportResult

        overheard.reset()
        began = self._clock()
        result = exporter.export(request)
        self.tally.request_s = self._clock() - began
        self.tally.retries += overheard.retries
        return result is MetricExportResult.SUCCESS
