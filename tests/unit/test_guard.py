"""The loader as a probe is handed it: programs of its mode, and no others."""

import pytest

from obi_core.host import Host
from obi_core.model import LoadPlan, Mode, Program, Reason
from obi_core.probe import Probe
from obi_core.runtime.attempt import attempt
from obi_core.runtime.declared import UndeclaredError
from obi_core.runtime.guard import Guard
from obi_core.settings import ProbeSettings
from obi_core.testing.fakes import FakeLoader

PLAN = LoadPlan({}, {}, {})
TWO = Mode("two", (Program("one"), Program("other")))
MORE = Mode("more", (*TWO.programs, Program("third"), Program("fourth")))


class Greedy(Probe):
    name = "greedy"
    instruments = ()
    modes = (TWO,)

    def collect(self):
        return ()


def test_a_mode_s_own_programs_are_loaded_all_or_some():
    loader = FakeLoader()
    guard = Guard(loader, TWO)
    for mode in (TWO, Mode("half", (Program("other"),))):
        loaded = guard.load("package", "stem", mode, PLAN)
        for program in mode.programs:
            loaded.attach(program.name)
    guard.check()
    assert [bpf.mode.name for bpf in loader.loaded] == ["two", "half"]


def test_other_programs_are_refused_by_name_and_nothing_is_loaded():
    loader = FakeLoader()
    guard = Guard(loader, TWO)
    sentence = "mode two does not declare fourth, third, which the probe asked to load"
    with pytest.raises(UndeclaredError, match=f"^{sentence}$"):
        guard.load("package", "stem", MORE, PLAN)
    assert loader.loaded == []
    with pytest.raises(UndeclaredError, match=f"^{sentence}$"):
        guard.check()


def test_what_is_attached_beyond_the_mode_is_found_after_attach():
    class Attaching(Greedy):
        def attach(self, mode):
            super().attach(mode)
            self.bpf.attach("third")

    loader = FakeLoader()
    result = attempt(Attaching, ProbeSettings(), TWO, loader, Host())
    assert (result.ok, result.reason, loader.open) == (False, Reason.UNDECLARED, ())
    assert result.detail == "mode two does not declare third, which the probe asked to attach"
