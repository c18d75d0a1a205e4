"""Bindings: what one kernel row adds to its series. Each class is one rule of folding.

A binding keeps the last value of its row. What a row counted between its last read and its end is lost: only the kernel
side can count that.
"""

from collections.abc import Callable
from operator import add, lt, sub
from typing import Final, Protocol, cast

from obi_core.bus.series import Series
from obi_core.model import Fold, Instrument, Kind

Value = int | float | tuple[int, ...]


class Binding(Protocol):
    """One key of one instrument, bound to a series (its own private one while its owner is not known yet)."""

    series: Series
    seen: int
    """Number of the batch that observed it last."""

    def update(self, value: Value) -> bool:
        """Take the row's newest value; False if the series did not move.

        Raises:
            ValueError, TypeError: The value is not one that this instrument can have.
        """

    def move(self, series: Series) -> None:
        """Leave the present series for `series` and take along what this row gave."""

    def end(self) -> None:
        """The row is gone."""


class CounterBinding:
    """Adds differences; a smaller value is a new start of the row, so the series never falls."""

    __slots__ = ("_last", "seen", "series")

    def __init__(self, series: Series) -> None:
        self.series, self.seen = series, 0
        self._last: int | float = 0

    def update(self, value: Value) -> bool:
        """Add what is new since the last value."""
        number = cast("float", value)
        delta = number - self._last
        if delta > 0:
            self.series.value += delta  # type: ignore[operator]  # a counter's series is a number
        elif delta == 0:
            return False
        else:
            # A new start; neither a negative number nor NaN can be one.
            if not number >= 0:
                raise ValueError(f"a counter cannot be {number}")
            self.series.value += number  # type: ignore[operator]
        self._last = number
        return True

    def move(self, series: Series) -> None:
        """Take along all that was counted."""
        series.value += self.series.value  # type: ignore[operator]
        self.series = series

    def end(self) -> None:
        """The series keeps what the row counted."""


class HistogramBinding:
    """Adds differences bucket by bucket; a row in which anything fell started anew as a whole."""

    __slots__ = ("_last", "seen", "series")

    def __init__(self, series: Series) -> None:
        self.series, self.seen = series, 0
        self._last = (0,) * len(cast("list[int]", series.value))

    def update(self, value: Value) -> bool:
        """Add what is new since the last value, in every bucket and the sum."""
        counts, last = cast("tuple[int, ...]", value), self._last
        if counts == last:
            return False
        if len(counts) != len(last):
            raise ValueError(f"{len(counts)} numbers for a histogram of {len(last) - 1} buckets and a sum")
        if any(map(lt, counts, last)):
            if min(counts) < 0:
                raise ValueError("a histogram cannot count less than nothing")
            self.series.value = list(map(add, cast("list[int]", self.series.value), counts))
        else:
            self.series.value = list(map(add, cast("list[int]", self.series.value), map(sub, counts, last)))
        self._last = counts
        return True

    def move(self, series: Series) -> None:
        """Take along all that was counted."""
        series.value = list(map(add, cast("list[int]", series.value), cast("list[int]", self.series.value)))
        self.series = series

    def end(self) -> None:
        """The series keeps what the row counted."""


class SumBinding:
    """The row's newest value stands for the row; it leaves with the row."""

    __slots__ = ("_last", "seen", "series")

    def __init__(self, series: Series) -> None:
        self.series, self.seen = series, 0
        self._last: int | float = 0

    def update(self, value: Value) -> bool:
        """Replace what the row gives."""
        number = cast("float", value)
        self.series.value += number - self._last  # type: ignore[operator]
        self._last = number
        return True

    def move(self, series: Series) -> None:
        """Take along what the row gives now."""
        series.value += self._last  # type: ignore[operator]
        self.series = series

    def end(self) -> None:
        """Take away what the row gave."""
        # The last row leaves exactly nothing, whatever the rounding of the differences before was.
        if self.series.live <= 1:
            self.series.value = 0
        else:
            self.series.value -= self._last  # type: ignore[operator]
        self._last = 0


class LastBinding:
    """The newest value of any row is the value of the series."""

    __slots__ = ("_last", "seen", "series")

    def __init__(self, series: Series) -> None:
        self.series, self.seen = series, 0
        self._last: int | float = 0

    def update(self, value: Value) -> bool:
        """Replace the value of the series."""
        self._last = self.series.value = value + 0  # type: ignore[operator]  # a tuple raises here, not in a sink
        return True

    def move(self, series: Series) -> None:
        """Take along the newest value."""
        series.value = self._last
        self.series = series

    def end(self) -> None:
        """The series keeps the value that was read last."""


_BY_FOLD: Final[dict[Fold, Callable[[Series], Binding]]] = {Fold.SUM: SumBinding, Fold.LAST: LastBinding}


def binding_type(instrument: Instrument) -> Callable[[Series], Binding]:
    """Choose the rule by which rows of `instrument` fold into series."""
    if instrument.kind is Kind.COUNTER:
        return CounterBinding
    if instrument.kind is Kind.HISTOGRAM:
        return HistogramBinding
    return _BY_FOLD[instrument.fold]
