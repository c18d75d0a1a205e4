"""What a probe yields against what it declared: checked on its own worker, before the bus sees it."""

from collections.abc import Iterable
from typing import Final

from obi_core.model import Instrument, LogEvent, Loss, Observation, Retired, Row, Span, View, Yielded
from obi_core.probe import Probe

MOST: Final = 500_000
"""Entries of one collection; a probe that yields more floods."""


class UndeclaredError(Exception):
    """A probe yielded something that it had not declared."""


class Declared:
    """Knows what one probe class declared."""

    def __init__(self, probe: type[Probe]) -> None:
        self._instruments = {id(instrument): instrument for instrument in probe.instruments}
        self._views = {id(view): view for view in probe.views}

    def gather(self, items: Iterable[Yielded], most: int = MOST) -> list[Yielded]:
        """Take everything that one collection yields.

        Raises:
            UndeclaredError: An entry of another type, or of an instrument or view that the probe does not declare.
            OverflowError: More than `most` entries.
        """
        batch: list[Yielded] = []
        for item in items:
            if isinstance(item, Observation):
                # By identity first: an instrument holds mappings, so it has no hash, and comparing costs per row.
                if id(item.instrument) not in self._instruments:
                    self._same_instrument(item.instrument)
                self._value(item)
                hash(item.key)
            elif isinstance(item, Row):
                if id(item.view) not in self._views:
                    self._same_view(item.view)
                hash(item.key)
            elif isinstance(item, Retired):
                hash(item.key)
            elif not isinstance(item, Span | LogEvent | Loss):
                raise UndeclaredError(f"collect yielded a {type(item).__name__}, which is not an observation, row or event")
            if len(batch) == most:
                raise OverflowError(f"one collection yielded more than {most} entries")
            batch.append(item)
        return batch

    def _same_instrument(self, instrument: Instrument) -> None:
        if instrument not in self._instruments.values():
            name = getattr(instrument, "name", instrument)
            raise UndeclaredError(f"collect observed {name!r}, which the probe does not declare")

    def _same_view(self, view: View) -> None:
        if view not in self._views.values():
            name = getattr(view, "name", view)
            raise UndeclaredError(f"collect filled view {name!r}, which the probe does not declare")

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
