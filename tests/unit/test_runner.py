"""One probe's life: what happens when each of its steps works, raises, hangs or is refused. No test waits for real time."""

import threading
from contextlib import suppress

import pytest

from obi_core.errors import AttachError, LoadError
from obi_core.host import Host
from obi_core.model import Instrument, Kind, LogEvent, Mode, Observation, ProbeState, Program, Reason, Row, View
from obi_core.probe import Probe
from obi_core.runtime.attempt import attempt
from obi_core.runtime.flood import FloodGuard
from obi_core.runtime.plan import Plan
from obi_core.runtime.runner import Runner
from obi_core.settings import ProbeSettings
from obi_core.testing.fakes import FakeBus, FakeClock, FakeLoader

BEST = Mode("best", (Program("good_hook"), Program("extra_hook", loses=("obi.good.extra",))))
PLAIN = Mode("plain", (Program("plain_hook"),), loses=("obi.good.owner",))
THINGS = Instrument("obi.good.things", Kind.COUNTER, "{thing}", "Things.")
OTHERS = Instrument("obi.good.others", Kind.COUNTER, "{thing}", "Not declared.")
TABLE = View("things", "Things.", ())
STEPS = ("construct", "load", "attach", "collect", "detach")


class Good(Probe):
    name = "good"
    instruments = (THINGS,)
    views = (TABLE,)
    modes = (BEST, PLAIN)

    def collect(self):
        yield Observation(THINGS, "row", 23)


def misbehaving(step, act):
    """A probe that calls `act` in one of its steps."""

    class Bad(Good):
        name = "bad"

        def __init__(self, settings):
            super().__init__(settings)
            if step == "construct":
                act()
            if step == "detach":
                self._open.callback(act)

        def load(self, loader, mode):
            if step == "load":
                act()
            super().load(loader, mode)

        def attach(self, mode):
            super().attach(mode)
            if step == "attach":
                act()

        def collect(self):
            if step == "collect":
                act()
            yield Observation(THINGS, "row", 23)

    return Bad


