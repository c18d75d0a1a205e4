"""How much dearer the workloads are while the agent watches: blocks off → on → off, and the same with nobody watching."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from statistics import median

from agent import agent
from workload import Workload


@dataclass(frozen=True, slots=True)
class Round:
    """One workload in one round, ns of process CPU time per operation."""

    before: float
    on: float
    after: float

    @property
    def off(self) -> float:
        """What it costs without the agent, drift taken out."""
        return (self.before + self.after) / 2

    @property
    def ratio(self) -> float:
        """Cost with the agent over cost without."""
        return self.on / self.off


@dataclass(frozen=True, slots=True)
class Spread:
    """The rounds of one number."""

    middle: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread":
        """Median, minimum and maximum."""
        sorted_ = sorted(values)
        return cls(median(sorted_), sorted_[0], sorted_[-1])


@dataclass(frozen=True, slots=True)
class Ratio:
    """One workload over all rounds."""

    workload: str
    off_ns: float
    """Median over the rounds."""
    added_ns: Spread
    """ns per operation that the agent adds."""
    ratio: Spread


def with_agent(workload: Workload, rounds: int, extra: Sequence[str] = ()) -> list[Ratio]:
    """Compare with an agent that runs with its defaults and `extra`."""
    return _compare(workload, rounds, lambda: agent(extra))


def control(workload: Workload, rounds: int) -> list[Ratio]:
    """Compare with nothing: what is not 1 here is noise."""
    return _compare(workload, rounds, nullcontext)


def _compare(workload: Workload, rounds: int, on: Callable[[], AbstractContextManager[object]]) -> list[Ratio]:
    taken = []
    for _ in range(rounds):
        before = workload.block()
        with on():
            during = workload.block()
        taken.append((before, during, workload.block()))
    found = []
    for name in workload.counts:
        by_round = [Round(before[name], during[name], after[name]) for before, during, after in taken]
        added = Spread.of(each.on - each.off for each in by_round)
        ratio = Spread.of(each.ratio for each in by_round)
        found.append(Ratio(name, median(each.off for each in by_round), added, ratio))
    return found
