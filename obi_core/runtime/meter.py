"""Measures what each probe costs: the kernel's statistics on for a short while, the workers' counters read before and after.

One measurement takes a few turns of the agent's loop: ask for readings, switch on, wait, switch off, ask again, compare.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Protocol

from obi_core.kernel.base import ProgramStats
from obi_core.kernel.runtime_stats import RUN_NS
from obi_core.runtime.costs import Cost, Reading
from obi_core.runtime.orders import Measure, Order
from obi_core.runtime.status import Status

_ANSWER_S: Final = 3.0
"""A worker in the middle of a step answers after it; the others are not kept waiting for longer."""
_LOOK_BACK_S: Final = 60.0


class Stats(Protocol):
    """The switch of the kernel's statistics; see `RuntimeStats`."""

    problem: str

    @property
    def always_on(self) -> bool:
        """Whether they are on for good."""

    def start(self) -> bool:
        """Switch them on."""

    def stop(self) -> None:
        """Switch them off."""


class Measured(Protocol):
    """What the meter asks of a runner."""

    name: str

    @property
    def status(self) -> Status:
        """Where the probe stands."""

    @property
    def reading(self) -> Reading | None:
        """Counters, when they were last read."""

    def order(self, order: Order) -> None:
        """Ask its worker for something."""


class _Phase(Enum):
    IDLE = 0
    BEFORE = 1
    OPEN = 2
    AFTER = 3


@dataclass(slots=True)
class _Kept:
    # What is remembered of one probe between measurements.
    before: Reading | None = None
    after: Reading | None = None
    past: deque[Reading] = field(default_factory=lambda: deque(maxlen=16))
    kernel_s: float = 0.0


class Meter:
    """Takes measurements.

    Args:
        stats: The switch of the kernel's statistics.
        window_s: How long they are on.
        clock: Seconds, monotonic; the workers' too.
    """

    def __init__(self, stats: Stats, window_s: float, clock: Callable[[], float]) -> None:
        self._stats, self.window_s, self._clock = stats, window_s, clock
        self._phase = _Phase.IDLE
        self._since = clock()
        self._opened = self._on_s = 0.0
        self._last = clock()
        self._kept: dict[str, _Kept] = {}

    @property
    def kernel_s(self) -> Mapping[str, float]:
        """CPU time in the kernel so far, by probe, estimated from the measurements, with what measuring itself costs."""
        return {name: kept.kernel_s for name, kept in self._kept.items()}

    @property
    def busy(self) -> bool:
        """Whether a measurement is under way."""
        return self._phase is not _Phase.IDLE

    def begin(self, runners: Sequence[Measured]) -> None:
        """Begin a measurement."""
        self._ask(runners, _Phase.BEFORE)

    def turn(self, runners: Sequence[Measured]) -> dict[str, Cost] | None:
        """Go on with it; the costs, by probe that runs, when it is done."""
        now = self._clock()
        if self._phase is _Phase.BEFORE and self._answered(runners, now):
            for runner in runners:
                self._keep(runner).before = self._fresh(runner)
            self._phase, self._opened = _Phase.OPEN, now
            if not self._stats.start():
                self._on_s = 0.0
                self._ask(runners, _Phase.AFTER)
        elif self._phase is _Phase.OPEN and now - self._opened >= self.window_s:
            self._stats.stop()
            self._on_s = self._clock() - self._opened
            self._ask(runners, _Phase.AFTER)
        elif self._phase is _Phase.AFTER and self._answered(runners, now):
            self._phase = _Phase.IDLE
            return self._costs(runners, now)
        return None

    def stop(self) -> None:
        """Switch the statistics off. Idempotent."""
        self._stats.stop()
        self._phase = _Phase.IDLE

    def forget(self, name: str) -> None:
        """Look back no further than now: what the probe does has changed."""
        self._keep(name).past.clear()

    def _ask(self, runners: Sequence[Measured], phase: _Phase) -> None:
        self._phase, self._since = phase, self._clock()
        for runner in runners:
            if runner.status.active:
                runner.order(Measure())

    def _fresh(self, runner: Measured) -> Reading | None:
        reading = runner.reading
        return reading if reading is not None and reading.at >= self._since else None

    def _answered(self, runners: Sequence[Measured], now: float) -> bool:
        return now - self._since >= _ANSWER_S or all(self._fresh(each) for each in runners if each.status.active)

    def _keep(self, runner: Measured | str) -> _Kept:
        return self._kept.setdefault(runner if isinstance(runner, str) else runner.name, _Kept())

    def _costs(self, runners: Sequence[Measured], now: float) -> dict[str, Cost]:
        costs: dict[str, Cost] = {}
        elapsed, self._last = now - self._last, now
        for runner in runners:
            kept, after = self._keep(runner), self._fresh(runner)
            if not runner.status.active or after is None:
                kept.after = None
                continue
            costs[runner.name] = cost = self._cost(kept, after)
            kept.kernel_s += (cost.kernel or 0.0) * elapsed + RUN_NS * 1e-9 * sum(cost.runs.values()) * self._on_s
            kept.after = after
        return costs

    def _cost(self, kept: _Kept, after: Reading) -> Cost:
        if kept.past and kept.past[-1].generation != after.generation:
            kept.past.clear()
        kept.past.append(after)
        while len(kept.past) > 2 and after.at - kept.past[1].at >= _LOOK_BACK_S:  # noqa: PLR2004 - two make a difference
            kept.past.popleft()
        first = kept.past[0]
        elapsed = after.at - first.at
        user = (after.cpu_s - first.cpu_s) / elapsed if elapsed > 0 else 0.0
        events = (after.events - first.events) / elapsed if elapsed > 0 else 0.0
        programs, runs = self._programs(kept, after)
        kernel = sum(programs.values()) if programs or not after.programs else None
        return Cost(kernel, user, max(0.0, events), 0, after.map_bytes, programs, runs)

    def _programs(self, kept: _Kept, after: Reading) -> tuple[dict[str, float], dict[str, float]]:
        before = kept.before
        if before is None or before.generation != after.generation:
            return {}, {}
        # Counts that moved while we had them off are somebody else's doing: then they were on all the time.
        others = kept.after is not None and kept.after.generation == before.generation and _runs(kept.after) != _runs(before)
        on_s = after.at - before.at if others or self._stats.always_on else self._on_s
        if on_s <= 0:
            return {}, {}
        known = {stats.name: stats for stats in before.programs}
        pairs = [(known.get(stats.name, ProgramStats(stats.name, 0, 0, 0)), stats) for stats in after.programs]
        cpus = {new.name: (new.run_time_ns - old.run_time_ns) * 1e-9 / on_s for old, new in pairs}
        return cpus, {new.name: (new.run_count - old.run_count) / on_s for old, new in pairs}


def _runs(reading: Reading) -> int:
    return sum(stats.run_count for stats in reading.programs)
