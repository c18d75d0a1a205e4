"""The OTLP sink: metrics once an interval, spans and log events soon after they happen, each signal to its own endpoint.

Nothing of OpenTelemetry is imported before an endpoint is configured. One thread makes requests; one per signal sends them.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import TYPE_CHECKING, ClassVar, Final, Self

from obi_core.model import Metric
from obi_core.settings import SIGNALS, CoreSettings, Signal
from obi_core.sink import Sink, Source
from obi_core.sinks.otlp.lane import Lane
from obi_core.sinks.otlp.store import Store
from obi_core.sinks.otlp.tally import Tally, exporter_metrics
from obi_core.sinks.otlp.transport import Destination, destination, make_transport

if TYPE_CHECKING:
    from obi_core.sinks.otlp.gather import Gatherer

_log: Final = logging.getLogger(__name__)

_SECTIONS: Final = ("otlp", "otlp_traces", "otlp_metrics", "otlp_logs", "spool", "resource")
"""What both sinks read."""


class OtlpSink(Sink):
    """Pushes what the bus knows to the endpoints of the settings.

    Args:
        settings: All core sections.
        resource: Attributes of this agent.
        destinations: Of the signals that are exported.
        clock: Monotonic, s.
    """

    name: ClassVar[str] = "otlp"
    sections: ClassVar[tuple[str, ...] | None] = _SECTIONS

    def __init__(
        self,
        settings: CoreSettings,
        resource: Mapping[str, str],
        destinations: Sequence[Destination],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings, self._resource, self._destinations, self._clock = settings, resource, destinations, clock
        self._lanes: dict[Signal, Lane] = {}
        self._asked: SimpleQueue[Event | None] = SimpleQueue()
        self._woken = Event()
        self._thread: Thread | None = None
        self._started_ns = time.time_ns()

    @classmethod
    def create(cls, settings: CoreSettings, resource: Mapping[str, str]) -> Self | None:
        """Check endpoints, headers and TLS files; None if no signal has an endpoint.

        Raises:
            ConfigError: One of them is wrong.
        """
        found = [destination(export) for signal in SIGNALS if (export := settings.export(signal)) is not None]
        return cls(settings, resource, found) if found else None

    def start(self, source: Source) -> None:
        """Begin to export: now, and then as often as the settings say."""
        from obi_core.sinks.otlp.gather import Gatherer

        for to in self._destinations:
            signal = to.export.signal
            store = Store(self._settings.spool, signal)
            self._lanes[signal] = Lane(to, make_transport(to), store, source.undelivered)
        if self._lanes.keys() - {"metrics"}:
            source.watch(self._wake)
        gatherer = Gatherer(self._settings, self._resource, self._lanes, source)
        for lane in self._lanes.values():
            lane.start()
        self._thread = Thread(target=self._run, args=(gatherer,), name="obi-otlp", daemon=True)
        self._thread.start()

    def own(self) -> Sequence[Metric]:
        """Say what was sent and what was not."""
        return exporter_metrics({signal: lane.tally for signal, lane in self._lanes.items()}, self._started_ns)

    def tally(self, signal: Signal) -> Tally:
        """How the export of one signal is doing."""
        return self._lanes[signal].tally

    def flush(self, deadline_s: float) -> None:
        """Make the last requests and send what waits; give up after `deadline_s` seconds."""
        until = self._clock() + deadline_s
        if self._thread is None or not self._thread.is_alive():
            return
        done = Event()
        self._asked.put(done)
        late = not done.wait(deadline_s)
        for lane in self._lanes.values():
            late = not lane.flush(max(0.0, until - self._clock())) or late
        if late:
            _log.warning("the last export over OTLP did not end within %g s", deadline_s)

    def stop(self) -> None:
        """End the threads; a request under way is broken off, what was not sent goes to the spool. Idempotent."""
        self._asked.put(None)
        if self._thread is not None:
            self._thread.join(1.0)
        for lane in self._lanes.values():
            lane.stop()

    def _wake(self) -> None:
        self._woken.set()
        self._asked.put(self._woken)

    def _run(self, gatherer: "Gatherer") -> None:
        metrics_due = events_due = self._clock()
        while True:
            asked: Event | None = None
            try:
                asked = self._asked.get(timeout=max(0.0, min(metrics_due, events_due) - self._clock()))
                if asked is None:
                    return
            except Empty:
                pass
            now = self._clock()
            final = asked is not None and asked is not self._woken
            try:
                if final or now >= metrics_due:
                    metrics_due = max(metrics_due + gatherer.interval_s, now)
                    gatherer.metrics(own_span=not final)
                if final or asked is not None or now >= events_due:
                    events_due = now + gatherer.events_age_s
                    gatherer.events()
            except Exception:  # noqa: BLE001 - an isolation border: one bad value must not end all exports
                _log.exception("a request over OTLP could not be made")
            if asked is not None:
                asked.set()


class NoOtlp(Sink):
    """Stands in where nothing is exported, so that every `otlp_exporter_*` series is there, as 0."""

    name: ClassVar[str] = ""
    sections: ClassVar[tuple[str, ...] | None] = _SECTIONS

    @classmethod
    def create(cls, settings: CoreSettings, resource: Mapping[str, str]) -> Self | None:  # noqa: ARG003 - it sends nothing
        """Make it if no signal has an endpoint."""
        return None if any(settings.export(signal) for signal in SIGNALS) else cls()

    def start(self, source: Source) -> None:
        """Do nothing."""

    def own(self) -> Sequence[Metric]:
        """Say that nothing was sent."""
        return exporter_metrics({}, 0)
