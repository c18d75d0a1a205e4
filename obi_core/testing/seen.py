"""What a probe said in one collection, to be asked by process name: that is how exact counts stay exact on a busy machine."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from obi_core.model import LogEvent, Loss, Observation, Owner, Row, Span, Yielded
from obi_core.probe import Probe


@dataclass(frozen=True, slots=True)
class Seen:
    """Everything that one collection (and one drain) yielded."""

    yielded: tuple[Yielded, ...]

    @classmethod
    def of(cls, probe: Probe) -> "Seen":
        """Drain and collect once, with all views wanted."""
        probe.wanted = frozenset(view.name for view in probe.views)
        return cls((*probe.drain(), *probe.collect()))

    def counts(self, instrument: str, comm: str, by: str = "", **where: str) -> dict[str, int]:
        """Sum a counter of one process name by the values of one attribute; without it under `""`.

        Args:
            instrument: OpenTelemetry name.
            comm: Name of the process.
            by: Attribute to keep apart.
            where: Attributes that a point must have, with `_` for `.`.
        """
        found: Counter[str] = Counter()
        for each in self._points(instrument, comm, where):
            if not isinstance(each.value, tuple):
                found[str(each.attributes.get(by, ""))] += int(each.value)
        return {name: count for name, count in found.items() if count}

    def durations(self, instrument: str, comm: str, **where: str) -> int:
        """How many values all buckets of a histogram hold, for one process name."""
        return sum(sum(each.value[:-1]) for each in self._points(instrument, comm, where) if isinstance(each.value, tuple))

    def buckets(self, instrument: str, comm: str) -> Counter[int]:
        """Bucket counts of a histogram by OTLP index, for one process name."""
        found: Counter[int] = Counter()
        for each in self._points(instrument, comm, {}):
            if isinstance(each.value, tuple) and each.instrument.buckets:
                found.update({each.instrument.buckets.first + at: count for at, count in enumerate(each.value[:-1]) if count})
        return found

    def rows(self, comm: str) -> list[Row]:
        """Rows of views that belong to one process name."""
        return [each for each in self.yielded if isinstance(each, Row) and _is(each.owner, comm)]

    def spans(self, comm: str, name: str) -> list[Span]:
        """Spans of one process name."""
        return [each for each in self.yielded if isinstance(each, Span) and each.name == name and _is(each.owner, comm)]

    def events(self, comm: str, name: str) -> list[LogEvent]:
        """Log events of one process name."""
        return [each for each in self.yielded if isinstance(each, LogEvent) and each.name == name and _is(each.owner, comm)]

    def losses(self) -> dict[str, int]:
        """What the probe lost, by cause."""
        return {each.cause: each.count for each in self.yielded if isinstance(each, Loss)}

    def _points(self, instrument: str, comm: str, where: dict[str, str]) -> Iterable[Observation]:
        for each in self.yielded:
            if not isinstance(each, Observation) or each.instrument.name != instrument or not _is(each.owner, comm):
                continue
            if all(each.attributes.get(name.replace("_", ".")) == value for name, value in where.items()):
                yield each


def _is(owner: Owner | None, comm: str) -> bool:
    return owner is not None and owner.comm == comm
