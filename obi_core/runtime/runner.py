"""One probe's life as the agent sees it: a worker thread, watched from the agent's thread.

A worker whose step is past its deadline is given up: its batch is dropped, its links are closed so that the kernel stops
running its programs, and nothing is freed under its thread.
"""

import logging
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from obi_core.model import ProbeState, Reason
from obi_core.runtime.costs import Reading
from obi_core.runtime.flood import raise_in
from obi_core.runtime.orders import Order
from obi_core.runtime.plan import Plan, Tally
from obi_core.runtime.status import Status
from obi_core.runtime.watch import Watch
from obi_core.runtime.worker import Worker

_log: Final = logging.getLogger("obi.probe")


class Runner:
    """Runs one probe on one thread.

    Args:
        plan: What to run, and with what.
        changed: Told every new status, in order; called on the worker's thread or on the caller's of `check` and `abandon`.
    """

    def __init__(self, plan: Plan, changed: Callable[[Status], None]) -> None:
        self.name = plan.probe.name
        self._plan, self._changed = plan, changed
        self._lock = threading.Lock()
        self._watch = Watch(plan.clock)
        self._worker = Worker(plan, self._watch, self._report)
        self._status = Status(self.name)
        self._thread = threading.Thread(target=self._worker.run, name=f"obi-{self.name}", daemon=True)

    @property
    def status(self) -> Status:
        """Where the probe stands."""
        return self._status

    @property
    def tally(self) -> Tally:
        """What its worker has done."""
        return self._worker.tally

    @property
    def reading(self) -> Reading | None:
        """What its worker read when it was last asked to."""
        return self._worker.orders.reading

    @property
    def left_open(self) -> int:
        """Descriptors that its last collections have left open; 0 if it does not run."""
        return self._worker.left_open.lately if self._status.active else 0

    def order(self, order: Order) -> None:
        """Ask the worker for something; returns at once. It is done at its next turn, about once a second."""
        self._worker.orders.give(order)

    @property
    def step_s(self) -> float | None:
        """How long its worker has been in the step under way, s; None: in none."""
        return self._watch.step_s

    def interrupt(self, error: type[BaseException]) -> str:
        """Raise an error inside the step under way; gives its name, empty if there is none."""
        return self._watch.during(lambda: raise_in(self._thread.ident or 0, error))

    def start(self) -> None:
        """Begin the probe's life; returns at once."""
        self._thread.start()

    def follow(self, plan: Plan) -> None:
        """Go on with another plan: live where the probe can, else by a new start. One that is over starts again."""
        before, self._plan = self._plan, plan
        if plan == before:
            return
        if not self._watch.abandoned and self._worker.follow(plan):
            return
        status = self._status
        self._watch = Watch(plan.clock)
        self._worker = Worker(plan, self._watch, self._report, generation=status.generation, tally=self._worker.tally)
        self._worker.tally.restarts += 1
        self._worker.tally.failures = 0
        self._status = Status(self.name, generation=status.generation)
        self._thread = threading.Thread(target=self._worker.run, name=f"obi-{self.name}", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Give the worker up if its step is past the deadline. To be called about once a second."""
        if step := self._watch.abandon():
            self._quarantine(f"{step} did not come back in time")
            self._explain(step)

    def finish(self) -> None:
        """Ask for a last collection."""
        self._worker.halt.set()

    def collected(self, timeout_s: float) -> bool:
        """Wait for the last collection; True also if there will be none."""
        return self._thread.ident is None or self._watch.abandoned or self._worker.collected.wait(timeout_s)

    def detach(self) -> None:
        """Ask for the detach, after `finish`."""
        self._worker.release.set()

    def join(self, timeout_s: float, *, give_up: bool = True) -> bool:
        """Wait for the end of the worker; past the deadline it may be given up. False: its thread is still there."""
        if self._thread.ident is None:
            return True
        if not self._watch.abandoned:
            self._thread.join(timeout_s)
        if not self._thread.is_alive():
            return True
        if give_up and (step := self._watch.abandon(overdue=False)):
            self._quarantine(f"{step} did not come back before the end of the agent")
        return False

    def _explain(self, step: str) -> None:
        """Say where it hangs, and what that leaves behind."""
        frame = sys._current_frames().get(self._thread.ident or 0)  # noqa: SLF001 - the only way to another thread's stack
        stack = "".join(traceback.format_stack(frame)) if frame is not None else "its thread is gone\n"
        _log.debug("probe %s hangs in %s:\n%s", self.name, step, stack)
        _log.warning(
            "probe %s: nothing can end a thread that hangs; %s stays, with what it holds in memory, until its call returns;"
            " its programs are detached; --log-level debug shows where it hangs",
            self.name,
            self._thread.name,
        )

    def _report(self, status: Status) -> None:
        with self._lock:
            if self._status.reason is Reason.STEP_HUNG:
                return
            self._status = status
            self._changed(status)

    def _quarantine(self, detail: str) -> None:
        probe = self._worker.probe
        if probe is not None:
            try:
                probe.sever()
            except Exception:  # noqa: BLE001 - isolation border: whatever state the hanging thread left the object in
                _log.exception("probe %s: closing its links failed", self.name)
        self._plan.outlet.end(self.name, self._worker.generation)
        with self._lock:
            self._status = replace(
                self._status, state=ProbeState.QUARANTINED, reason=Reason.STEP_HUNG, detail=detail, mode="", loses=()
            )
            self._changed(self._status)
