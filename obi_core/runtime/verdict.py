"""Who is over a budget, and when one step less or more is due: hysteresis, and patience that grows with each relapse."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from obi_core.runtime.costs import Budget, Cost
from obi_core.settings import BudgetSettings

_STRIKES: Final = 2
"""Measurements in a row over the budget before the first step; one for each step after it."""
_CALM: Final = 0.5
"""Share of the budget below which a probe may get a step back: a doubled sampling factor that is halved doubles the cost."""
_MOST_PATIENCE: Final = 32


class Turn(Enum):
    """What is due."""

    NOTHING = 0
    SHED = 1
    RESTORE = 2


@dataclass(frozen=True, slots=True)
class Total:
    """What the whole agent uses."""

    cpus: float
    """CPUs, in the kernel and in user space."""
    memory: int
    """Bytes, maps included."""
    memory_limit: int
    """Bytes; the budget, or less where the agent's cgroup allows less."""


@dataclass(slots=True)
class Track:
    """One probe's past."""

    patience_s: float
    strikes: int = 0
    calm_since: float | None = None
    restored_at: float | None = None


def excess(costs: Mapping[str, Cost], total: Total, budgets: BudgetSettings, cpus: int) -> dict[str, tuple[Budget, float]]:
    """Say what each probe uses of the budget that it is nearest to, or furthest over.

    A probe's own budgets come first. If no probe is over one of its own and the agent as a whole is over, the probe that takes
    most is held to account, and only if it takes more than an equal share: a probe never goes for what another one uses.

    Args:
        costs: By probe.
        total: The whole agent's.
        budgets: What is allowed.
        cpus: CPUs of this node.

    Returns:
        By probe: the budget, and the part of it that is used (above 1: over it).
    """
    worst = {name: max(cost.ratios(budgets, cpus), key=lambda pair: pair[1]) for name, cost in costs.items()}
    if not costs or any(ratio > 1 for _, ratio in worst.values()):
        return worst
    fair = 1 / len(costs)
    whole = total.cpus / (budgets.cpu * cpus)
    if whole > 1:
        name = max(costs, key=lambda each: costs[each].cpus)
        if costs[name].cpus > fair * budgets.cpu * cpus:
            worst[name] = Budget.CPU, whole
    if total.memory > total.memory_limit:
        name = max(costs, key=lambda each: _memory(costs[each]))
        if _memory(costs[name]) > fair * total.memory_limit:
            worst[name] = Budget.MEMORY, total.memory / total.memory_limit
    return worst


def due(track: Track, ratio: float, *, steps: int, room: bool, now: float, restore_s: float) -> Turn:
    """Say what is due for one probe after one measurement.

    Args:
        track: Its past, brought up to date.
        ratio: Part of the budget that it uses.
        steps: Steps taken so far.
        room: Whether the agent as a whole has room for the probe to cost twice as much.
        now: s, monotonic.
        restore_s: Least time below the budget before a step back.
    """
    if ratio > 1:
        track.calm_since = None
        track.strikes += 1
        if track.strikes < _STRIKES and not steps:
            return Turn.NOTHING
        if track.restored_at is not None:
            track.patience_s = min(2 * track.patience_s, _MOST_PATIENCE * restore_s)
            track.restored_at = None
        return Turn.SHED
    track.strikes = 0
    if ratio > _CALM or not room:
        track.calm_since = None
        return Turn.NOTHING
    if track.calm_since is None:
        track.calm_since = now
    if now - track.calm_since < track.patience_s:
        return Turn.NOTHING
    track.calm_since = now
    if steps:
        track.restored_at = now
        return Turn.RESTORE
    track.patience_s, track.restored_at = restore_s, None
    return Turn.NOTHING


_SERIES_BYTES: Final = 1_000
"""What a series takes in the agent, roughly: to compare probes with."""


def _memory(cost: Cost) -> int:
    return cost.map_bytes + _SERIES_BYTES * cost.series
