"""The bus's metrics as the OpenTelemetry SDK's data, in requests of bounded size."""

from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Final

from obi_core.model import Kind, Metric, Point

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics import export as sdk
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope

POINTS_PER_REQUEST: Final = 4_000
"""Keeps a request below gRPC's usual limit of 4 MB."""
_OWN_SCOPE: Final = "obi-core"


class Converter:
    """Makes SDK data of points.

    Args:
        resource: Attributes of this agent.
    """

    def __init__(self, resource: Mapping[str, str]) -> None:
        from opentelemetry.sdk.resources import Resource  # only where OTLP is sent

        # Not Resource.create, which would add the SDK's own attributes and those of the environment.
        self._resource: Resource = Resource(dict(resource))
        self._scopes: dict[str, InstrumentationScope] = {}

    def requests(self, metrics: Sequence[Metric], now_ns: int) -> Iterator[tuple["sdk.MetricsData", int]]:
        """Split what the bus knows into requests.

        Args:
            metrics: A snapshot of the bus.
            now_ns: Moment of the export, realtime clock: all points are of this moment, because a store takes a series
                whose points stop moving for a stale one.

        Yields:
            A request, and the number of points in it.
        """
        held: list[tuple[Metric, tuple[Point, ...]]] = []
        room = POINTS_PER_REQUEST
        for metric in metrics:
            points = metric.points
            while points:
                held.append((metric, points[:room]))
                room -= len(held[-1][1])
                points = points[len(held[-1][1]) :]
                if not room:
                    yield self._request(held, now_ns), POINTS_PER_REQUEST
                    held, room = [], POINTS_PER_REQUEST
        if held:
            yield self._request(held, now_ns), POINTS_PER_REQUEST - room

    def _request(self, parts: list[tuple[Metric, tuple[Point, ...]]], now_ns: int) -> "sdk.MetricsData":
        from opentelemetry.sdk.metrics import export as sdk

        scopes: dict[str, list[sdk.Metric]] = {}
        for metric, points in parts:
            instrument = metric.instrument
            data = _data(metric, points, now_ns)
            scopes.setdefault(metric.scope, []).append(
                sdk.Metric(instrument.name, instrument.description, instrument.unit, data)
            )
        of_scope = [sdk.ScopeMetrics(self._scope(name), converted, "") for name, converted in scopes.items()]
        return sdk.MetricsData([sdk.ResourceMetrics(self._resource, of_scope, "")])

    def _scope(self, scope: str) -> "InstrumentationScope":
        known = self._scopes.get(scope)
        if known is None:
            from opentelemetry.sdk.util.instrumentation import InstrumentationScope

            name, _, number = (scope or _OWN_SCOPE).partition(" ")
            known = self._scopes[scope] = InstrumentationScope(name, number or _version(name))
        return known


def _data(metric: Metric, points: Sequence[Point], now_ns: int) -> "sdk.DataT":
    from opentelemetry.sdk.metrics import export as sdk

    kind = metric.instrument.kind
    cumulative = sdk.AggregationTemporality.CUMULATIVE
    if kind is Kind.HISTOGRAM:
        return sdk.ExponentialHistogram([_distribution(metric, point, now_ns) for point in points], cumulative)
    numbers = [
        sdk.NumberDataPoint(dict(point.attributes), point.start_ns, now_ns, point.value)
        for point in points
        if not isinstance(point.value, tuple)
    ]
    if kind is Kind.GAUGE:
        return sdk.Gauge(numbers)
    return sdk.Sum(numbers, cumulative, kind is Kind.COUNTER)


def _distribution(metric: Metric, point: Point, now_ns: int) -> "sdk.ExponentialHistogramDataPoint":
    from opentelemetry.sdk.metrics import export as sdk

    layout = metric.instrument.buckets
    if layout is None or not isinstance(point.value, tuple):
        raise TypeError(f"{metric.instrument.name}: a histogram without buckets")
    *counts, total = point.value
    filled = [index for index, count in enumerate(counts) if count]
    low, high = (filled[0], filled[-1] + 1) if filled else (0, 0)
    return sdk.ExponentialHistogramDataPoint(
        attributes=dict(point.attributes),
        start_time_unix_nano=point.start_ns,
        time_unix_nano=now_ns,
        count=sum(counts),
        sum=total * layout.sum_unit,
        scale=layout.scale,
        zero_count=0,
        positive=sdk.Buckets(layout.first + low, counts[low:high]),
        negative=sdk.Buckets(0, []),
        flags=0,
        min=None,  # type: ignore[arg-type]  # the kernel keeps no extremes: left out of the protobuf
        max=None,  # type: ignore[arg-type]
    )


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""
