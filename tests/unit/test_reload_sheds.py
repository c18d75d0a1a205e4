"""A changed configuration meets a probe that was made to cost less: the settings are the new ones, the steps taken stay."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated

import pytest

from obi_core.host import Host
from obi_core.model import Instrument, Kind, Mode, Observation, ProbeState, Program
from obi_core.probe import Probe
from obi_core.runtime.costs import Budget
from obi_core.runtime.orders import Restore, Shed
from obi_core.runtime.plan import Plan
from obi_core.runtime.runner import Runner
from obi_core.settings import BudgetSettings, Constant, Live, OptIn, ProbeSettings
from obi_core.testing.fakes import FakeBus, FakeClock, FakeLoader

THINGS = Instrument("obi.x.things", Kind.COUNTER, "{thing}", "Things.")
MODE = Mode("best", (Program("x_main"), Program("x_extra", loses=("extras",))))
BUDGETS = BudgetSettings(sampling_steps=2)
SAMPLING = ("samples 2 times less", "samples 4 times less")


class XSettings(ProbeSettings):
    every: Annotated[int, Live("x_every", shed=True)] = 8
    slow: Annotated[int, Live("x_slow")] = 5
    size: Annotated[int, Constant("x_size")] = 1
    port: Annotated[bool, Constant("x_port"), OptIn()] = True


class X(Probe):
    name = "x"
    settings_type = XSettings
    instruments = (THINGS,)
    modes = (MODE,)
    kernel: FakeLoader

    def load(self, loader, mode):
        # by itself: there is no object whose maps could be planned
        self._bpf = self._open.enter_context(self.kernel.load("x", "x", mode, self.settings.plan()))

    def collect(self):
        yield Observation(THINGS, "row", 1)


class Rig:
    """One runner, moved turn by turn."""

    def __init__(self) -> None:
        self.clock, self.loader = FakeClock(), FakeLoader()
        common = (self.loader, Host(), FakeBus(), 1000.0, 30.0, 30.0, self.clock, self.clock.wait)
        probe = type("X", (X,), {"kernel": self.loader})
        self.plan = Plan(probe, "dist 1.0", XSettings(), *common, budgets=BUDGETS, jitter=lambda: 0.0)
        self.runner = Runner(self.plan, lambda _: None)
        self.runner.start()
        self.clock.asleep(1.0)

    def turn(self) -> None:
        """Let the worker take one turn, and wait until it sleeps again."""
        self.clock.advance(1.0)
        self.clock.asleep(1.0)

    def order(self, *orders) -> None:
        for order in orders:
            self.runner.order(order)
        self.turn()

    def follow(self, *, budgets=BUDGETS, **settings) -> None:
        self.plan = replace(self.plan, settings=XSettings(**settings), budgets=budgets)
        self.runner.follow(self.plan)
        self.turn()

    @property
    def bpf(self):
        return self.loader.loaded[-1]

    @property
    def sheds(self):
        return self.runner.status.sheds


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig()
    yield made
    made.runner.finish()
    made.runner.detach()
    assert made.runner.join(10)


KERNEL = Shed(Budget.KERNEL_CPU, ("x_extra",))


def test_a_live_change_keeps_the_steps_and_takes_effect_under_them(rig):
    rig.order(KERNEL, KERNEL)
    assert (rig.sheds, rig.bpf.tuned["x_every"]) == (SAMPLING, 32)
    rig.follow(every=3, slow=6)
    assert (rig.sheds, rig.bpf.tuned["x_every"], rig.bpf.tuned["x_slow"]) == (SAMPLING, 12, 6)
    assert len(rig.loader.loaded) == 1, "nothing was loaded anew"
    rig.order(Restore(), Restore())
    assert (rig.sheds, rig.bpf.tuned["x_every"]) == ((), 3), "given back to the new setting, not to the old one"


def test_a_new_start_keeps_the_steps_and_the_new_settings(rig):
    rig.order(KERNEL, KERNEL, Shed(Budget.SERIES))
    rig.order(KERNEL)
    assert rig.sheds == (*SAMPLING, "opt-in attributes off: port", "program x_extra detached")
    starts = len(rig.loader.loaded)
    rig.follow(size=2, every=3)
    assert len(rig.loader.loaded) == starts + 1
    assert rig.sheds == (*SAMPLING, "opt-in attributes off: port", "program x_extra detached")
    assert rig.bpf.plan.constants == {"x_size": 2, "x_port": 0}
    assert (rig.bpf.tuned["x_every"], rig.bpf.attached) == (12, ["x_main"])
    rig.order(Restore())
    assert rig.bpf.attached == ["x_main", "x_extra"]
    rig.order(Restore())
    assert rig.bpf.plan.constants == {"x_size": 2, "x_port": 1}
    rig.order(Restore(), Restore())
    assert (rig.sheds, rig.bpf.tuned["x_every"]) == ((), 3)


def test_a_probe_that_is_paused_begins_again_with_what_was_changed_meanwhile(rig):
    rig.order(Shed(Budget.MAP_MEMORY))
    assert (rig.sheds, rig.runner.status.state) == (("paused",), ProbeState.DETACHED)
    rig.follow(size=4)
    assert (rig.sheds, rig.runner.status.state) == (("paused",), ProbeState.DETACHED), "a reload wakes nobody"
    rig.order(Restore())
    assert (rig.sheds, rig.runner.status.state) == ((), ProbeState.ATTACHED)
    assert rig.bpf.plan.constants["x_size"] == 4


@pytest.mark.parametrize(
    ("budgets", "starts"),
    [
        ({"cpu": 0.5}, 1),
        ({"kernel_cpu": 0.5, "user_cpu": 0.5, "memory": 123_000_000}, 1),
        ({"series": 7}, 1),
        ({"restore_s": 5.0, "measure_every_s": 7.0, "sampling_steps": 5}, 1),
        ({"map_memory": 1_000_000}, 2),  # a map has its size from its birth
    ],
)
def test_a_changed_budget_alone_starts_no_probe_anew_unless_it_is_that_of_its_maps(rig, budgets, starts):
    rig.order(KERNEL)
    rig.follow(budgets=BUDGETS.model_copy(update=budgets))
    assert len(rig.loader.loaded) == starts
    assert (rig.sheds, rig.bpf.tuned["x_every"]) == (("samples 2 times less",), 16)


def test_more_doublings_than_before_are_allowed_at_once(rig):
    rig.order(KERNEL, KERNEL)
    rig.follow(budgets=BUDGETS.model_copy(update={"sampling_steps": 3}))
    rig.order(KERNEL)
    assert rig.sheds == (*SAMPLING, "samples 8 times less")
