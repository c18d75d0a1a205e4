"""What one worker is to run and with what, and what it has done."""

import random
import threading
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from obi_core.cgroups import Cgroups
from obi_core.host import Host
from obi_core.kernel.ages import RowAges
from obi_core.kernel.base import Loader, MapStats, ProgramStats
from obi_core.model import Instrument, View, Yielded
from obi_core.probe import Probe
from obi_core.settings import BudgetSettings, ProbeSettings


class Outlet(Protocol):
    """What a worker asks of the bus."""

    def register(
        self,
        probe: str,
        scope: str,
        instruments: Sequence[Instrument],
        views: Sequence[View],
        marks: Mapping[str, str] | None = None,
    ) -> None:
        """Announce what the probe may yield, and the attributes that all of it carries."""

    def publish(self, probe: str, generation: int, batch: Sequence[Yielded], *, whole: bool) -> bool:
        """Hand over a batch, of a whole collection or of events drained between two; False: there was no room."""

    def end(self, probe: str, generation: int) -> None:
        """End all keys of a generation."""

    def undeclared(self, probe: str, generation: int) -> str | None:
        """What this generation yielded that the bus cannot keep, in a sentence."""

    def wanted(self, probe: str) -> frozenset[str]:
        """Views of the probe that somebody looks at."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What one worker is to run, and with what."""

    probe: type[Probe]
    scope: str
    settings: ProbeSettings
    loader: Loader
    host: Host
    outlet: Outlet
    interval_s: float
    step_deadline_s: float
    collect_deadline_s: float
    clock: Callable[[], float] = time.monotonic
    """Seconds."""
    wait: Callable[[threading.Event, float], bool] = threading.Event.wait
    """Wait for an event at most so many seconds; whether it came."""
    collected: Callable[[str, float, int], None] | None = None
    """Told of each collection: probe, seconds, entries."""
    budgets: BudgetSettings | None = None
    """What the probe may cost; None: unbounded."""
    ages: Callable[[], RowAges] | None = None
    """Makes what ends the rows of one generation; None: they stay."""
    names: Hashable = None
    """What decides how its series are called: they are worked out once, so another needs a new start."""
    jitter: Callable[[], float] = random.random
    """From 0 to 1: how much longer, of a quarter, each wait after a failure is."""

    @property
    def doublings(self) -> int:
        """How often its sampling may double."""
        return self.budgets.sampling_steps if self.budgets is not None else 0

    def needs_start(self, before: "Plan") -> bool:
        """Whether a probe that runs by the plan `before` must start anew to follow this one, whatever its settings say."""
        paced = replace(
            before,
            settings=self.settings,
            interval_s=self.interval_s,
            step_deadline_s=self.step_deadline_s,
            collect_deadline_s=self.collect_deadline_s,
            budgets=self.budgets,
        )
        return paced != self or _maps(before.budgets) != _maps(self.budgets)


def _maps(budgets: BudgetSettings | None) -> tuple[int, bool] | None:
    """What of its budgets a probe heeds when it starts; the governor sees to all others."""
    return None if budgets is None else (budgets.map_memory, budgets.scale_maps)


@dataclass(frozen=True, slots=True)
class Ages:
    """Makes what ends the rows of one generation; two that make the same are equal."""

    host: Host
    idle_s: float

    def __call__(self) -> RowAges:
        """Make it."""
        return RowAges(Cgroups(self.host).ids, self.idle_s)


@dataclass(slots=True)
class Tally:
    """What a worker has done; written by its thread alone."""

    restarts: int = 0
    collect_s: float = 0.0
    """Duration of the last collection."""
    map_bytes: int = 0
    fill: Mapping[str, float] = field(default_factory=dict)
    """How full each map is, from 0 to 1; counted about once a minute."""
    programs: tuple[ProgramStats, ...] = ()
    """Its programs in the kernel; looked at as often, as are its maps."""
    maps: tuple[MapStats, ...] = ()
    cpu_s: float = 0.0
    """CPU time of the thread."""
    left_open: int = 0
    """File descriptors that its collections have left open."""
    reattached: int = 0
    """Programs that somebody else had detached, and that were attached again."""
    failures: int = 0
    """Failed starts and collections in a row."""

    def hold(self, programs: tuple[ProgramStats, ...], maps: tuple[MapStats, ...], fill: Mapping[str, float]) -> None:
        """Note what the probe has in the kernel now."""
        self.programs, self.maps, self.fill = programs, maps, fill
        self.map_bytes = sum(each.memory_bytes for each in maps)
