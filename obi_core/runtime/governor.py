"""Keeps every probe, and the agent as a whole, within their budgets. Turned by the agent's loop; never waits.

It measures, decides, and leaves an order with the worker of the probe concerned: whatever touches a probe is done on the
probe's own thread, which tells each step as it tells every change of its status.
"""

import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final, Self

from obi_core.bus import Bus
from obi_core.bus.own import Reading, own_metric
from obi_core.host import Host
from obi_core.kernel.runtime_stats import RuntimeStats
from obi_core.model import Kind, Metric, ProbeState
from obi_core.runtime.costs import Budget, Cost
from obi_core.runtime.footprint import memory_bytes, memory_limit
from obi_core.runtime.meter import Measured, Meter, Stats
from obi_core.runtime.orders import Restore, Shed
from obi_core.runtime.verdict import Total, Track, Turn, due, excess
from obi_core.settings import BudgetSettings

_CLOSER: Final = 6
"""How many times as often it measures while a probe is over its budget, or has been made to cost less."""
_FIRST_S: Final = 5.0
_STARTING: Final = (ProbeState.DISCOVERED, ProbeState.LOADED)

_log: Final = logging.getLogger("obi.governor")


class Governor:
    """Measures, decides, orders.

    Args:
        budgets: What is allowed.
        runners: The probes; which ones may change.
        stats: The switch of the kernel's statistics.
        cpus: CPUs of this node.
        series: Series kept, by probe.
        memory: Memory of the agent's process, and what the agent may use with all its maps; both bytes.
        clock: Seconds, monotonic; the workers' too.
        process_s: CPU time of this process, s.
    """

    def __init__(
        self,
        budgets: BudgetSettings,
        runners: Iterable[Measured],
        stats: Stats,
        *,
        cpus: int,
        series: Callable[[], Mapping[str, int]],
        memory: Callable[[], tuple[int, int]],
        clock: Callable[[], float] = time.monotonic,
        process_s: Callable[[], float] = time.process_time,
    ) -> None:
        self._budgets, self._runners, self._stats, self._cpus = budgets, runners, stats, cpus
        self._series, self._memory = series, memory
        self._clock, self._process_s = clock, process_s
        self._meter = Meter(stats, budgets.measure_s, clock)
        self._tracks: dict[str, Track] = {}
        self._due = clock() + min(_FIRST_S, budgets.measure_every_s)
        self._process = (clock(), process_s())
        self._costs: Mapping[str, Cost] = {}
        self._excess: Mapping[str, tuple[Budget, float]] = {}
        self._total = Total(0.0, 0, budgets.memory)
        self._complained = False

    @classmethod
    def on(cls, host: Host, budgets: BudgetSettings, runners: Iterable[Measured], bus: Bus) -> Self:
        """Govern the probes of an agent on this node."""
        return cls(
            budgets,
            runners,
            RuntimeStats(host),
            cpus=os.cpu_count() or 1,
            series=bus.series,
            memory=lambda: (memory_bytes(host), memory_limit(host, budgets.memory)),
        )

    def turn(self) -> None:
        """Do what is due; to be called about once a second."""
        if self._meter.busy:
            costs = self._meter.turn(tuple(self._runners))
            if costs is not None:
                self._judge(costs)
        elif self._clock() >= self._due:
            self._meter.begin(tuple(self._runners))

    def follow(self, budgets: BudgetSettings) -> None:
        """Go by other budgets from now on; what was given up for the old ones comes back as it would have."""
        if budgets != self._budgets:
            self._budgets = budgets
            self._meter.window_s = budgets.measure_s
            self._tracks.clear()
            self._due = min(self._due, self._clock() + _FIRST_S)

    def stop(self) -> None:
        """Leave the kernel's statistics as they were. Idempotent."""
        self._meter.stop()

    def kernel_s(self) -> Mapping[str, float]:
        """CPU time in the kernel so far, by probe, as far as it is known."""
        measured = self._meter.kernel_s
        return {runner.name: measured.get(runner.name, 0.0) for runner in self._runners}

    def over(self) -> tuple[str, ...]:
        """Budgets of the agent as a whole that are exceeded now."""
        limits = ((Budget.CPU, self._cpu_ratio), (Budget.MEMORY, self._total.memory / self._total.memory_limit))
        return tuple(budget.value for budget, ratio in limits if ratio > 1)

    def document(self) -> dict[str, object]:
        """Costs and budgets, JSON-ready."""
        # Each is one object, replaced as a whole by the agent's thread.
        costs, nearest = self._costs, self._excess
        return {
            "enforced": self._budgets.enforce,
            "cpus": round(self._total.cpus, 6),
            "cpus_allowed": self._budgets.cpu * self._cpus,
            "memory_bytes": self._total.memory,
            "memory_allowed_bytes": self._total.memory_limit,
            "over": list(self.over()),
            "kernel_cost": self._stats.problem or "measured",
            "probes": {
                name: {
                    **cost.document(),
                    "nearest_budget": nearest[name][0].value,
                    "used": round(nearest[name][1], 4),
                }
                for name, cost in costs.items()
                if name in nearest
            },
        }

    def metrics(self) -> Sequence[Metric]:
        """What is measured, and what has been done about it."""
        names = [runner.name for runner in self._runners]
        over = {(name, budget.value) for name, (budget, ratio) in self._excess.items() if ratio > 1}
        budgets: list[Reading] = [
            ({"probe": name, "budget": budget.value}, int((name, budget.value) in over)) for name in names for budget in Budget
        ]
        levels: list[Reading] = [({"probe": runner.name}, len(runner.status.sheds)) for runner in self._runners]
        exceeded = self.over()
        whole: list[Reading] = [({"budget": each.value}, int(each.value in exceeded)) for each in (Budget.CPU, Budget.MEMORY)]
        total = self._total
        return (
            own_metric("obi_probe_shed_level", Kind.GAUGE, "Steps taken so that the probe costs less.", levels),
            own_metric("obi_probe_over_budget", Kind.GAUGE, "1 where a probe is over a budget of its own.", budgets),
            own_metric("obi_over_budget", Kind.GAUGE, "1 where the agent as a whole is over a budget.", whole),
            own_metric("obi_memory_bytes", Kind.GAUGE, "Memory of the agent with all its maps.", [({}, total.memory)]),
            own_metric(
                "obi_memory_allowed_bytes",
                Kind.GAUGE,
                "What the agent may use with all its maps: its budget, or less where its cgroup allows less.",
                [({}, total.memory_limit)],
            ),
        )

    @property
    def _cpu_ratio(self) -> float:
        return self._total.cpus / (self._budgets.cpu * self._cpus)

    def _judge(self, measured: Mapping[str, Cost]) -> None:
        now = self._clock()
        if self._stats.problem and not self._complained and any(cost.kernel is None for cost in measured.values()):
            self._complained = True
            _log.warning("what probes cost in the kernel is not known, and not bounded: %s", self._stats.problem)
        series = self._series()
        self._costs = {name: replace(cost, series=series.get(name, 0)) for name, cost in measured.items()}
        self._total = self._whole(now)
        self._excess = excess(self._costs, self._total, self._budgets, self._cpus)
        for runner in self._runners:
            self._decide(runner, now)
        closely = any(ratio > 1 for _, ratio in self._excess.values()) or any(runner.status.sheds for runner in self._runners)
        self._due = now + self._budgets.measure_every_s / (_CLOSER if closely else 1)

    def _whole(self, now: float) -> Total:
        (then, before), spent = self._process, self._process_s()
        self._process = (now, spent)
        kernel = sum(cost.kernel or 0.0 for cost in self._costs.values())
        used, limit = self._memory()
        maps = sum(cost.map_bytes for cost in self._costs.values())
        return Total((spent - before) / max(now - then, 1e-9) + kernel, used + maps, limit)

    def _decide(self, runner: Measured, now: float) -> None:
        name, steps = runner.name, len(runner.status.sheds)
        if name not in self._excess and not steps:
            return
        if runner.status.state in _STARTING:
            # What was asked of it is being done: more of it would come all at once afterwards.
            return
        # A probe that is paused costs nothing, and is not measured.
        budget, ratio = self._excess.get(name, (Budget.CPU, 0.0))
        cost = self._costs.get(name, Cost())
        room = (
            self._total.cpus + cost.cpus <= self._budgets.cpu * self._cpus and self._total.memory <= self._total.memory_limit
        )
        track = self._tracks.setdefault(name, Track(self._budgets.restore_s))
        turn = due(track, ratio, steps=steps, room=room, now=now, restore_s=self._budgets.restore_s)
        if turn is Turn.NOTHING or not self._budgets.enforce:
            return
        self._meter.forget(name)
        if turn is Turn.RESTORE:
            runner.order(Restore())
        else:
            costly = sorted(cost.programs, key=lambda program: -cost.programs[program])
            runner.order(Shed(budget, tuple(costly)))
