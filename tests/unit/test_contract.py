"""The contract suite against a probe that keeps its promises, and against some that break one each."""

import pytest

from obi_core.model import Instrument, Kind, Mode, Observation, Program
from obi_core.probe import Probe
from obi_core.runtime.shape import MisfitError
from obi_core.testing.contract import ProbeContract, check_attributes, check_counters
from obi_core.testing.fakes import FakeLoader

THINGS = Instrument("obi.kept.things", Kind.COUNTER, "{thing}", "Things.", ("process.name",))
LEVEL = Instrument("obi.kept.level", Kind.GAUGE, "{thing}", "Level.")


class Kept(Probe):
    name = "kept"
    instruments = (THINGS, LEVEL)
    modes = (
        Mode("best", (Program("kept_hook"), Program("kept_extra", loses=("obi.kept.level",))), ("cap:bpf", "btf")),
        Mode("plain", (Program("kept_plain"),), ("cap:bpf",), loses=("process.name",)),
    )

    def collect(self):
        return ()


class TestKept(ProbeContract):
    probe = Kept

    def loader(self, host):
        """This probe has no object."""
        return FakeLoader()


def broken(**variables):
    return type("TestBroken", (ProbeContract,), {"probe": type("Kept", (Kept,), variables)})()


def test_an_instrument_outside_the_probes_name_is_found():
    stray = Instrument("obi.other.things", Kind.COUNTER, "{thing}", "Things.")
    with pytest.raises(MisfitError, match=r"obi\.other\.things"):
        broken(instruments=(stray,)).test_the_class_is_complete()


def test_a_loss_without_a_name_is_found():
    with pytest.raises(AssertionError, match="mode plain loses something without a name"):
        broken(modes=(Mode("plain", loses=("",)),)).test_what_is_lost_is_said()


def test_a_probe_that_loads_beside_its_base_class_is_found():
    def load(self, loader, mode):
        self._bpf = loader.load("", "kept", mode, self.settings.plan())

    with pytest.raises(AssertionError):
        broken(load=load).test_every_mode_is_closed_by_detach_and_detach_is_idempotent(Kept.modes[0])


def test_an_undeclared_attribute_is_found():
    with pytest.raises(AssertionError, match=r"obi\.kept\.things carries pid"):
        check_attributes([Observation(THINGS, 1, 1, None, {"pid": 1})])


def test_a_counter_that_falls_is_found_and_a_gauge_may():
    earlier = [Observation(THINGS, 1, 5), Observation(LEVEL, 1, 5)]
    check_counters(earlier, [Observation(THINGS, 1, 5), Observation(LEVEL, 1, 2), Observation(THINGS, 2, 0)])
    with pytest.raises(AssertionError, match=r"obi\.kept\.things of row 1 fell from 5 to 4"):
        check_counters(earlier, [Observation(THINGS, 1, 4)])
