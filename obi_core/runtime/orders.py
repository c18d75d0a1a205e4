"""What the governor and the guards ask of a worker, carried out on the worker's own thread between two steps of its probe."""

import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from obi_core.kernel.base import ProgramStats
from obi_core.model import Mode
from obi_core.probe import Probe
from obi_core.runtime.costs import Budget, Reading, map_bytes
from obi_core.runtime.ladder import Kind, Step, level, next_step
from obi_core.settings import ProbeSettings


class AnewError(BaseException):
    """The probe is to start anew, which is no failure. A BaseException, so that nobody's `except Exception` keeps it."""


class GiveUpError(BaseException):
    """The probe is to be given up; the text says why."""


@dataclass(frozen=True, slots=True)
class Measure:
    """Read the counters."""


@dataclass(frozen=True, slots=True)
class Shed:
    """Take the next step."""

    budget: Budget
    costly: tuple[str, ...] = ()
    """Programs, the costliest first."""


@dataclass(frozen=True, slots=True)
class Restore:
    """Take the last step back."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """End for good, because of what cannot be undone: descriptors that its steps have left open."""

    detail: str


Order = Measure | Shed | Restore | GiveUp


class Orders:
    """The orders that wait, and the steps taken so far, which outlive a restart of the probe.

    Args:
        settings: What the probe is configured to do.
        interval_s: Time between its collections.
        doublings: How often sampling may double.
    """

    def __init__(self, settings: ProbeSettings, interval_s: float, doublings: int) -> None:
        self.follow(settings, interval_s, doublings)
        self._waiting: queue.SimpleQueue[Order] = queue.SimpleQueue()
        self.steps: tuple[Step, ...] = ()
        """Taken, the first one first. Written by the worker alone."""
        self.budget: Budget | None = None
        """The budget that the last step was taken for."""
        self.reading: Reading | None = None
        """The last one."""
        self.given = threading.Event()
        """Set while orders wait."""

    def follow(self, settings: ProbeSettings, interval_s: float, doublings: int) -> None:
        """Take changed settings as what the probe is configured to do; the steps taken stay. Called by the worker alone."""
        self._configured, self._interval_s, self._doublings = settings, interval_s, doublings

    @property
    def settings(self) -> ProbeSettings:
        """What the probe is to start with."""
        return self._configured.without_opt_ins() if level(self.steps, Kind.ATTRIBUTES) else self._configured

    @property
    def interval_s(self) -> float:
        """Time between two collections."""
        return self._interval_s * (1 << level(self.steps, Kind.INTERVAL))

    @property
    def paused(self) -> bool:
        """Whether the probe is not to run."""
        return level(self.steps, Kind.PAUSE) > 0

    @property
    def told(self) -> dict[str, Any]:
        """What the probe's status says of it."""
        over = self.budget.value if self.budget is not None and self.steps else ""
        return {"sheds": tuple(step.words for step in self.steps), "over": over}

    def give(self, order: Order) -> None:
        """Ask for something. From any thread; returns at once."""
        self._waiting.put(order)
        self.given.set()

    def resume(self, probe: Probe) -> None:
        """Have a probe that has just started cost as little as the one before it."""
        for step in self.steps:
            if step.kind is Kind.SAMPLING:
                probe.shed(step.level)
            elif step.kind is Kind.PROGRAM and step.what in probe.bpf.attached:
                probe.bpf.detach(step.what)

    def obey(self, probe: Probe | None, mode: Mode | None, generation: int, clock: Callable[[], float], events: int) -> bool:
        """Carry out what waits.

        Returns:
            Whether steps were taken or taken back.

        Raises:
            AnewError: The probe must start anew, or stop, for it; the orders that are left wait for that.
            GiveUpError: It must end for good.
        """
        before = self.steps
        self.given.clear()
        while not self._waiting.empty():
            match self._waiting.get():
                case Measure():
                    self.reading = _reading(probe, generation, clock(), events)
                case Shed(budget, costly):
                    self._shed(probe, mode, budget, costly)
                case Restore():
                    self._restore(probe, mode)
                case GiveUp(detail):
                    raise GiveUpError(detail)
        return self.steps != before

    def _shed(self, probe: Probe | None, mode: Mode | None, budget: Budget, costly: Sequence[str]) -> None:
        if probe is None or mode is None:
            return
        step = next_step(probe, mode, self.steps, budget, costly, self._doublings)
        if step is None:
            return
        self.budget = budget
        if step.kind is Kind.SAMPLING:
            probe.shed(step.level)
        elif step.kind is Kind.PROGRAM:
            step = replace(step, places=probe.bpf.detach(step.what))
        self.steps = (*self.steps, step)
        if step.kind is Kind.PAUSE or (step.kind is Kind.ATTRIBUTES and not probe.retune(self.settings)):
            raise AnewError

    def _restore(self, probe: Probe | None, mode: Mode | None) -> None:
        if not self.steps:
            return
        step, self.steps = self.steps[-1], self.steps[:-1]
        if step.kind is Kind.PAUSE:
            raise AnewError
        if probe is None or mode is None:
            return
        if step.kind is Kind.SAMPLING:
            probe.shed(step.level - 1)
        elif step.kind is Kind.PROGRAM and step.what in {program.name for program in mode.programs}:
            for place in step.places or ("",):
                probe.bpf.attach(step.what, place)
        elif step.kind is Kind.ATTRIBUTES and not probe.retune(self.settings):
            raise AnewError


def _reading(probe: Probe | None, generation: int, now: float, events: int) -> Reading:
    programs: tuple[ProgramStats, ...] = ()
    try:
        if probe is not None:
            programs = tuple(probe.bpf.programs())
    except RuntimeError:  # a probe without a BPF object
        pass
    return Reading(now, generation, time.thread_time(), events, map_bytes(probe) if probe is not None else 0, programs)