class Hang:
    """Blocks until the test lets go."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.leave = threading.Event()

    def __call__(self) -> None:
        self.entered.set()
        self.leave.wait()


def boom():
    raise ZeroDivisionError("boom")


class Rig:
    """Runners on fake kernel, bus and clock."""

    def __init__(self) -> None:
        self.clock, self.bus, self.loader = FakeClock(), FakeBus(), FakeLoader(tables={"good_map": {}})
        self.history, self.jitter = [], 0.0
        self.runners = []
        self._changed = threading.Condition()

    def run(self, probe, interval_s=10.0, clock=None):
        clock = clock or self.clock
        plan = Plan(
            probe,
            "dist 1.0",
            ProbeSettings(),
            self.loader,
            Host(),
            self.bus,
            interval_s,
            30.0,
            10.0,
            clock,
            jitter=lambda: self.jitter,
            wait=clock.wait,
        )
        runner = Runner(plan, self._note)
        self.runners.append(runner)
        runner.start()
        return runner

    def _note(self, status):
        with self._changed:
            self.history.append(status)
            self._changed.notify_all()

    def until(self, probe, state, reason=None):
        """Wait until a probe reports a state; its status."""

        def found():
            return [
                s for s in self.history if s.probe == probe and s.state is state and (reason is None or s.reason is reason)
            ]

        with self._changed:
            assert self._changed.wait_for(found, 10), self.history
            return found()[-1]

    def end(self):
        for runner in self.runners:
            runner.finish()
            runner.detach()
        return [runner.join(10) for runner in self.runners]


@pytest.fixture
def rig():
    rig = Rig()
    yield rig
    rig.end()


def states(rig, probe="good"):
    return [status.state.value for status in rig.history if status.probe == probe]


def test_a_probe_goes_through_its_life_in_order(rig):
    runner = rig.run(Good)
    assert rig.bus.arrived.acquire(timeout=10)
    assert rig.end() == [True]
    assert states(rig) == ["discovered", "loaded", "attached", "detached"]
    assert runner.status.reason is Reason.STOPPED
    assert rig.bus.registered == [("good", "dist 1.0")]
    assert [entry[:2] for entry in rig.bus.published] == [("good", 1), ("good", 1)], "one at the start, one at the end"
    assert rig.bus.ended == [("good", 1)]
    assert rig.loader.open == ()


def test_a_probe_collects_at_every_interval(rig):
    rig.run(Good, interval_s=3.0)
    for number in range(1, 4):
        assert rig.bus.arrived.acquire(timeout=10)
        for _ in range(3):
            rig.clock.asleep(1.0)
            assert len(rig.bus.published) == number
            rig.clock.advance(1.0)
    assert rig.bus.arrived.acquire(timeout=10)


def test_a_probe_collects_every_second_while_somebody_looks_at_its_view(rig):
    rig.bus.looked_at["good"] = frozenset({"things"})
    rig.run(Good, interval_s=100.0)
    for _ in range(4):
        assert rig.bus.arrived.acquire(timeout=10)
        rig.clock.asleep(1.0)
        rig.clock.advance(1.0)
    assert rig.bus.arrived.acquire(timeout=10)
    assert rig.clock.waits[:4] == [1.0] * 4


class Talking(Good):
    """Numbers its drains and says that its table has one row."""

    drains = 0

    def collect(self):
        yield Observation(THINGS, "row", 23)
        yield Row(TABLE, 1, None, ())

    def drain(self):
        self.drains += 1
        yield LogEvent(f"drain {self.drains}", 0, "")


def names(batch):
    return [item.name for item in batch if isinstance(item, LogEvent)]


def test_queued_events_are_drained_every_second_between_collections_and_at_the_end_of_each(rig):
    rig.run(Talking, interval_s=3.5)
    for collection in range(2):
        assert rig.bus.arrived.acquire(timeout=10)
        assert names(rig.bus.published[collection][2]) == [f"drain {4 * collection + 1}"]
        for turn in range(3):
            rig.clock.asleep(1.0)
            assert len(rig.bus.drained) == 3 * collection + turn
            rig.clock.advance(1.0)
            assert rig.bus.arrived.acquire(timeout=10)
        rig.clock.asleep(0.5)
        rig.clock.advance(0.5)
    assert [(name, generation, names(batch)) for name, generation, batch in rig.bus.drained] == [
        ("good", 1, [f"drain {number}"]) for number in (2, 3, 4, 6, 7, 8)
    ]
    assert rig.bus.arrived.acquire(timeout=10)
    assert rig.end() == [True]
    assert names(rig.bus.published[-1][2]) == ["drain 10"], "the last collection takes what is left"


def test_a_probe_without_queued_events_is_not_asked_and_an_empty_drain_is_not_handed_over(rig):
    class Silent(Good):
        name = "silent"

        def drain(self):
            return ()

    for probe in (Good, Silent):
        rig.run(probe, interval_s=10.0)
        assert rig.bus.arrived.acquire(timeout=10)
    for _ in range(3):
        rig.clock.asleep(1.0)
        rig.clock.advance(1.0)
    rig.clock.asleep(1.0)
    assert rig.end() == [True, True]
    assert rig.bus.drained == []


def test_a_drain_that_raises_is_a_step_that_raises(rig):
    class Bad(Talking):
        def drain(self):
            self.drains += 1
            if self.drains > 1:
                boom()
            return ()

    rig.run(Bad)
    assert rig.bus.arrived.acquire(timeout=10)
    rig.clock.asleep(1.0)
    rig.clock.advance(1.0)
    status = rig.until("good", ProbeState.FAILED, Reason.STEP_RAISED)
    assert status.detail == "ZeroDivisionError: boom; next try in 1 s"


def test_a_drain_that_hangs_is_quarantined_like_a_collection(rig):
    hang = Hang()

    class Bad(Talking):
        def drain(self):
            self.drains += 1
            if self.drains > 1:
                hang()
            return ()

    runner = rig.run(Bad)
    assert rig.bus.arrived.acquire(timeout=10)
    rig.clock.asleep(1.0)
    rig.clock.advance(1.0)
    assert hang.entered.wait(10)
    rig.clock.advance(10.0)
    runner.check()
    assert runner.status.state is ProbeState.ATTACHED, "not before the deadline of a collection"
    rig.clock.advance(1.0)
    runner.check()
    assert (runner.status.reason, runner.status.detail) == (Reason.STEP_HUNG, "drain did not come back in time")
    hang.leave.set()


@pytest.mark.parametrize(
    ("item", "detail"),
    [
        (Row(TABLE, 1, None, ()), "drain filled view 'things', which only collect may"),
        (Observation(OTHERS, 1, 1), "drain observed 'obi.good.others', which the probe does not declare"),
        (42, "drain yielded a int, which is not an observation, row or event"),
    ],
)
def test_a_drain_yields_what_is_declared_and_no_rows(rig, item, detail):
    class Bad(Good):
        def drain(self):
            yield item

    rig.run(Bad)
    status = rig.until("good", ProbeState.QUARANTINED)
    assert (status.reason, status.detail) == (Reason.UNDECLARED, detail)
    assert rig.end() == [True]
    assert rig.bus.published == []


def test_a_refused_mode_steps_down_to_the_next_and_both_reasons_are_kept(rig):
    rig.loader.errors = {"attach:good_hook": AttachError("attach", program="good_hook", section="tp_btf/x", errno=22)}
    runner = rig.run(Good)
    status = rig.until("good", ProbeState.ATTACHED)
    assert (status.mode, status.loses, status.degraded) == ("plain", ("obi.good.owner",), True)
    assert [(a.mode, a.ok, a.reason) for a in status.attempts] == [
        ("best", False, Reason.ATTACH_REFUSED),
        ("plain", True, Reason.OK),
    ]
    assert status.detail == "best: good_hook (tp_btf/x): attach [EINVAL]"
    assert status.generation == 2, "every mode is a generation"
    assert [bpf.closed for bpf in rig.loader.loaded] == [True, False], "the refused mode's object is closed"
    assert runner.status is status


def test_a_refused_optional_program_costs_its_own_losses_alone(rig):
    rig.loader.errors = {"attach:extra_hook": AttachError("attach", program="extra_hook", errno=22)}
    rig.run(Good)
    status = rig.until("good", ProbeState.ATTACHED)
    assert (status.mode, status.loses) == ("best", ("obi.good.extra",))


def test_a_mode_that_the_settings_do_not_ask_for_is_not_tried(rig):
    class Choosy(Good):
        @classmethod
        def modes_for(cls, _settings):
            return (PLAIN,)

    rig.run(Choosy)
    status = rig.until("good", ProbeState.ATTACHED)
    assert (status.mode, [each.mode for each in status.attempts]) == ("plain", ["plain"])


def test_when_every_mode_is_refused_the_probe_is_unsupported_with_all_reasons(rig):
    rig.loader.errors = {
        "load:best": LoadError("load", program="good_hook", section="tp_btf/x", errno=22, log="bad insn"),
        "load:plain": LoadError("load", program="plain_hook", section="tp/x", errno=1),
    }
    rig.run(Good)
    status = rig.until("good", ProbeState.UNSUPPORTED)
    assert status.reason is Reason.LOAD_REFUSED
    assert status.detail == "best: good_hook (tp_btf/x): load [EINVAL]: bad insn; plain: plain_hook (tp/x): load [EPERM]"
    assert rig.end() == [True]
    assert rig.bus.published == []


def test_a_need_that_is_not_met_is_named_with_its_remedy_and_nothing_is_loaded(rig, tmp_path):
    class Needy(Good):
        modes = (Mode("tp_btf", (Program("good_hook"),), needs=("cap:bpf",)),)

    plan = Plan(
        Needy, "", ProbeSettings(), rig.loader, Host(tmp_path, tmp_path), rig.bus, 10, 30, 10, rig.clock, wait=rig.clock.wait
    )
    runner = Runner(plan, rig._note)
    runner.start()
    status = rig.until("good", ProbeState.UNSUPPORTED)
    assert runner.join(10)
    assert status.reason is Reason.MISSING_CAPABILITY
    assert status.detail.startswith("tp_btf: cap:bpf is missing: ")
    assert rig.loader.loaded == []


@pytest.mark.parametrize("step", [step for step in STEPS if step != "detach"])
def test_a_step_that_raises_is_retried_with_backoff_and_quarantined_after_five_in_a_row(rig, step):
    runner = rig.run(misbehaving(step, boom))
    rig.run(Good, clock=FakeClock())
    rig.until("good", ProbeState.ATTACHED)
    for delay in (1.0, 2.0, 4.0, 8.0):
        rig.clock.asleep(delay)
        rig.clock.advance(delay)
    status = rig.until("bad", ProbeState.QUARANTINED)
    assert (status.reason, status.detail) == (Reason.STEP_RAISED, "ZeroDivisionError: boom (5 times in a row)")
    assert runner.tally.restarts == 4
    assert runner.join(10)
    delays = [s.detail.rpartition("next try in ")[2] for s in rig.history if s.state is ProbeState.FAILED]
    assert delays == ["1 s", "2 s", "4 s", "8 s"]
    assert len(rig.loader.open) == 1, "only the good probe's object is open"
    assert rig.runners[1].status.active, "the other probe goes on"


def test_a_probe_that_recovers_starts_counting_its_failures_anew(rig):
    times = iter([True, True, False, True, False] + [False] * 100)

    def sometimes():
        if next(times):
            boom()

    rig.run(misbehaving("collect", sometimes), interval_s=0.5)
    rig.clock.asleep(1.0)
    rig.clock.advance(1.0)
    rig.clock.asleep(2.0)
    rig.clock.advance(2.0)
    assert rig.bus.arrived.acquire(timeout=10)
    rig.clock.asleep(0.5)
    rig.clock.advance(0.5)
    rig.clock.asleep(1.0)
    assert [s.generation for s in rig.history if s.state is ProbeState.ATTACHED] == [1, 2, 3]


def test_a_detach_that_raises_is_told_and_the_rest_is_closed(rig):
    runner = rig.run(misbehaving("detach", boom))
    assert rig.bus.arrived.acquire(timeout=10)
    assert rig.end() == [True]
    assert (runner.status.state, runner.status.reason) == (ProbeState.FAILED, Reason.STEP_RAISED)
    assert runner.status.detail == "detach raised ZeroDivisionError: boom"
    assert rig.loader.open == ()
    assert rig.bus.ended == [("bad", 1)]


@pytest.mark.parametrize("step", STEPS)
def test_a_step_that_hangs_is_quarantined_from_outside_and_frees_itself_when_it_comes_back(rig, step):
    hang = Hang()
    runner = rig.run(misbehaving(step, hang))
    rig.run(Good, interval_s=1000.0)
    rig.until("good", ProbeState.ATTACHED)
    if step == "detach":
        assert rig.bus.arrived.acquire(timeout=10)
        runner.finish()
        runner.detach()
    assert hang.entered.wait(10)
    runner.check()
    assert runner.status.state is not ProbeState.QUARANTINED, "not before the deadline"
    published = len(rig.bus.published)
    rig.clock.advance(31.0)
    runner.check()
    assert (runner.status.state, runner.status.reason) == (ProbeState.QUARANTINED, Reason.STEP_HUNG)
    assert runner.status.detail == f"{step} did not come back in time"
    assert rig.bus.ended == [("bad", 1)], "its keys end at once"
    if step in ("attach", "collect"):
        assert [(bpf.severed, bpf.closed) for bpf in rig.loader.loaded if bpf.severed] == [(True, False)], (
            "links only, nothing freed"
        )
    assert not runner.join(0), "its thread is still there"
    runner.check()
    assert len([s for s in rig.history if s.state is ProbeState.QUARANTINED]) == 1, "said once"

    hang.leave.set()
    runner._thread.join(10)
    assert not runner._thread.is_alive()
    assert [status for status in rig.history if status.probe == "bad"][-1].state is ProbeState.QUARANTINED, "and for good"
    assert [entry for entry in rig.bus.published[published:] if entry[0] == "bad"] == [], "its batch is dropped"
    assert len(rig.loader.open) == 1, "only the good probe's object is open"
    assert rig.runners[1].status.active


def test_a_probe_that_hangs_does_not_hold_the_end(rig):
    hang = Hang()
    runner = rig.run(misbehaving("collect", hang))
    assert hang.entered.wait(10)
    runner.finish()
    assert not runner.collected(0)
    runner.detach()
    assert not runner.join(0)
    assert runner.status.detail == "collect did not come back before the end of the agent"
    assert runner.collected(0), "nothing more to wait for"
    hang.leave.set()


@pytest.mark.parametrize(
    ("item", "detail"),
    [
        (Observation(OTHERS, 1, 1), "collect observed 'obi.good.others', which the probe does not declare"),
        (Row(View("other", "", ()), 1, None, ()), "collect filled view 'other', which the probe does not declare"),
        (42, "collect yielded a int, which is not an observation, row or event"),
        (Observation(THINGS, 1, "many"), "obi.good.things was observed as 'many', which is not a number"),
    ],
)
def test_what_was_not_declared_is_quarantined_at_once_and_not_handed_over(rig, item, detail):
    class Bad(Good):
        def collect(self):
            yield item

    rig.run(Bad)
    status = rig.until("good", ProbeState.QUARANTINED)
    assert (status.reason, status.detail) == (Reason.UNDECLARED, detail)
    assert rig.end() == [True]
    assert rig.bus.published == []
    assert rig.loader.open == ()


def test_what_the_bus_finds_undeclared_is_quarantined(rig):
    rig.bus.faults["good"] = "obi.good.things carries x, which it does not declare"
    rig.run(Good)
    status = rig.until("good", ProbeState.QUARANTINED)
    assert (status.reason, status.detail) == (Reason.UNDECLARED, "obi.good.things carries x, which it does not declare")


def test_an_equal_copy_of_a_declared_instrument_is_the_declared_one(rig):
    class Copying(Good):
        def collect(self):
            yield Observation(Instrument("obi.good.things", Kind.COUNTER, "{thing}", "Things."), 1, 1)

    rig.run(Copying)
    assert rig.bus.arrived.acquire(timeout=10)


def test_a_full_bus_does_not_disturb_the_probe(rig):
    rig.bus.full = True
    runner = rig.run(Good, interval_s=1.0)
    for _ in range(3):
        assert rig.bus.arrived.acquire(timeout=10)
        rig.clock.asleep(1.0)
        rig.clock.advance(1.0)
    assert runner.status.active


def test_map_memory_and_cpu_time_are_counted(rig):
    runner = rig.run(Good)
    rig.clock.asleep(1.0)
    assert runner.tally.map_bytes == 4096
    assert runner.tally.fill == {"good_map": 0.0}
    assert runner.tally.cpu_s > 0
    rig.end()
    assert runner.tally.map_bytes == 0


def test_all_steps_of_a_probe_run_on_one_thread_of_its_own(rig):
    threads = []

    def note():
        threads.append(threading.current_thread().name)

    for step in STEPS:
        rig.run(misbehaving(step, note))
    for _ in STEPS:
        assert rig.bus.arrived.acquire(timeout=10)
    assert rig.end() == [True] * 5
    assert set(threads) == {"obi-bad"}
    assert all(runner._thread.daemon for runner in rig.runners)


def test_system_exit_in_a_step_does_not_end_the_worker_silently(rig):
    def leave():
        raise SystemExit(3)

    rig.run(misbehaving("collect", leave))
    assert rig.until("bad", ProbeState.FAILED).detail == "SystemExit: 3; next try in 1 s"


def test_the_doctor_tries_one_mode_and_undoes_it():
    loader = FakeLoader()
    result = attempt(Good, ProbeSettings(), BEST, loader, Host())
    assert (result.mode, result.ok, result.reason, result.loses) == ("best", True, Reason.OK, ())
    assert (len(loader.loaded), loader.open) == (1, ())


@pytest.mark.parametrize("step", [step for step in STEPS if step != "collect"])
def test_the_doctor_survives_a_probe_that_raises_anywhere(step):
    loader = FakeLoader()
    result = attempt(misbehaving(step, boom), ProbeSettings(), BEST, loader, Host())
    assert (result.ok, result.reason, result.detail) == (False, Reason.STEP_RAISED, "ZeroDivisionError: boom")
    assert loader.open == ()


def test_a_mode_that_a_restart_finds_again_is_taken_again(rig):
    class Failing(Good):
        def collect(self):
            if len(rig.loader.loaded) == 1:
                rig.loader.errors = {}
                boom()
            yield Observation(THINGS, "row", 23)

    rig.loader.errors = {"load:best": LoadError("not now", need="tracefs")}
    rig.run(Failing)
    rig.until("good", ProbeState.FAILED, Reason.STEP_RAISED)
    rig.clock.asleep(1.0)
    rig.clock.advance(1.0)
    assert rig.bus.arrived.acquire(timeout=10)
    assert [status.mode for status in rig.history if status.state is ProbeState.ATTACHED] == ["plain", "best"]


def test_attach_that_fails_although_the_check_said_yes_steps_down_and_both_are_told(rig):
    rig.loader.errors = {"attach:good_hook": AttachError("this kernel has no good_hook", errno=2, need="hook:good_hook")}
    rig.run(Good)
    status = rig.until("good", ProbeState.ATTACHED)
    assert [(tried.mode, tried.ok, tried.reason) for tried in status.attempts] == [
        ("best", False, Reason.HOOK_MISSING),
        ("plain", True, Reason.OK),
    ]
    assert status.attempts[0].remedy == "use a kernel that has good_hook"
    assert rig.loader.loaded[0].closed, "what was opened is closed again"


def test_a_hook_that_a_kernel_lost_costs_only_its_instruments(rig):
    rig.loader.errors = {"attach:extra_hook": AttachError("this kernel has no extra_hook", errno=2, need="hook:extra_hook")}
    rig.run(Good)
    status = rig.until("good", ProbeState.ATTACHED)
    assert (status.mode, status.loses) == ("best", ("obi.good.extra",))
    (refused,) = status.attempts[0].refused
    assert (refused.program, refused.reason) == ("extra_hook", Reason.HOOK_MISSING)


def test_points_of_a_mode_without_bpf_are_marked_and_those_of_others_are_not(rig):
    class Half(Good):
        modes = (BEST, Mode("files"))

    rig.run(Half)
    assert rig.bus.arrived.acquire(timeout=10)
    assert rig.end() == [True]
    rig.loader.errors = {"load:best": LoadError("no", errno=1)}
    rig.run(Half)
    assert rig.bus.arrived.acquire(timeout=10)
    assert rig.bus.marks == [{}, {"obi.probe.mode": "files"}]
    assert [status.without_bpf for status in rig.history if status.state is ProbeState.ATTACHED] == [False, True]


def test_waits_after_failures_are_longer_by_chance_by_a_quarter_at_most(rig):
    rig.jitter = 0.5
    rig.run(misbehaving("collect", boom))
    rig.clock.asleep(1.125)
    assert rig.until("bad", ProbeState.FAILED).detail == "ZeroDivisionError: boom; next try in 1.12 s"


def test_where_a_step_hangs_is_shown_at_debug_and_what_cannot_be_ended_is_said(rig, caplog):
    caplog.set_level("DEBUG", "obi.probe")
    hang = Hang()
    runner = rig.run(misbehaving("collect", hang))
    assert hang.entered.wait(10)
    rig.clock.advance(11.0)
    runner.check()
    (stack,) = (record.message for record in caplog.records if "hangs in" in record.message)
    assert stack.startswith("probe bad hangs in collect:\n")
    assert "self.leave.wait()" in stack
    (warning,) = (record.message for record in caplog.records if record.levelname == "WARNING")
    assert warning.startswith("probe bad: nothing can end a thread that hangs; obi-bad stays")
    hang.leave.set()


def test_a_program_that_somebody_detached_is_attached_again_at_the_next_collection(rig, caplog):
    runner = rig.run(Good, interval_s=0.5)
    assert rig.bus.arrived.acquire(timeout=10)
    rig.clock.asleep(0.5)
    rig.loader.loaded[0].taken_away[:] = ["extra_hook"]
    rig.clock.advance(0.5)
    assert rig.bus.arrived.acquire(timeout=10)
    rig.clock.asleep(0.5)
    assert rig.loader.loaded[0].attached == ["good_hook", "extra_hook"]
    assert runner.tally.reattached == 1
    assert "probe good: program extra_hook is detached, not by us; attaching it again" in caplog.text


def test_a_program_that_cannot_be_put_back_starts_the_probe_anew(rig):
    rig.run(Good, interval_s=0.5)
    assert rig.bus.arrived.acquire(timeout=10)
    rig.clock.asleep(0.5)
    bpf = rig.loader.loaded[0]
    bpf.taken_away[:] = ["good_hook"]
    bpf.errors = {"attach:good_hook": AttachError("no", program="good_hook", errno=19)}
    rig.clock.advance(0.5)
    rig.clock.asleep(1.0)
    assert "good_hook (): no [ENODEV]" in rig.until("good", ProbeState.FAILED).detail
    rig.clock.advance(1.0)
    rig.until("good", ProbeState.ATTACHED, Reason.OK)


def test_an_interface_that_is_gone_costs_nothing_but_itself(rig):
    runner = rig.run(Good, interval_s=0.5)
    assert rig.bus.arrived.acquire(timeout=10)
    rig.clock.asleep(0.5)
    bpf = rig.loader.loaded[0]
    bpf.attach("extra_hook", "veth7:ingress")
    bpf.taken_away[:] = ["extra_hook@veth7:ingress"]
    bpf.errors = {"attach:extra_hook@veth7:ingress": AttachError("gone", program="extra_hook", errno=19)}
    rig.clock.advance(0.5)
    assert rig.bus.arrived.acquire(timeout=10)
    assert (runner.status.active, runner.tally.reattached) == (True, 0)


class Memory:
    used = 0

    def __call__(self):
        return self.used


def test_a_step_that_takes_memory_without_end_is_stopped_and_the_others_go_on(rig, caplog):
    entered = threading.Event()

    def hoard():
        entered.set()
        with suppress(Exception):
            while True:
                pass

    memory = Memory()
    guard = FloodGuard(100, memory)
    bad = rig.run(misbehaving("collect", hoard))
    good = rig.run(Good, clock=FakeClock())
    rig.until("good", ProbeState.ATTACHED)
    assert entered.wait(10)
    rig.clock.advance(1.0)  # it is the one that has been in a step for longest
    memory.used = 100
    guard.check((bad, good))
    assert bad.status.active, "not yet"
    memory.used = 101
    guard.check((bad, good))
    status = rig.until("bad", ProbeState.FAILED)
    assert status.detail == "FloodError: it took more memory in one step than the agent can spare; next try in 1 s"
    assert "memory grew by 0 MB while a probe was in collect; stopping that" in caplog.text
    assert good.status.active


def test_memory_that_grows_while_no_probe_is_in_a_step_is_nobody_s_fault(rig):
    memory = Memory()
    guard = FloodGuard(100, memory)
    runner = rig.run(Good)
    assert rig.bus.arrived.acquire(timeout=10)
    rig.clock.asleep(1.0)
    for used in (1_000, 2_000):
        memory.used = used
        guard.check((runner,))
    assert runner.status.active
    assert runner.interrupt(ZeroDivisionError) == ""
