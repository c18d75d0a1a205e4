"""From what the bus knows to requests, signal by signal. One thread."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from obi_core.bus.request import Request
from obi_core.identity.resource import agent_version
from obi_core.model import Span
from obi_core.settings import CoreSettings, Signal
from obi_core.sink import Happening, Source
from obi_core.sinks.otlp.events import EventsEncoder
from obi_core.sinks.otlp.exemplars import Exemplars
from obi_core.sinks.otlp.ids import IdMaker
from obi_core.sinks.otlp.lane import Lane
from obi_core.sinks.otlp.metrics import MetricsEncoder
from obi_core.sinks.otlp.outcome import Outcome, Verdict
from obi_core.sinks.otlp.scopes import OWN_SCOPE

_MOST_EVENTS: Final = 100_000
_FOR_EVER_S: Final = 3_600.0


class Gatherer:
    """Makes the requests of all signals.

    Args:
        settings: All core sections.
        resource: Attributes of this agent.
        lanes: Where the requests go, by signal.
        source: The bus.
        clock: ns, realtime.
    """

    def __init__(
        self,
        settings: CoreSettings,
        resource: Mapping[str, str],
        lanes: Mapping[Signal, Lane],
        source: Source,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._lanes, self._source, self._clock = lanes, source, clock
        self._exports = {signal: export.settings for signal in lanes if (export := settings.export(signal)) is not None}
        self._own_every, self._turn = settings.agent.own_spans_every, 0
        versions, exemplars = {OWN_SCOPE: agent_version()}, Exemplars()
        self._metrics: MetricsEncoder | None = None
        if "metrics" in lanes:
            batch = self._exports["metrics"].batch_items
            self._metrics = MetricsEncoder(resource, versions, settings.otlp_metrics, batch, exemplars)
        self._events: EventsEncoder | None = None
        if lanes.keys() - {"metrics"}:
            self._events = EventsEncoder(resource, versions, IdMaker(), exemplars)
        metrics = self._exports.get("metrics")
        self.interval_s = metrics.interval_s if metrics is not None else _FOR_EVER_S
        """Time between two calls of `metrics`."""
        ages = [self._exports[signal].batch_age_s for signal in lanes if signal != "metrics"]
        self.events_age_s = min(ages, default=_FOR_EVER_S)
        """Time between two calls of `events`."""

    def metrics(self, *, own_span: bool = True) -> None:
        """Make requests of every series.

        Args:
            own_span: Whether this export may become a span of the agent's own.
        """
        if self._metrics is None:
            return
        lane, began_ns, points = self._lanes["metrics"], self._clock(), 0
        made = list(self._metrics.requests(self._source.metrics(), began_ns))
        self._turn += 1
        chosen = own_span and self._own_every and (self._turn - 1) % self._own_every == 0
        for number, request in enumerate(made, 1):
            points += request.items
            last = chosen and number == len(made)
            lane.offer(request, self._told(began_ns, points, len(made)) if last else None)

    def events(self) -> None:
        """Make requests of the spans and log events that wait; those of a signal that is not exported are let go."""
        if self._events is None:
            return
        happenings = self._source.happenings(_MOST_EVENTS)
        encoders: dict[Signal, Callable[[Sequence[Happening], int], Iterator[Request]]] = {
            "traces": self._events.spans,
            "logs": self._events.logs,
        }
        for signal, encode in encoders.items():
            if signal in self._lanes:
                for request in encode(happenings, self._exports[signal].batch_items):
                    self._lanes[signal].offer(request)

    def _told(self, began_ns: int, points: int, requests: int) -> Callable[[Outcome], None]:
        def told(outcome: Outcome) -> None:
            failed = "" if outcome.verdict is Verdict.TAKEN else outcome.status.lower() or "unreachable"
            attributes: dict[str, str | int | float] = {
                "obi.export.signal": "metrics",
                "obi.export.items": points,
                "obi.export.requests": requests,
            }
            self._source.note(Span("obi export", began_ns, self._clock(), None, attributes, failed))

        return told
