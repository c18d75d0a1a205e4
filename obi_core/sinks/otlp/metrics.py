"""Metrics straight into the bytes of ExportMetricsServiceRequest, with the attributes' bytes kept per series.

Everything in a point but time and value is the same at every export, so it is written once for the life of a series. Field
numbers are those of opentelemetry/proto/metrics/v1/metrics.proto.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from obi_core.bus.request import Request
from obi_core.model import Buckets, Kind, Metric, Point
from obi_core.settings import OtlpMetricsSettings
from obi_core.sinks.naming import family_name
from obi_core.sinks.octaves import octaves
from obi_core.sinks.otlp import wire
from obi_core.sinks.otlp.exemplars import Exemplars
from obi_core.sinks.otlp.scopes import SCHEMA_URL, scope_block

_CUMULATIVE: Final = 2
_PACK_INT: Final = struct.Struct("<Bq").pack
_PACK_DOUBLE: Final = struct.Struct("<Bd").pack
_AS_DOUBLE: Final = 4 << 3 | 1
_AS_INT: Final = 6 << 3 | 1
_TIME: Final = 3
_FIXED_BYTES: Final = 9
"""Of a tag and its eight bytes."""


@dataclass(slots=True)
class _Known:
    """What is kept of one series."""

    attributes: object
    """Held, so that its address stays its name."""
    head: bytes
    counts: tuple[int, ...] = ()
    """The buckets that `body` says."""
    body: bytes = b""


class MetricsEncoder:
    """Writes requests of bounded size.

    Args:
        resource: Attributes of this agent.
        versions: Versions of distributions, by name.
        settings: Naming, kind of histograms.
        batch: Points of one request.
        exemplars: The newest span of each histogram's series.
    """

    def __init__(
        self,
        resource: Mapping[str, str],
        versions: Mapping[str, str],
        settings: OtlpMetricsSettings,
        batch: int,
        exemplars: Exemplars | None = None,
    ) -> None:
        self._resource = wire.block(1, wire.attributes(1, sorted(resource.items())))
        self._versions, self._batch = versions, batch
        self._prometheus = settings.naming == "prometheus"
        self._explicit = settings.histograms == "explicit"
        self._exemplars = exemplars or Exemplars()
        self._known: dict[tuple[int, str], _Known] = {}
        self._used: dict[tuple[int, str], _Known] = {}

    def requests(self, metrics: Sequence[Metric], now_ns: int) -> Iterator[Request]:
        """Write everything that the bus knows.

        Args:
            metrics: A snapshot of the bus.
            now_ns: Moment of the export, realtime clock: all points are of this moment, because a store takes a series
                whose points stop moving for a stale one.
        """
        self._used = {}
        held: dict[str, list[bytes]] = {}
        room = self._batch
        for metric in metrics:
            points = metric.points
            while points:
                part = points[:room]
                held.setdefault(metric.scope, []).append(wire.block(2, self._metric(metric, part, now_ns)))
                room -= len(part)
                points = points[len(part) :]
                if not room:
                    yield self._request(held, self._batch)
                    held, room = {}, self._batch
        if held:
            yield self._request(held, self._batch - room)
        self._known = self._used

    def _request(self, held: Mapping[str, Sequence[bytes]], points: int) -> Request:
        scopes = [
            wire.block(2, scope_block(1, scope, self._versions) + b"".join(metrics) + wire.text(3, SCHEMA_URL))
            for scope, metrics in held.items()
        ]
        body = self._resource + b"".join(scopes) + wire.text(3, SCHEMA_URL)
        return Request("metrics", wire.block(1, body), points)

    def _metric(self, metric: Metric, points: Sequence[Point], now_ns: int) -> bytes:
        instrument = metric.instrument
        name = instrument.name
        if self._prometheus and metric.scope:
            name = family_name(metric) + ("_total" if instrument.kind is Kind.COUNTER else "")
        head = wire.text(1, name) + wire.text(2, instrument.description) + wire.text(3, instrument.unit)
        if instrument.kind is Kind.HISTOGRAM:
            return head + self._histogram(metric, points, now_ns)
        data = self._numbers(metric, points, now_ns)
        if instrument.kind is Kind.GAUGE:
            return head + wire.block(5, data)
        monotonic = wire.number(3, 1) if instrument.kind is Kind.COUNTER else b""
        return head + wire.block(7, data + wire.number(2, _CUMULATIVE) + monotonic)

    def _numbers(self, metric: Metric, points: Sequence[Point], now_ns: int) -> bytes:
        # NumberDataPoint: start 2, time 3, as_double 4, as_int 6, attributes 7. Ten thousand a turn: nothing is called twice.
        known, used, name = self._known, self._used, metric.instrument.name
        started = metric.instrument.kind is not Kind.GAUGE
        moment = wire.fixed(_TIME, now_ns)
        out: list[bytes] = []
        for point in points:
            key = (id(point.attributes), name)
            series = known.get(key)
            if series is None or series.attributes is not point.attributes:
                series = _Known(point.attributes, self._number_head(point, started=started))
            used[key] = series
            value = point.value
            if isinstance(value, int):
                # sfixed64; what is beyond it a double tells better than an error
                packed = _PACK_INT(_AS_INT, value) if -(1 << 63) <= value < 1 << 63 else _PACK_DOUBLE(_AS_DOUBLE, value)
            elif isinstance(value, float):
                packed = _PACK_DOUBLE(_AS_DOUBLE, value)
            else:
                raise TypeError(f"{name}: {value!r} is no number")
            out += (series.head, moment, packed)
        return b"".join(out)

    @staticmethod
    def _number_head(point: Point, *, started: bool) -> bytes:
        rest = wire.attributes(7, point.attributes) + (wire.fixed(2, point.start_ns) if started else b"")
        return b"\x0a" + wire.varint(len(rest) + 2 * _FIXED_BYTES) + rest

    def _histogram(self, metric: Metric, points: Sequence[Point], now_ns: int) -> bytes:
        layout = metric.instrument.buckets
        if layout is None:
            raise TypeError(f"{metric.instrument.name}: a histogram without buckets")
        # ExponentialHistogramDataPoint keeps attributes in 1, HistogramDataPoint in 9; both have start in 2
        field, place, write = (9, 9, self._explicit_body) if self._explicit else (10, 1, self._exponential_body)
        moment, out = wire.fixed(_TIME, now_ns), []
        exemplar_field = 8 if self._explicit else 11
        for point in points:
            if not isinstance(point.value, tuple):
                raise TypeError(f"{metric.instrument.name}: {point.value!r} is no histogram")
            key = (id(point.attributes), metric.instrument.name)
            series = self._known.get(key)
            if series is None or series.attributes is not point.attributes:
                head = wire.attributes(place, point.attributes) + wire.fixed(2, point.start_ns)
                series = _Known(point.attributes, head)
            if series.counts != point.value:
                series.counts, series.body = point.value, write(layout, point.value)
            self._used[key] = series
            exemplar = self._exemplars.take(exemplar_field, metric.instrument.name, point.attributes)
            out.append(wire.block(1, series.head + moment + series.body + exemplar))
        return wire.block(field, b"".join(out) + wire.number(2, _CUMULATIVE))

    @staticmethod
    def _exponential_body(layout: Buckets, value: tuple[int, ...]) -> bytes:
        # count 4, sum 5, scale 6, zero_count 7 (left out: 0), positive 8 {offset 1, bucket_counts 2}
        counts = value[:-1]
        low = next((index for index, count in enumerate(counts) if count), len(counts))
        high = next((index + 1 for index in range(len(counts) - 1, low - 1, -1) if counts[index]), low)
        filled = counts[low:high]
        # numbers below 128 are their own varints
        packed = bytes(filled) if not filled or max(filled) < 128 else b"".join(map(wire.varint, filled))  # noqa: PLR2004
        positive = wire.signed(1, layout.first + low if filled else layout.first) + wire.block(2, packed)
        return (
            wire.fixed(4, sum(counts))
            + wire.double(5, value[-1] * layout.sum_unit)
            + wire.signed(6, layout.scale)
            + wire.block(8, positive)
        )

    @staticmethod
    def _explicit_body(layout: Buckets, value: tuple[int, ...]) -> bytes:
        # count 4, sum 5, bucket_counts 6 (one more than bounds), explicit_bounds 7
        counts, bounds = value[:-1], octaves(layout)
        ends = [0, *(count for count, _ in bounds), len(counts)]
        sums = [sum(counts[low:high]) for low, high in pairwise(ends)]
        return (
            wire.fixed(4, sum(counts))
            + wire.double(5, value[-1] * layout.sum_unit)
            + wire.block(6, struct.pack(f"<{len(sums)}Q", *sums))
            + wire.block(7, struct.pack(f"<{len(bounds)}d", *(bound for _, bound in bounds)))
        )
