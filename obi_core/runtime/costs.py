"""What a probe costs, against what it may cost."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from obi_core.kernel.base import MapStats, ProgramStats
from obi_core.probe import Probe
from obi_core.runtime.plan import Tally
from obi_core.settings import BudgetSettings

_MEASURE_EVERY_S: Final = 60.0


class Budget(Enum):
    """Which budget a probe is over."""

    KERNEL_CPU = "kernel_cpu"
    USER_CPU = "user_cpu"
    EVENTS = "events_per_s"
    SERIES = "series"
    MAP_MEMORY = "map_memory"
    CPU = "cpu"
    """The whole agent's, of which this probe takes the most."""
    MEMORY = "memory"
    """Likewise."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Counters of one worker at one moment, read on its own thread."""

    at: float
    """s, the plan's clock."""
    generation: int
    cpu_s: float
    """CPU time of the worker's thread."""
    events: int
    """Spans and log events handed over."""
    map_bytes: int
    programs: tuple[ProgramStats, ...]


@dataclass(frozen=True, slots=True)
class Cost:
    """What one probe costs now."""

    kernel: float | None = None
    """CPUs that its programs take; None: not known."""
    user: float = 0.0
    """CPUs that its thread takes."""
    events_per_s: float = 0.0
    series: int = 0
    map_bytes: int = 0
    programs: Mapping[str, float] = field(default_factory=dict)
    """CPUs by program."""
    runs: Mapping[str, float] = field(default_factory=dict)
    """Runs per second by program."""

    @property
    def cpus(self) -> float:
        """CPUs in the kernel and in the agent, as far as known."""
        return (self.kernel or 0.0) + self.user

    def ratios(self, budgets: BudgetSettings, cpus: int) -> Iterator[tuple[Budget, float]]:
        """Give what is used of each budget; above 1 is over it.

        Args:
            budgets: What a probe may cost.
            cpus: CPUs of this node.
        """
        if self.kernel is not None:
            yield Budget.KERNEL_CPU, self.kernel / (budgets.kernel_cpu * cpus)
        yield Budget.USER_CPU, self.user / (budgets.user_cpu * cpus)
        yield Budget.EVENTS, self.events_per_s / budgets.events_per_s
        yield Budget.SERIES, self.series / budgets.series
        yield Budget.MAP_MEMORY, self.map_bytes / budgets.map_memory

    def document(self) -> dict[str, object]:
        """JSON-ready."""
        return {
            "kernel_cpus": None if self.kernel is None else round(self.kernel, 6),
            "user_cpus": round(self.user, 6),
            "events_per_s": round(self.events_per_s, 3),
            "series": self.series,
            "map_bytes": self.map_bytes,
            "programs": {
                name: {"cpus": round(cpus, 6), "runs_per_s": round(self.runs.get(name, 0.0), 3)}
                for name, cpus in self.programs.items()
            },
        }


class MapMeter:
    """Reads what a probe has in the kernel, and how full its maps are, about once a minute: counting rows is not free."""

    def __init__(self) -> None:
        self._at: float | None = None

    def measure(self, probe: Probe, now: float, tally: Tally) -> None:
        """Bring the tally up to date, if it is time; `now` is s, monotonic."""
        if self._at is None or now - self._at >= _MEASURE_EVERY_S:
            self._at = now
            tally.hold(*held(probe))


def map_bytes(probe: Probe) -> int:
    """Kernel memory of a probe's maps, bytes; 0 for one without a BPF object."""
    try:
        bpf = probe.bpf
    except RuntimeError:
        return 0
    return sum(entry.memory_bytes for entry in bpf.maps())


def held(probe: Probe) -> tuple[tuple[ProgramStats, ...], tuple[MapStats, ...], Mapping[str, float]]:
    """Its programs, its maps, and how full each map is, 0 to 1; nothing for one without a BPF object."""
    try:
        bpf = probe.bpf
    except RuntimeError:
        return (), (), {}
    return tuple(bpf.programs()), tuple(bpf.maps()), bpf.fill()
