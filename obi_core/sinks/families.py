"""The bus's metrics as prometheus-client's: a custom collector."""

from collections.abc import Iterator

from prometheus_client import Metric as Family
from prometheus_client.samples import Sample

from obi_core.model import Buckets, Kind, Metric, Point
from obi_core.sink import Source
from obi_core.sinks.naming import family_name, label_name, label_value
from obi_core.sinks.octaves import cumulative, octaves

_TYPES = {Kind.COUNTER: "counter", Kind.UPDOWNCOUNTER: "gauge", Kind.GAUGE: "gauge", Kind.HISTOGRAM: "histogram"}
_Labels = list[dict[str, str]]


class BusCollector:
    """Reads the bus at each scrape. Labels are worked out once per series and kept while the series lives."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._labels: dict[tuple[int, str], tuple[object, _Labels]] = {}
        self._bounds: dict[Buckets, tuple[tuple[int, float], ...]] = {}

    def collect(self) -> Iterator[Family]:
        """Give every metric as one family, its samples in the order of the series."""
        families: dict[str, Family] = {}
        used: dict[tuple[int, str], tuple[object, _Labels]] = {}
        for metric in self._source.metrics():
            name = family_name(metric)
            kind = _TYPES[metric.instrument.kind]
            family = families.setdefault(name, Family(name, metric.instrument.description, kind))
            if family.type != kind:
                continue  # Two plugins disagree about one name; text with both would be refused as a whole.
            for point in metric.points:
                # The attributes are one object for the life of a series, so its address is its name while we hold it.
                key = (id(point.attributes), name)
                known = self._labels.get(key)
                if known is None or known[0] is not point.attributes:
                    known = (point.attributes, self._label(metric, point))
                used[key] = known
                self._add(family, metric, point, known[1])
        self._labels = used
        yield from families.values()

    def _label(self, metric: Metric, point: Point) -> _Labels:
        labels = {label_name(name): label_value(value) for name, value in point.attributes}
        layout = metric.instrument.buckets
        if layout is None:
            return [labels]
        bounds = [repr(bound) for _, bound in self._octaves(layout)]
        return [labels, *({**labels, "le": bound} for bound in [*bounds, "+Inf"])]

    def _add(self, family: Family, metric: Metric, point: Point, labels: _Labels) -> None:
        value, layout, name = point.value, metric.instrument.buckets, family.name
        if isinstance(value, tuple):
            if layout is None:
                return
            counts = cumulative(value[:-1], self._octaves(layout))
            total = value[-1] if layout.sum_unit == 1 else value[-1] * layout.sum_unit
            bucket = name + "_bucket"
            family.samples += [Sample(bucket, each, count) for each, count in zip(labels[1:], counts, strict=True)]
            family.samples.append(Sample(name + "_count", labels[0], counts[-1]))
            family.samples.append(Sample(name + "_sum", labels[0], total))
        else:
            family.samples.append(Sample(name + "_total" if family.type == "counter" else name, labels[0], value))

    def _octaves(self, layout: Buckets) -> tuple[tuple[int, float], ...]:
        return self._bounds.get(layout) or self._bounds.setdefault(layout, octaves(layout))
