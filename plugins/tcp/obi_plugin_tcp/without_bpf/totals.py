"""Cumulative rows that user space keeps where no BPF map does."""

from collections import OrderedDict
from collections.abc import Hashable, Iterator, Mapping

from obi_core import Instrument, Observation, Owner, Retired


class Totals:
    """Cumulative rows, at most `limit` of them: the one that grew longest ago makes room, and nothing that it counted is lost.

    Args:
        instrument: What they count; a histogram's rows are its buckets and its sum.
        limit: Rows kept.
    """

    def __init__(self, instrument: Instrument, limit: int) -> None:
        self._instrument, self._limit = instrument, limit
        self._rows: OrderedDict[tuple[Owner | None, tuple[tuple[str, str | int], ...]], list[int]] = OrderedDict()
        self._width = instrument.buckets.count + 1 if instrument.buckets else 1

    def add(self, owner: Owner | None, attributes: Mapping[str, str | int], *amounts: tuple[int, int]) -> None:
        """Add `(index, amount)` to a row."""
        key = owner, tuple(attributes.items())
        row = self._rows.setdefault(key, [0] * self._width)
        self._rows.move_to_end(key)
        for index, amount in amounts:
            row[index] += amount

    def observations(self) -> Iterator[Observation | Retired]:
        """Give all rows, and end those beyond the limit."""
        for (owner, attributes), row in self._rows.items():
            value = tuple(row) if self._instrument.buckets else row[0]
            yield Observation(self._instrument, self._key((owner, attributes)), value, owner, dict(attributes))
        while len(self._rows) > self._limit:
            yield Retired(self._key(self._rows.popitem(last=False)[0]))

    def _key(self, row: Hashable) -> Hashable:
        return self._instrument.name, row
