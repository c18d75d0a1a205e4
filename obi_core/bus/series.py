"""Series: one value per attribute set of one instrument, and the bounded set of them."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Final

from obi_core.bus.moment import Moment
from obi_core.model import Instrument, Kind, Metric, Point

Attributes = tuple[tuple[str, str | int | bool], ...]
"""Attribute pairs sorted by name: what makes two series one."""

OVERFLOW: Final[Attributes] = (("otel.metric.overflow", True),)


class Series:
    """One series. It outlives the kernel rows that fed it."""

    __slots__ = ("attributes", "ended", "idle_since", "live", "pinned", "point", "start_ns", "time_ns", "value")

    def __init__(self, attributes: Attributes, value: float | list[int], now: Moment, *, pinned: bool = False) -> None:
        self.attributes = attributes
        self.value = value
        """A histogram's is its bucket counts, then the sum."""
        self.start_ns = now.real_ns
        self.time_ns = now.real_ns
        self.live = 0
        """Keys bound to this series now."""
        self.pinned = pinned
        """Never retired: a headline or the overflow series."""
        self.idle_since = now.mono_ns
        """Since when no key is bound here, ns, monotonic; means nothing while `live`."""
        self.ended = False
        """Whether the last key that was bound here went with its owner; means nothing while `live`."""
        self.point: Point | None = None
        """The last point read, until the series moves."""

    def read(self) -> Point:
        """Give the series as a sink sees it; the same object until something moves."""
        if self.point is None:
            value = tuple(self.value) if isinstance(self.value, list) else self.value
            self.point = Point(self.attributes, value, self.start_ns, self.time_ns)
        return self.point


class SeriesSet:
    """All series of one instrument, at most `limit` and one for what is beyond.

    Args:
        instrument: What the series measure.
        scope: The plugin's distribution.
        limit: Series beside the overflow series.
        now: Moment of registration: the start of the headline series.
        keep: Leaves out attributes that are not wanted; None: nothing is left out.
        marks: Attributes that every series of the probe carries, the headline's too.
        room: Whether the probe may have another series.
    """

    def __init__(
        self,
        instrument: Instrument,
        scope: str,
        limit: int,
        now: Moment,
        keep: Callable[[Attributes], Attributes] | None = None,
        marks: Mapping[str, str] | None = None,
        room: Callable[[], bool] = lambda: True,
    ) -> None:
        self.instrument, self.scope, self.limit, self._room = instrument, scope, limit, room
        self.overflowed = 0
        """Keys that were bound to the overflow series."""
        self.changed = True
        """Whether anything moved since the last `read`."""
        self._series: dict[Attributes, Series] = {}
        self._overflow: Series | None = None
        self._metric = Metric(instrument, scope, ())
        self.keep = keep
        for headline in instrument.headline:
            attributes: Attributes = self._kept(tuple(sorted({**headline, **(marks or {})}.items())))
            self._series[attributes] = Series(attributes, self.zero(), now, pinned=True)

    def __len__(self) -> int:
        return len(self._series) + (self._overflow is not None)

    def __iter__(self) -> Iterator[Series]:
        yield from self._series.values()
        if self._overflow is not None:
            yield self._overflow

    def zero(self) -> int | float | list[int]:
        """Give the value of a series that nothing has moved yet."""
        layout = self.instrument.buckets
        return [0] * (layout.count + 1) if layout is not None else 0

    def at(self, attributes: Attributes, now: Moment) -> Series:
        """Find the series with these attributes, make it, or fall back to the overflow series when the set is full."""
        attributes = self._kept(attributes)
        series = self._series.get(attributes)
        if series is None:
            if len(self._series) < self.limit and self._room():
                series = self._series[attributes] = Series(attributes, self.zero(), now)
            else:
                self.overflowed += 1
                if self._overflow is None:
                    self._overflow = Series(OVERFLOW, self.zero(), now, pinned=True)
                series = self._overflow
        return series

    def _kept(self, attributes: Attributes) -> Attributes:
        return attributes if self.keep is None else self.keep(attributes)

    def release(self, series: Series, now: Moment, *, ended: bool = False) -> None:
        """Note that a key of `series` ended. A gauge that no row feeds any more ends with its last key."""
        series.live -= 1
        series.ended = ended
        series.point = None
        series.idle_since = now.mono_ns
        self.changed = True
        if series.live == 0 and not series.pinned and self.instrument.kind is Kind.GAUGE:
            self._series.pop(series.attributes, None)

    def retire(self, before_ns: int, ended_before_ns: int) -> int:
        """Drop series without keys since before `before_ns` (monotonic), or `ended_before_ns` where the owner is gone too.

        One that comes back has a new start time.
        """
        idle = [
            series
            for series in self._series.values()
            if series.live == 0 and not series.pinned and series.idle_since < (ended_before_ns if series.ended else before_ns)
        ]
        for series in idle:
            del self._series[series.attributes]
        self.changed = self.changed or bool(idle)
        return len(idle)

    def read(self) -> Metric:
        """Give all series; the same object until something moves."""
        if self.changed:
            self._metric = replace(self._metric, points=tuple([series.read() for series in self]))
            self.changed = False
        return self._metric
