"""What is true of anything that any probe yields."""

from collections.abc import Iterable, Mapping
from typing import Final

from obi_core.model import Instrument, Kind, LogEvent, Metric, Observation, Span, Yielded

LONGEST: Final = 256
"""Characters of one attribute's value; backends cut or refuse what is longer."""


def check_attributes(batch: Iterable[Yielded]) -> None:
    """Assert that points carry only attributes that their instrument declares, with values that every sink can carry."""
    for item in batch:
        if isinstance(item, Observation):
            undeclared = set(item.attributes) - set(item.instrument.attributes)
            assert not undeclared, f"{item.instrument.name} carries {', '.join(sorted(undeclared))}"
            _check_values(item.instrument.name, item.attributes, str | int)
        elif isinstance(item, Span | LogEvent):
            _check_values(item.name, item.attributes, str | int | float)
        if isinstance(item, Span):
            assert item.start_ns <= item.end_ns, f"span {item.name} ends before it starts"


def check_counters(earlier: Iterable[Yielded], later: Iterable[Yielded]) -> None:
    """Assert that no row of a counter or histogram fell between two collections."""
    before = {(item.instrument.name, item.key): _parts(item) for item in _cumulative(earlier)}
    for item in _cumulative(later):
        old = before.get((item.instrument.name, item.key), ())
        for was, now in zip(old, _parts(item), strict=False):
            assert now >= was, f"{item.instrument.name} of row {item.key!r} fell from {was} to {now}"


def check_series(earlier: Iterable[Metric], later: Iterable[Metric]) -> None:
    """Assert that no series of a counter or histogram fell or went between two readings of the bus."""
    now = {(metric.instrument.name, point.attributes): point.value for metric in later for point in metric.points}
    for metric in earlier:
        if not _monotonic(metric.instrument):
            continue
        for point in metric.points:
            name = metric.instrument.name
            value = now.get((name, point.attributes))
            assert value is not None, f"series {name} {dict(point.attributes)} is gone after a restart"
            for was, is_now in zip(_numbers(point.value), _numbers(value), strict=True):
                assert is_now >= was, f"series {name} {dict(point.attributes)} fell from {was} to {is_now}"


def _check_values(name: str, attributes: Mapping[str, object], allowed: object) -> None:
    for key, value in attributes.items():
        assert isinstance(value, allowed), f"{name} has the {key} {value!r}, which no backend takes"  # type: ignore[arg-type]
        length = len(value) if isinstance(value, str) else 0
        assert length <= LONGEST, f"{name} has a {key} of {length} characters; the most is {LONGEST}"


def _parts(item: Observation) -> tuple[float, ...]:
    return _numbers(item.value)


def _numbers(value: float | tuple[int, ...]) -> tuple[float, ...]:
    return value if isinstance(value, tuple) else (value,)


def _cumulative(batch: Iterable[Yielded]) -> Iterable[Observation]:
    for item in batch:
        if isinstance(item, Observation) and _monotonic(item.instrument):
            yield item


def _monotonic(instrument: Instrument) -> bool:
    return instrument.kind in (Kind.COUNTER, Kind.HISTOGRAM)
