"""What a probe yields against what it declared: checked on its own worker, before the bus sees it."""

from collections.abc import Iterable, Mapping
from typing import Final

from obi_core.model import (
    OUTCOMES,
    Account,
    Instrument,
    LogEvent,
    Loss,
    Observation,
    Owner,
    Retired,
    Row,
    Severity,
    Span,
    View,
    Yielded,
)
from obi_core.probe import Probe
from obi_core.runtime.strangers import is_a, shown

MOST: Final = 200_000
"""Entries of one collection, some 100 MB; a probe that yields more floods."""


class UndeclaredError(Exception):
    """A probe yielded something that it had not declared."""


class Declared:
    """Knows what one probe class declared."""

    def __init__(self, probe: type[Probe]) -> None:
        self._instruments = {id(instrument): instrument for instrument in probe.instruments}
        self._views = {id(view): view for view in probe.views}
        self.drains = probe.drain is not Probe.drain
        """Whether the probe has events between collections."""
        self.events = 0
        """Spans and log events taken."""

    def collection(self, probe: Probe) -> list[Yielded]:
        """Take one collection: what `collect` yields, queued events, rows that ended, what was not decoded; see `gather`."""
        collected = self.gather(probe.collect())
        ended = probe.ages.retired() if probe.ages is not None else []
        return [*collected, *self.drained(probe), *ended, *undecoded(probe)]

    def drained(self, probe: Probe) -> list[Yielded]:
        """Take the queued events alone; see `gather`. Rows of a view come all or not at all, so they are refused."""
        if not self.drains:
            return []
        batch = self.gather(probe.drain(), step="drain")
        for item in batch:
            if isinstance(item, Row):
                raise UndeclaredError(f"drain filled view {item.view.name!r}, which only collect may")
        return batch

    def gather(self, items: Iterable[Yielded], most: int = MOST, *, step: str = "collect") -> list[Yielded]:
        """Take everything that one step yields.

        Raises:
            UndeclaredError: An entry of another type, or of an instrument or view that the probe does not declare.
            OverflowError: More than `most` entries.
        """
        if not isinstance(items, Iterable):
            raise UndeclaredError(f"{step} returned {shown(items)}, which is nothing to go through: yield observations")
        batch: list[Yielded] = []
        for item in items:
            if isinstance(item, Observation):
                # By identity first: an instrument holds mappings, so it has no hash, and comparing costs per row.
                if id(item.instrument) not in self._instruments:
                    self._same_instrument(item.instrument, step)
                self._value(item)
                if item.owner is not None and type(item.owner) is not Owner:
                    raise UndeclaredError(f"{item.instrument.name} was observed for {shown(item.owner)}, which is no Owner")
                hash(item.key)
            elif isinstance(item, Row):
                if id(item.view) not in self._views:
                    self._same_view(item.view, step)
                self._cells(item)
                hash(item.key)
            elif isinstance(item, Retired):
                hash(item.key)
            else:
                self._event(item, step)
            if len(batch) == most:
                raise OverflowError(f"one {step} yielded more than {most} entries")
            batch.append(item)
        return batch

    def _event(self, item: object, step: str) -> None:
        self.events += isinstance(item, Span | LogEvent)
        match item:
            case Loss():
                whole = is_a(item.cause, str) and is_a(item.count, int)
            case Account():
                whole = item.outcome in OUTCOMES and is_a(item.count, int)
            case Span():
                whole = is_a(item.name, str) and is_a(item.start_ns, int) and is_a(item.end_ns, int)
                whole = whole and is_a(item.error_type, str) and _speakable(item.attributes) and _owned(item.owner)
                if item.measured is not None and id(item.measured) not in self._instruments:
                    self._same_instrument(item.measured, step)
            case LogEvent():
                whole = is_a(item.name, str) and is_a(item.body, str) and is_a(item.time_ns, int)
                whole = whole and is_a(item.severity, Severity) and _speakable(item.attributes) and _owned(item.owner)
            case _:
                raise UndeclaredError(f"{step} yielded a {type(item).__name__}, which is not an observation, row or event")
        if not whole:
            raise UndeclaredError(
                f"{step} yielded {shown(item)}, whose fields are not of the types that they are declared with"
            )

    @staticmethod
    def _cells(item: Row) -> None:
        cells: object = item.cells
        if not isinstance(cells, tuple) or len(cells) != len(item.view.columns):
            raise UndeclaredError(f"view {item.view.name!r} has {len(item.view.columns)} columns, a row had {shown(cells)}")

    def _same_instrument(self, instrument: Instrument, step: str) -> None:
        if instrument not in self._instruments.values():
            name = getattr(instrument, "name", instrument)
            raise UndeclaredError(f"{step} observed {name!r}, which the probe does not declare")

    def _same_view(self, view: View, step: str) -> None:
        if view not in self._views.values():
            name = getattr(view, "name", view)
            raise UndeclaredError(f"{step} filled view {name!r}, which the probe does not declare")

    @staticmethod
    def _value(item: Observation) -> None:
        buckets = item.instrument.buckets
        if buckets is None:
            if not isinstance(item.value, int | float):
                raise UndeclaredError(f"{item.instrument.name} was observed as {item.value!r}, which is not a number")
        elif not isinstance(item.value, tuple) or len(item.value) != buckets.count + 1:
            raise UndeclaredError(
                f"{item.instrument.name} was observed without its {buckets.count} bucket counts and their sum"
            )


def _speakable(attributes: object) -> bool:
    return isinstance(attributes, Mapping) and all(
        isinstance(name, str) and isinstance(value, str | int | float) for name, value in attributes.items()
    )


def _owned(owner: object) -> bool:
    return owner is None or type(owner) is Owner


def undecoded(probe: Probe) -> list[Yielded]:
    """Records whose size is not that of their type, as losses: the probe never sees them, so it cannot say."""
    try:
        lost = probe.bpf.decode_lost
    except RuntimeError:  # a probe without a BPF object
        return []
    return [Loss(f"{source}_size", count, "decode") for source, count in lost.items()]
