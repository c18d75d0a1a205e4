"""One serialised request: what waits, is kept on disk, and is sent."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from obi_core.settings import Signal


@dataclass(frozen=True, slots=True)
class Request:
    """A serialised ExportTraceServiceRequest, ExportMetricsServiceRequest or ExportLogsServiceRequest."""

    signal: Signal
    payload: bytes
    items: int
    """Points, spans or log records in it."""
    probes: Mapping[str, int] = field(default_factory=dict)
    """Spans or log records by probe; empty for metrics, whose points are told again by the next request."""
