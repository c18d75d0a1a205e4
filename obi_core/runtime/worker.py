"""One probe's life on one thread: construct, load, attach in the best mode that works, collect, detach.

Whatever the probe's code raises ends here: the probe is restarted after a while, or given up. Whatever hangs is found by the
agent's thread (`runner`), and this thread, should it ever come back, frees what it holds and ends.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

from obi_core.model import Mode, ProbeState, Reason, Yielded
from obi_core.probe import Probe
from obi_core.runtime.attachments import reattach
from obi_core.runtime.attempt import begin, marks, refusals
from obi_core.runtime.backoff import delay_s
from obi_core.runtime.costs import MapMeter
from obi_core.runtime.declared import Declared, UndeclaredError
from obi_core.runtime.descriptors import LeftOpen, open_descriptors
from obi_core.runtime.offer import Offer
from obi_core.runtime.orders import AnewError, GiveUpError, Orders
from obi_core.runtime.plan import Plan, Tally
from obi_core.runtime.status import Attempt, Status
from obi_core.runtime.strangers import said
from obi_core.runtime.watch import AbandonedError, Watch

TURN_S: Final = 1.0
"""A worker that waits drains this often, and collects this often while somebody looks at a view."""

_log: Final = logging.getLogger("obi.probe")


class Worker:
    """Runs the plan until it is halted, the node refuses every mode, or the probe is given up."""

    def __init__(
        self,
        plan: Plan,
        watch: Watch,
        report: Callable[[Status], None],
        *,
        generation: int = 0,
        tally: Tally | None = None,
    ) -> None:
        self._plan, self._watch, self._report = plan, watch, report
        self._name = plan.probe.name
        self._declared = Declared(plan.probe)
        self._status = Status(self._name, generation=generation)
        self._maps = MapMeter()
        self._offer = Offer(plan)
        self._proven: Plan | None = None
        self.tally = tally or Tally()
        self.probe: Probe | None = None
        self._mode: Mode | None = None
        self.left_open = LeftOpen(partial(open_descriptors, plan.host))
        self.orders = Orders(plan.settings, plan.interval_s, plan.doublings)
        """What the governor asks for."""
        self.halt = threading.Event()
        """Set: collect a last time, then wait for `release`."""
        self.collected = threading.Event()
        """The last collection is handed over, or there will be none."""
        self.release = threading.Event()
        """Set: detach now."""

    @property
    def generation(self) -> int:
        """Generation of the probe's newest start."""
        return self._status.generation

    def run(self) -> None:
        """Live; the thread's target."""
        try:
            while not (self._life() and self._offer.close(ending=self.halt.is_set())):
                self.tally.restarts += 1
        except AbandonedError:
            # Only this thread may free what it holds: a close beside a running step would be a use after free.
            self._free()
        finally:
            self._offer.close(ending=True)
            self.collected.set()

    def follow(self, plan: Plan) -> bool:
        """Go on with another plan, from the next turn on; from another thread. False: the probe's life is over."""
        return self._offer.put(plan)

    def _life(self) -> bool:
        """One start and what follows; whether it was the last."""
        try:
            if self.orders.paused:
                return self._pause()
            self._plan = self._offer.take() or self._plan
            self.orders.follow(self._plan.settings, self._plan.interval_s, self._plan.doublings)
            probe = self._start()
            return self._refused() if probe is None else self._lived(probe)
        except AnewError:
            self._free()
            return False
        except GiveUpError as error:
            return self._give_up(Reason.DESCRIPTOR_LEAK, str(error))
        except UndeclaredError as error:
            return self._give_up(Reason.UNDECLARED, str(error))
        except AbandonedError:
            raise
        except BaseException as error:  # noqa: BLE001 - isolation border: a probe may raise anything, SystemExit too
            return self._failed(error)

    def _lived(self, probe: Probe) -> bool:
        """Collect, until the agent ends or the probe must start anew; whether it is the end."""
        self._collect(probe)
        while not self._until_due(probe):
            self._collect(probe)
        if not self.halt.is_set():
            return self._leave(probe)
        self._finish(probe)
        return True

    def _start(self) -> Probe | None:
        attempts: list[Attempt] = []
        for mode in self._plan.probe.modes_for(self._plan.settings):
            told: dict[str, Any] = {"generation": self.generation + 1, "attempts": tuple(attempts), "without_bpf": False}
            self._say(ProbeState.DISCOVERED, Reason.STARTING, **told)
            with self._watch.step("construct", self._plan.step_deadline_s):
                probe = self.probe = self._plan.probe(self.orders.settings)
            if self._plan.ages is not None:
                probe.ages = self._plan.ages()
            attempt = begin(probe, mode, self._plan.loader, self._plan.host, self._step, budgets=self._plan.budgets)
            attempts.append(attempt)
            if attempt.ok:
                announced = (self._plan.probe.instruments, self._plan.probe.views)
                self._plan.outlet.register(self._name, self._plan.scope, *announced, marks(mode))
                self._mode = mode
                with self._watch.step("shed", self._plan.step_deadline_s):
                    self.orders.resume(probe)
                why = "; ".join(filter(None, (refusals(attempts), attempt.detail)))
                told = {"attempts": tuple(attempts), "without_bpf": not mode.programs}
                self._say(ProbeState.ATTACHED, Reason.OK, why, mode.name, attempt.loses, **told)
                self._proven = self._plan
                return probe
            self.probe = None
        reasons = [attempt.reason for attempt in attempts]
        reason = Reason.MISSING_CAPABILITY if Reason.MISSING_CAPABILITY in reasons else reasons[0]
        self._say(ProbeState.UNSUPPORTED, reason, refusals(attempts), attempts=tuple(attempts))
        return None

    def _refused(self) -> bool:
        """No mode takes these settings: go back to those that ran before, if there are any; whether there are none."""
        before, self._proven = self._proven, None
        if before is None or before is self._plan:
            return True
        _log.error("probe %s: goes on with the settings it had; with the new ones: %s", self._name, self._status.detail)
        self._plan = before
        return False

    def _follow(self, probe: Probe) -> bool:
        """Take up a plan that was offered; whether the probe that runs can go on with it."""
        plan = self._offer.take()
        if plan is None:
            return True
        before, self._plan, running = self._plan, plan, self.orders.settings
        self.orders.follow(plan.settings, plan.interval_s, plan.doublings)
        if plan.needs_start(before):
            return False
        if self.orders.settings == running:
            return True
        with self._watch.step("retune", plan.step_deadline_s):
            return probe.retune(self.orders.settings)

    def _leave(self, probe: Probe) -> bool:
        """End this start, because the next one has other settings; never the last."""
        self._collect(probe)
        if problem := self._free():
            _log.warning("probe %s: before its new start, %s", self._name, problem)
        return False

    def _step(self, name: str, call: Callable[[], None]) -> None:
        with self._watch.step(name, self._plan.step_deadline_s):
            call()
        if name == "load":
            self._say(ProbeState.LOADED, Reason.STARTING)

    def _collect(self, probe: Probe) -> None:
        self._began = self._plan.clock()
        probe.wanted = self._plan.outlet.wanted(self._name)
        with self._watch.step("collect", self._plan.collect_deadline_s), self.left_open.around():
            self.tally.reattached += reattach(probe)
            batch = self._declared.collection(probe)
        self._publish(batch, whole=True)
        now = self._plan.clock()
        self.tally.collect_s, self.tally.failures, self.tally.left_open = now - self._began, 0, self.left_open.total
        if self._plan.collected is not None:
            self._plan.collected(self._name, self.tally.collect_s, len(batch))
        self._maps.measure(probe, now, self.tally)
        self.tally.cpu_s = time.thread_time()

    def _drain(self, probe: Probe) -> None:
        with self._watch.step("drain", self._plan.collect_deadline_s):
            batch = self._declared.drained(probe)
        if batch:
            self._publish(batch, whole=False)

    def _publish(self, batch: Sequence[Yielded], *, whole: bool) -> None:
        self._plan.outlet.publish(self._name, self.generation, batch, whole=whole)
        # The bus looks closer, and later: what it says is of the batch before.
        if fault := self._plan.outlet.undeclared(self._name, self.generation):
            raise UndeclaredError(fault)

    def _until_due(self, probe: Probe) -> bool:
        """Wait for the next collection and drain meanwhile; whether to end this start instead."""
        while (left := (due := self._began + self.orders.interval_s) - self._plan.clock()) > 0:
            if self._plan.wait(self.halt, min(left, TURN_S)) or not self._follow(probe):
                return True
            if self.orders.given.is_set():
                self._obey(probe)
            if self._plan.outlet.wanted(self._name):
                return False
            if self._declared.drains and self._plan.clock() < due:
                self._drain(probe)
        return self.halt.is_set()

    def _obey(self, probe: Probe | None) -> None:
        """Carry out what the governor asks for, and say so."""
        try:
            with self._watch.step("shed", self._plan.step_deadline_s):
                changed = self.orders.obey(probe, self._mode, self.generation, self._plan.clock, self._declared.events)
        finally:
            self._status = replace(self._status, **self.orders.told)
        if changed:
            self._report(self._status)

    def _pause(self) -> bool:
        """Wait for the governor to let the probe run again; whether the agent ends instead."""
        self._say(ProbeState.DETACHED, Reason.OVER_BUDGET)
        while not self._plan.wait(self.halt, TURN_S):
            if self.orders.given.is_set():
                try:
                    self._obey(None)
                except AnewError:
                    return False
        return True

    def _finish(self, probe: Probe) -> None:
        self._collect(probe)
        self.collected.set()
        self.release.wait()
        problem = self._free()
        reason = Reason.STEP_RAISED if problem else Reason.STOPPED
        self._say(ProbeState.FAILED if problem else ProbeState.DETACHED, reason, problem)

    def _failed(self, error: BaseException) -> bool:
        _log.debug("probe %s: a step raised", self._name, exc_info=error)
        self.tally.failures += 1
        detail = said(error)
        delay = delay_s(self.tally.failures, self._plan.jitter())
        if delay is None:
            return self._give_up(Reason.STEP_RAISED, f"{detail} ({self.tally.failures} times in a row)")
        problem = self._free()
        self._say(ProbeState.FAILED, Reason.STEP_RAISED, f"{detail}{problem and f'; {problem}'}; next try in {delay:.3g} s")
        return self._plan.wait(self.halt, delay)

    def _give_up(self, reason: Reason, detail: str) -> bool:
        problem = self._free()
        self._say(ProbeState.QUARANTINED, reason, f"{detail}{problem and f'; {problem}'}")
        return True

    def _free(self) -> str:
        """Detach and end the generation; what went wrong, empty if nothing."""
        probe, self.probe = self.probe, None
        if probe is None:
            return ""
        problem = ""
        try:
            if self._watch.abandoned:
                probe.detach()
            else:
                with self._watch.step("detach", self._plan.step_deadline_s):
                    probe.detach()
        except AbandonedError:
            raise
        except BaseException as error:  # noqa: BLE001 - isolation border: it may have opened anything; the rest is closed
            problem = f"detach raised {said(error)}"
        finally:
            self._plan.outlet.end(self._name, self.generation)
        self.tally.hold((), (), {})
        return problem

    def _say(
        self,
        state: ProbeState,
        reason: Reason,
        detail: str = "",
        mode: str = "",
        loses: tuple[str, ...] = (),
        **others: Any,  # noqa: ANN401 - further fields of the status, as `replace` takes them
    ) -> None:
        self._status = replace(self._status, state=state, reason=reason, detail=detail, mode=mode, loses=loses, **others)
        self.tally.cpu_s = time.thread_time()
        self._report(self._status)
