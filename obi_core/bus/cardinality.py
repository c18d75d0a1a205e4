"""How many series each metric has, and what each attribute costs: how many fewer there would be without it. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from obi_core.model import Metric


@dataclass(frozen=True, slots=True)
class AttributeCost:
    """One attribute of one metric."""

    name: str
    values: int
    """Distinct values."""
    without: int
    """Series that would be left without it."""


@dataclass(frozen=True, slots=True)
class MetricCost:
    """One metric."""

    name: str
    series: int
    overflowed: bool
    """Whether there are more than were counted apart."""
    attributes: tuple[AttributeCost, ...]
    """The dearest first."""


def cardinality(metrics: Iterable[Metric]) -> list[MetricCost]:
    """Count; the metric with most series first. Metrics without series are left out."""
    costs = [_cost(metric) for metric in metrics if metric.points]
    return sorted(costs, key=lambda cost: (-cost.series, cost.name))


def _cost(metric: Metric) -> MetricCost:
    sets = [dict(point.attributes) for point in metric.points]
    overflowed = any("otel.metric.overflow" in each for each in sets)
    sets = [each for each in sets if "otel.metric.overflow" not in each]
    names = sorted({name for each in sets for name in each})
    attributes = [_attribute(name, sets) for name in names]
    return MetricCost(
        metric.instrument.name,
        len(sets),
        overflowed,
        tuple(sorted(attributes, key=lambda cost: (cost.without, -cost.values, cost.name))),
    )


def _attribute(name: str, sets: Sequence[dict[str, str | int | bool]]) -> AttributeCost:
    values = {each[name] for each in sets if name in each}
    left = {tuple(pair for pair in each.items() if pair[0] != name) for each in sets}
    return AttributeCost(name, len(values), len(left))
