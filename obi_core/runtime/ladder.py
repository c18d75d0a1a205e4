"""The steps by which a probe is made to cost less, the mildest first.

Sampling goes first, because counts stay right under it; then what somebody opted in to; then the optional program that costs
most, and the next; last, the whole probe.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from obi_core.model import Mode
from obi_core.probe import Probe
from obi_core.runtime.costs import Budget


class Kind(Enum):
    """Kind of a step."""

    INTERVAL = "interval"
    """Collections are half as frequent. Values are cumulative, so nothing is lost."""
    SAMPLING = "sampling"
    """Sampling factors double."""
    ATTRIBUTES = "attributes"
    """Opt-in attributes are off."""
    PROGRAM = "program"
    """One optional program is detached."""
    PAUSE = "pause"
    """The probe is detached as a whole, and its maps are freed."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step taken."""

    kind: Kind
    what: str = ""
    """Programs and settings by name."""
    level: int = 0
    """How often doubled, with this step."""
    places: tuple[str, ...] = ()
    """Where a `tc` program was attached."""

    @property
    def words(self) -> str:
        """Say it."""
        match self.kind:
            case Kind.INTERVAL:
                return f"collects {1 << self.level} times less often"
            case Kind.SAMPLING:
                return f"samples {1 << self.level} times less"
            case Kind.ATTRIBUTES:
                return f"opt-in attributes off: {self.what}"
            case Kind.PROGRAM:
                return f"program {self.what} detached"
            case Kind.PAUSE:
                return "paused"


_HELPS: Final = {
    Budget.KERNEL_CPU: (Kind.SAMPLING, Kind.ATTRIBUTES, Kind.PROGRAM, Kind.PAUSE),
    Budget.USER_CPU: (Kind.INTERVAL, Kind.SAMPLING, Kind.ATTRIBUTES, Kind.PROGRAM, Kind.PAUSE),
    Budget.CPU: (Kind.INTERVAL, Kind.SAMPLING, Kind.ATTRIBUTES, Kind.PROGRAM, Kind.PAUSE),
    Budget.EVENTS: (Kind.SAMPLING, Kind.PROGRAM, Kind.PAUSE),
    Budget.SERIES: (Kind.ATTRIBUTES,),
    Budget.MEMORY: (Kind.ATTRIBUTES, Kind.PAUSE),
    Budget.MAP_MEMORY: (Kind.PAUSE,),
}
"""Kinds of steps that help against being over a budget, mildest first. Series beyond the budget go to overflow series."""


def next_step(
    probe: Probe, mode: Mode, taken: Sequence[Step], budget: Budget, costly: Sequence[str], doublings: int
) -> Step | None:
    """Find the mildest step that helps and is not taken yet; None if there is none.

    Args:
        probe: The running probe.
        mode: The mode it runs in.
        taken: Steps so far.
        budget: The budget it is over.
        costly: Its programs, the costliest first.
        doublings: How often sampling may double.
    """
    for kind in _HELPS[budget]:
        if (step := next(_steps(kind, probe, mode, taken, costly, doublings), None)) is not None:
            return step
    return None


def level(taken: Sequence[Step], kind: Kind) -> int:
    """How often something is doubled."""
    return sum(step.kind is kind for step in taken)


def _steps(
    kind: Kind, probe: Probe, mode: Mode, taken: Sequence[Step], costly: Sequence[str], doublings: int
) -> Iterator[Step]:
    match kind:
        case Kind.INTERVAL | Kind.SAMPLING:
            able = kind is Kind.INTERVAL or probe.settings.samples() or type(probe).shed is not Probe.shed
            if able and level(taken, kind) < doublings:
                yield Step(kind, level=level(taken, kind) + 1)
        case Kind.ATTRIBUTES:
            if opted_in := probe.settings.opted_in():
                yield Step(kind, ", ".join(opted_in))
        case Kind.PROGRAM:
            for name in _optional(probe, mode, costly):
                yield Step(kind, name)
        case Kind.PAUSE:
            if not level(taken, kind):
                yield Step(kind)


def _optional(probe: Probe, mode: Mode, costly: Sequence[str]) -> Iterator[str]:
    try:
        attached = tuple(probe.bpf.attached)
    except RuntimeError:  # a probe without a BPF object
        return
    able = [program.name for program in mode.programs if program.loses and program.name in attached]
    yield from sorted(able, key=lambda name: costly.index(name) if name in costly else len(costly))
