"""How the export of one signal is doing: counters that add up, and the metrics made of them.

What was handed over is sent, rejected, failed, dropped, or still in the queue or the spool.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from obi_core.bus import Reading, own_metric
from obi_core.model import Kind, Metric
from obi_core.settings import SIGNALS
from obi_core.sinks.otlp.outcome import REASONS

CAUSES: Final = ("queue_full", "spool_full", "spool_age", "retry_limit", "damaged", "shutdown")
CERTIFICATES: Final = ("client", "ca")
STATES: Final = ("off", "ok", "memory_only")


@dataclass(slots=True)
class Tally:
    """Of one signal, in items unless it says otherwise."""

    offered: int = 0
    """Handed over. Written by the thread that makes requests, everything else by the one that sends them."""
    found: int = 0
    """In the spool at the start."""
    sent: int = 0
    """Taken by the endpoint."""
    rejected: int = 0
    """Thrown away by the endpoint while it took the rest of their request."""
    failed: dict[str, int] = field(default_factory=lambda: dict.fromkeys(REASONS, 0))
    """Of requests refused for good, by reason."""
    dropped: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CAUSES, 0))
    """Given up by us, by cause."""
    retries: int = 0
    """Requests sent again."""
    request_s: float = 0.0
    """Duration of the last request."""
    last_success_s: float = 0.0
    """Seconds since 1970; 0: never."""
    queued: int = 0
    """In memory now."""
    capacity: int = 0
    """That may be in memory."""
    spooled: int = 0
    """On disk now."""
    spool_bytes: int = 0
    spool_state: str = "off"
    expiry: Mapping[str, float] = field(default_factory=dict)
    """When the certificates in use end, seconds since 1970."""

    @property
    def enqueued(self) -> int:
        """Items that are to be accounted for."""
        return self.offered + self.found

    @property
    def ended(self) -> int:
        """Items that are accounted for."""
        return self.sent + self.rejected + sum(self.failed.values()) + sum(self.dropped.values())


def exporter_metrics(tallies: Mapping[str, Tally], start_ns: int) -> Sequence[Metric]:
    """Say it as metrics; every series of every signal is there, exported or not."""
    of = [(signal, tallies.get(signal) or Tally()) for signal in SIGNALS]

    def metric(name: str, kind: Kind, description: str, readings: Sequence[Reading]) -> Metric:
        return own_metric(f"otlp_exporter_{name}", kind, description, readings, start_ns=start_ns)

    def counted() -> Iterator[Metric]:
        for name, field_name, description in _COUNTERS:
            readings: list[Reading] = [({"signal": signal}, getattr(tally, field_name)) for signal, tally in of]
            yield metric(name, Kind.COUNTER, description, readings)
        for name, field_name, label, description in _LABELLED:
            yield metric(
                name,
                Kind.COUNTER,
                description,
                [({"signal": s, label: word}, n) for s, tally in of for word, n in getattr(tally, field_name).items()],
            )
        for name, field_name, description in _GAUGES:
            yield metric(
                name, Kind.GAUGE, description, [({"signal": signal}, getattr(tally, field_name)) for signal, tally in of]
            )
        yield metric(
            "certificate_expiry_timestamp_seconds",
            Kind.GAUGE,
            "When the certificate in use ends, in seconds since 1970; 0: there is none.",
            [({"signal": s, "certificate": each}, tally.expiry.get(each, 0.0)) for s, tally in of for each in CERTIFICATES],
        )
        states: list[Reading] = [
            ({"signal": signal, "state": state}, int(tally.spool_state == state)) for signal, tally in of for state in STATES
        ]
        yield metric("spool_state", Kind.GAUGE, "1 for what the spool does: off, ok, memory_only.", states)

    return tuple(counted())


_COUNTERS: Final = (
    ("enqueued_items_total", "enqueued", "Items handed to the exporter."),
    ("sent_items_total", "sent", "Items that the endpoint took."),
    ("rejected_items_total", "rejected", "Items that the endpoint rejected while it took the rest of their request."),
    ("retries_total", "retries", "Requests that were sent again."),
)
_LABELLED: Final = (
    ("failed_items_total", "failed", "reason", "Items of requests that the endpoint refused for good, by reason."),
    ("dropped_items_total", "dropped", "cause", "Items that were given up before they were sent, by cause."),
)
_GAUGES: Final = (
    ("queue_size", "queued", "Items that wait in memory."),
    ("queue_capacity", "capacity", "Items that may wait in memory."),
    ("spool_items", "spooled", "Items that wait on disk."),
    ("spool_bytes", "spool_bytes", "Bytes of requests that wait on disk."),
    ("request_seconds", "request_s", "Duration of the last request."),
    ("last_success_timestamp_seconds", "last_success_s", "Time of the last success, in seconds since 1970; 0: never."),
)
