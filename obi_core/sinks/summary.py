"""One line per interval: what the headline instruments counted since the line before."""

from collections.abc import Mapping, Sequence
from typing import Final

from obi_core.model import Kind, Metric, Point
from obi_core.sinks.cells import cell, clean

_LONGEST: Final = 2_000
_ERROR: Final = "error.type"


class Summary:
    """Turns readings of the bus into lines such as `tcp connects.client=23 connects.failed=2 io.receive=1.2MB`.

    Every headline series of a counter is there in every line, with what it counted since the last one; a level (an
    updowncounter, a gauge) is there while it is not 0. Values hold no spaces, so that a script may split the line.
    """

    def __init__(self) -> None:
        self._before: dict[tuple[str, object], int | float] = {}

    def line(self, metrics: Sequence[Metric]) -> str:
        """Write the line for a new reading; empty if no probe has headlines."""
        now: dict[tuple[str, object], int | float] = {}
        probes: dict[str, list[str]] = {}
        for metric in metrics:
            if metric.scope and metric.instrument.headline:
                probe, _, noun = metric.instrument.name.removeprefix("obi.").partition(".")
                probes.setdefault(probe, []).extend(self._words(metric, noun, now))
        self._before = now
        return clean("; ".join(" ".join([probe, *words]) for probe, words in probes.items()))[:_LONGEST]

    def _words(self, metric: Metric, noun: str, now: dict[tuple[str, object], int | float]) -> list[str]:
        instrument = metric.instrument
        counted = [(dict(point.attributes), self._since(metric, point, now)) for point in metric.points]
        words: list[str] = []
        for headline in instrument.headline:
            value = sum(number for attributes, number in counted if headline.items() <= attributes.items())
            if value or instrument.kind is Kind.COUNTER:
                words.append(f"{'.'.join([noun, *headline.values()])}={_value(value, instrument.unit)}")
        if _ERROR in instrument.attributes and instrument.kind is Kind.COUNTER:
            failed = sum(number for attributes, number in counted if _ERROR in attributes)
            words.append(f"{noun}.failed={_value(failed, instrument.unit)}")
        return words

    def _since(self, metric: Metric, point: Point, now: dict[tuple[str, object], int | float]) -> int | float:
        if metric.instrument.kind is Kind.HISTOGRAM or isinstance(point.value, tuple):
            return 0
        if metric.instrument.kind is not Kind.COUNTER:
            return point.value
        key = (metric.instrument.name, point.attributes)
        now[key] = point.value
        before = self._before.get(key, 0)
        # A series that was dropped and came back counts from its new start.
        return point.value - before if point.value >= before else point.value


def headline(resource: Mapping[str, str], interval_s: float, metrics: Sequence[Metric], rows: str) -> str:
    """Write the table's first line: host, interval, what every probe does, how much there is to see."""
    words = ["obi", resource.get("host.name", ""), f"every {cell(interval_s, 's')}"]
    words += [f"{labels.get('probe', '')}: {state}" for labels, state in _probes(metrics)]
    return clean(" · ".join(word for word in [*words, rows] if word))


def _probes(metrics: Sequence[Metric]) -> list[tuple[dict[str, str], str]]:
    # The mode of a probe that runs; the state and the reason of one that does not.
    found: dict[str, tuple[dict[str, str], str]] = {}
    for name in ("obi_probe_state", "obi_probe_mode"):
        for metric in metrics:
            if metric.instrument.name == name and not metric.scope:
                for point in metric.points:
                    labels = {label: str(value) for label, value in point.attributes}
                    text = labels.get("mode", "") or " ".join(filter(None, (labels.get("state"), labels.get("reason"))))
                    if point.value == 1 and text and "probe" in labels:
                        found[labels["probe"]] = (labels, text)
    return list(found.values())


def _value(value: float, unit: str) -> str:
    return cell(value, unit).replace(" ", "")
