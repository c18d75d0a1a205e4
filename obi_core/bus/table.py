"""The series table: every probe's series, and the rows that feed them. One thread only; no queue, no clock of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from obi_core.bus.attributes import Rule, attribute_filter
from obi_core.bus.keys import Generation, Other
from obi_core.bus.late import LateBinder
from obi_core.bus.moment import Moment
from obi_core.bus.series import SeriesSet
from obi_core.errors import PluginError
from obi_core.model import Instrument, Kind, Metric, Yielded
from obi_core.resolver import Resolver

Marks = Mapping[str, str] | None
"""Attributes that every point of a probe carries, such as `obi.probe.mode`."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the bus keeps at most, and for how long."""

    series: int = 2_000
    """Series of one metric, beside its overflow series."""
    probe_series: int = 20_000
    """Series of one probe, beside the overflow series of its metrics."""
    keys: int = 131_072
    """Kernel rows of one instrument that are remembered."""
    waiting: int = 16_384
    """Rows that wait for their owner."""
    bind_grace_s: float = 5.0
    """Longest wait for an owner."""
    series_idle_s: float = 3_600.0
    """A series that no row feeds for so long is dropped."""
    series_ended_s: float = 120.0
    """The same where whose series it was has ended: time for every sink to read its last value."""
    rows: int = 2_000
    """Rows of one view."""
    events: int = 2_000
    """Spans and log events that no sink has taken yet."""
    batches: int = 8
    """Batches of one probe that wait for the bus thread."""
    rules: tuple[Rule, ...] = ()
    """Attributes that series carry; others are left out, and what then is one series adds up."""
    endings: int = 65_536
    """Entries kept of refused batches, per probe, because a row ends in them."""


class _Probe:
    # Everything of one probe: its series, its generations, what it was refused.
    def __init__(self, sets: dict[str, SeriesSet]) -> None:
        self.sets = sets
        self.marks: Mapping[str, str] = {}
        self.generations: dict[int, Generation] = {}
        self.ended = -1
        self.taken = 0
        self.refused = 0
        self.fault: tuple[int, str] | None = None


class SeriesTable:
    """Binds observations to series and keeps them.

    Counters and histograms never fall while their series lives: rows that are evicted, come back smaller or belong to an
    earlier generation fold into the same series by difference.
    """

    def __init__(self, resolver: Resolver, limits: Limits) -> None:
        self._limits = limits
        self.late = LateBinder(resolver, int(limits.bind_grace_s * 1e9), limits.waiting)
        self._probes: dict[str, _Probe] = {}
        self._metrics: tuple[Metric, ...] = ()

    def register(
        self,
        probe: str,
        scope: str,
        instruments: Sequence[Instrument],
        now: Moment,
        marks: Marks = None,
    ) -> None:
        """Make room for a probe's instruments; their headline series exist from here on.

        Registering twice is once, but for `marks`: those of generations that begin from now on are the newest ones.

        Raises:
            PluginError: A histogram has no bucket layout, or two instruments have one name.
        """
        if probe not in self._probes:
            check_instruments(probe, instruments)
            sets: dict[str, SeriesSet] = {}
            sets.update({i.name: self._set(i, scope, now, marks, sets) for i in instruments})
            self._probes[probe] = _Probe(sets)
        self._probes[probe].marks = dict(marks or {})

    def apply(self, probe: str, generation: int, batch: Sequence[Yielded], now: Moment) -> list[Other]:
        """Fold a batch into the series; a generation that has ended is not listened to.

        Returns:
            Rows of views, spans, log events, and losses as differences.

        Raises:
            KeyError: The probe is not registered.
        """
        state = self._probes[probe]
        if generation <= state.ended:
            return []
        life = state.generations.get(generation)
        if life is None:
            life = state.generations[generation] = Generation(state.sets, self.late, self._limits.keys, state.marks)
        refused = life.refused
        others = life.apply(batch, now)
        state.refused += life.refused - refused
        state.taken += len(batch) - (life.refused - refused)
        if life.fault is not None:
            state.fault = (generation, life.fault)
        return others

    def end(self, probe: str, generation: int, now: Moment) -> None:
        """End all keys of `generation` and of those before it; their series stay."""
        state = self._probes.get(probe)
        if state is None:
            return
        state.ended = max(state.ended, generation)
        for number in [number for number in state.generations if number <= generation]:
            state.generations.pop(number).end(now)

    def _set(
        self, instrument: Instrument, scope: str, now: Moment, marks: Marks, siblings: Mapping[str, SeriesSet]
    ) -> SeriesSet:
        keep = attribute_filter(instrument.name, self._limits.rules)

        def room() -> bool:
            return sum(map(len, siblings.values())) < self._limits.probe_series

        return SeriesSet(instrument, scope, self._limits.series, now, keep, marks, room)

    def retune(self, limits: Limits) -> None:
        """Keep more or less from now on; series that are there stay."""
        self._limits = limits
        self.late.retune(int(limits.bind_grace_s * 1e9), limits.waiting)
        for state in self._probes.values():
            for name, series in state.sets.items():
                series.limit = limits.series
                series.keep = attribute_filter(name, limits.rules)

    def forget(self, probe: str) -> None:
        """Drop a probe with all its series."""
        self._probes.pop(probe, None)

    def fault(self, probe: str, generation: int) -> str | None:
        """Say what `generation` of `probe` observed without declaring it; None if nothing."""
        state = self._probes.get(probe)
        return state.fault[1] if state is not None and state.fault is not None and state.fault[0] == generation else None

    def retire(self, now: Moment) -> None:
        """Drop series that no row has fed for long."""
        before = now.mono_ns - int(self._limits.series_idle_s * 1e9)
        ended_before = now.mono_ns - int(self._limits.series_ended_s * 1e9)
        for state in self._probes.values():
            for series in state.sets.values():
                series.retire(before, ended_before)

    def read(self) -> tuple[Metric, ...]:
        """Give every instrument with its series; the same object until something moves."""
        metrics = tuple([series.read() for state in self._probes.values() for series in state.sets.values()])
        if len(metrics) != len(self._metrics) or any(new is not old for new, old in zip(metrics, self._metrics, strict=True)):
            self._metrics = metrics
        return self._metrics

    def sizes(self) -> list[tuple[str, int, int]]:
        """Give name, series and overflowed keys of each probe."""
        return [
            (name, sum(map(len, state.sets.values())), sum(series.overflowed for series in state.sets.values()))
            for name, state in list(self._probes.items())
        ]

    def taken(self) -> dict[str, int]:
        """Entries applied, by probe."""
        return {name: state.taken for name, state in self._probes.items()}

    def refused(self) -> dict[str, int]:
        """Observations that did not fit what their probe declared, by probe."""
        return {name: state.refused for name, state in self._probes.items()}


def check_instruments(probe: str, instruments: Sequence[Instrument]) -> None:
    """Refuse instruments that could not be kept.

    Raises:
        PluginError: A histogram has no bucket layout, or two instruments have one name.
    """
    if len({instrument.name for instrument in instruments}) != len(instruments):
        raise PluginError("two of its instruments have the same name; rename one", plugin=probe)
    for instrument in instruments:
        if instrument.kind is Kind.HISTOGRAM and instrument.buckets is None:
            raise PluginError(f"{instrument.name} is a histogram without a bucket layout; give it `buckets`", plugin=probe)
