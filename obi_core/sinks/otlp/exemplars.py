"""Exemplars: the newest span of a histogram's series, so that a slow bucket leads to a call that was slow."""

from collections.abc import Mapping
from typing import Final

from obi_core.model import Span
from obi_core.sinks.otlp import wire

_MOST: Final = 4_096
"""Series with an exemplar that waits; the oldest go."""
_ERROR: Final = "error.type"


class Exemplars:
    """Keeps one span per series until its next export."""

    def __init__(self) -> None:
        self._newest: dict[tuple[str, object], bytes] = {}

    def note(self, span: Span, subject: Mapping[str, str | int], trace_id: bytes, span_id: bytes) -> None:
        """Remember a span that says which histogram its duration was counted in."""
        instrument = span.measured
        if instrument is None:
            return
        said = {**span.attributes, **({_ERROR: span.error_type} if span.error_type else {})}
        own = {name: said[name] for name in instrument.attributes if name in said}
        key = (instrument.name, tuple(sorted({**(subject if instrument.subject else {}), **own}.items())))
        self._newest.pop(key, None)
        # Exemplar: time 2, as_double 3, span_id 4, trace_id 5
        self._newest[key] = (
            wire.fixed(2, span.end_ns)
            + wire.double(3, (span.end_ns - span.start_ns) / 1e9)
            + wire.block(4, span_id)
            + wire.block(5, trace_id)
        )
        while len(self._newest) > _MOST:
            del self._newest[next(iter(self._newest))]

    def take(self, field: int, instrument: str, attributes: object) -> bytes:
        """Give a series' exemplar as a field of its point, once; empty if there is none."""
        if not self._newest:
            return b""
        body = self._newest.pop((instrument, attributes), b"")
        return wire.block(field, body) if body else b""
