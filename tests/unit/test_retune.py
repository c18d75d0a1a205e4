"""What a probe does by default when its settings change while it runs, or when it is to cost less."""

from typing import Annotated

import pytest

from obi_core.model import Instrument, Kind, Mode, Program
from obi_core.probe import Probe
from obi_core.settings import Constant, Entries, Live, OptIn, ProbeSettings
from obi_core.testing.fakes import FakeLoader

THINGS = Instrument("obi.x.things", Kind.COUNTER, "{thing}", "Things.")
MODE = Mode("best", (Program("x_hook"),))


class XSettings(ProbeSettings):
    every: Annotated[int, Live("x_every", shed=True)] = 8
    slow_s: Annotated[float, Live("x_slow_ns", scale=1_000_000_000)] = 0.5
    rate: Annotated[int | None, Live("x_rate")] = None
    strict: Annotated[bool, Constant("x_strict")] = True
    rows: Annotated[int, Entries("x_rows")] = 64
    both: Annotated[int, Live("x_both"), Entries("x_ring")] = 1
    plain: str = ""


class XProbe(Probe):
    name = "x"
    settings_type = XSettings
    instruments = (THINGS,)
    modes = (MODE,)

    def collect(self):
        return ()


@pytest.fixture
def probe():
    made = XProbe(XSettings())
    made.load(FakeLoader(), MODE)
    yield made
    made.detach()


def test_live_fields_are_applied(probe):
    changed = XSettings(every=4, slow_s=0.25, rate=7)
    assert probe.retune(changed)
    assert probe.bpf.tuned == {"x_every": 4, "x_slow_ns": 250_000_000, "x_rate": 7, "x_both": 1}
    assert probe.settings is changed


@pytest.mark.parametrize("change", [{"strict": False}, {"rows": 65}, {"both": 2}, {"plain": "a"}, {"interval_s": 3.0}])
def test_any_other_changed_field_asks_for_a_restart_and_nothing_is_applied(probe, change):
    assert not probe.retune(XSettings(every=4, **change))
    assert probe.bpf.tuned == {}
    assert probe.settings == XSettings()


def test_a_live_field_that_loses_its_value_asks_for_a_restart(probe):
    assert probe.retune(XSettings(rate=7))
    assert not probe.retune(XSettings())


def test_unchanged_settings_need_nothing(probe):
    assert probe.retune(XSettings())


@pytest.mark.parametrize(("level", "every"), [(1, 16), (2, 32), (10, 8192), (40, (1 << 32) - 1), (0, 8)])
def test_each_level_of_shedding_doubles_the_sampling_factors_alone(probe, level, every):
    probe.shed(level)
    assert probe.bpf.tuned == {"x_every": every, "x_slow_ns": 500_000_000, "x_both": 1}


def test_a_factor_of_zero_is_left_alone_by_shedding(probe):
    assert probe.retune(XSettings(every=0))
    probe.shed(3)
    assert probe.bpf.tuned["x_every"] == 0


def test_settings_that_change_while_shedding_keep_the_level(probe):
    probe.shed(2)
    assert probe.retune(XSettings(every=3))
    assert probe.bpf.tuned["x_every"] == 12
    probe.shed(0)
    assert probe.bpf.tuned["x_every"] == 3


def test_a_probe_without_an_object_remembers_its_settings():
    probe = XProbe(XSettings())
    assert probe.retune(XSettings(every=4))
    assert probe.settings == XSettings(every=4)
    probe.shed(1)


class YSettings(XSettings):
    port: Annotated[bool, Constant("y_port"), OptIn()] = False
    path: Annotated[bool, OptIn()] = True
    ports: Annotated[str, OptIn("none")] = "none"


def test_opt_in_attributes_are_known_and_can_be_left_out_together():
    settings = YSettings(port=True, every=4)
    assert settings.opted_in() == ("port", "path")
    assert settings.without_opt_ins() == YSettings(port=False, path=False, every=4)
    assert YSettings(path=False).opted_in() == ()
    assert YSettings(path=False, ports="all").opted_in() == ("ports",)
    assert YSettings(ports="all").without_opt_ins() == YSettings(path=False)


def test_a_probe_samples_where_a_factor_that_sheds_is_not_zero():
    assert XSettings().samples()
    assert not XSettings(every=0).samples()
    assert not ProbeSettings().samples()
