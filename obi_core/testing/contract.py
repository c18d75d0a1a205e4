# ruff: noqa: D102 - test names are sentences
"""The contract suite: what every probe promises, as tests.

Subclass it once per plugin::

from obi_core.testing.contract import ProbeContract
from obi_plugin_exec.probe import ExecProbe

class TestExecContract(ProbeContract):
    probe = ExecProbe
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Final

import pytest

from obi_core.errors import AttachError, KernelError, LoadError
from obi_core.host import Host
from obi_core.kernel.base import Loader
from obi_core.model import Instrument, Kind, Mode, Observation, Reason, Yielded
from obi_core.probe import Probe
from obi_core.runtime.attempt import attempt, begin
from obi_core.runtime.declared import Declared
from obi_core.runtime.shape import probe_of
from obi_core.settings import ProbeSettings
from obi_core.testing.fakes import FakeLoader
from obi_core.testing.held import Held, left_behind

_NOWHERE: Final = Path("/nonexistent")


class ProbeContract:
    """Tests of one probe class; those that take `real_mode` run on a real kernel, once per mode."""

    probe: ClassVar[type[Probe]]

    def settings(self) -> ProbeSettings:
        """Settings to test with."""
        return self.probe.settings_type()

    def loader(self, host: Host) -> Loader:
        """What loads the real objects."""
        from obi_core.kernel.libbpf import LibbpfLoader  # only where a kernel test runs
        from obi_core.kernel.node import node_constants

        return LibbpfLoader(host, node_constants(host))

    def provoke(self) -> None:
        """Cause something that the probe sees; called between two collections on a real kernel."""

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run a test once per mode."""
        modes = type(self).probe.modes
        if "mode" in metafunc.fixturenames:
            metafunc.parametrize("mode", modes, ids=[mode.name for mode in modes])
        if "real_mode" in metafunc.fixturenames:
            marked = [pytest.param(mode, marks=pytest.mark.kernel(needs=mode.needs), id=mode.name) for mode in modes]
            metafunc.parametrize("real_mode", marked)

    def test_the_class_is_complete(self) -> None:
        assert probe_of(self.probe.name, [self.probe]) is self.probe
        for instrument in self.probe.instruments:
            assert instrument.name.startswith(f"obi.{self.probe.name}."), instrument.name
            assert not instrument.name.endswith((".total", "_total")), instrument.name
            assert instrument.description.endswith("."), instrument.name
            assert instrument.unit, instrument.name
        names = [instrument.name for instrument in self.probe.instruments]
        assert len(set(names)) == len(names)

    def test_a_headline_carries_declared_attributes_only(self) -> None:
        for instrument in self.probe.instruments:
            for headline in instrument.headline:
                assert set(headline) <= set(instrument.attributes), instrument.name

    def test_its_settings_have_defaults_and_make_a_plan(self) -> None:
        plan = self.settings().plan()
        assert all(isinstance(value, int) for part in (plan.constants, plan.live, plan.entries) for value in part.values())

    def test_detach_before_load_and_twice_does_nothing(self) -> None:
        probe = self.probe(self.settings())
        probe.detach()
        probe.detach()

    def test_every_mode_is_closed_by_detach_and_detach_is_idempotent(self, mode: Mode) -> None:
        loader, probe = FakeLoader(), self.probe(self.settings())
        probe.load(loader, mode)
        probe.attach(mode)
        probe.sever()
        probe.detach()
        probe.detach()
        assert loader.open == ()

    def test_a_refused_load_leaves_nothing_open(self, mode: Mode) -> None:
        self._refused(mode, {f"load:{mode.name}": LoadError("refused by the test", program="x", errno=22)})

    def test_a_refused_attach_leaves_nothing_open(self, mode: Mode) -> None:
        for program in mode.programs:
            if not program.loses:
                error = AttachError("refused by the test", program=program.name, errno=22)
                self._refused(mode, {f"attach:{program.name}": error})

    def test_a_refused_optional_program_costs_exactly_what_it_says(self, mode: Mode) -> None:
        for program in mode.programs:
            if not program.loses:
                continue
            error = AttachError("refused by the test", program=program.name, errno=22)
            loader = FakeLoader(errors={f"attach:{program.name}": error})
            result = attempt(self.probe, self.settings(), replace(mode, needs=()), loader, Host())
            assert (result.ok, loader.open) == (True, ())
            assert set(result.loses) == {*mode.loses, *program.loses}

    def test_what_is_lost_is_said(self) -> None:
        for mode in self.probe.modes:
            for loses in (mode.loses, *(program.loses for program in mode.programs)):
                assert all(lost.strip() for lost in loses), f"mode {mode.name} loses something without a name"
            assert any(not program.loses for program in mode.programs) or not mode.programs, f"mode {mode.name} needs nothing"

    def test_a_host_without_anything_is_unsupported_with_a_reason(self, mode: Mode) -> None:
        if mode.needs:
            loader = FakeLoader()
            result = attempt(self.probe, self.settings(), mode, loader, Host(_NOWHERE, _NOWHERE))
            assert not result.ok
            assert result.reason not in (Reason.OK, Reason.STEP_RAISED)
            assert result.detail
            assert loader.loaded == []

    def test_on_this_kernel_every_mode_works_and_leaves_nothing(self, real_mode: Mode) -> None:
        host, settings = Host(), self.settings()
        loader = self.loader(host)
        self._one_life(loader, host, settings, real_mode)  # what a first use keeps open for good is opened here
        before = Held.now()
        during = self._one_life(loader, host, settings, real_mode)
        after = Held.now()
        assert after == before
        assert left_behind(during.objects - before.objects) == frozenset()

    def _one_life(self, loader: Loader, host: Host, settings: ProbeSettings, mode: Mode) -> Held:
        probe = self.probe(settings)
        try:
            result = begin(probe, mode, loader, host)
            assert result.ok, result.detail
            probe.wanted = frozenset(view.name for view in self.probe.views)
            declared = Declared(self.probe)
            first = declared.gather(probe.collect())
            self.provoke()
            second = declared.gather(probe.collect())
            check_attributes((*first, *second))
            check_counters(first, second)
            return Held.now()
        finally:
            probe.detach()

    def _refused(self, mode: Mode, errors: Mapping[str, KernelError]) -> None:
        if not mode.programs:
            return
        loader = FakeLoader(errors=errors)
        result = attempt(self.probe, self.settings(), replace(mode, needs=()), loader, Host())
        assert (result.ok, loader.open) == (False, ())
        assert "refused by the test" in result.detail


def check_attributes(batch: Iterable[Yielded]) -> None:
    """Assert that points carry only attributes that their instrument declares."""
    for item in batch:
        if isinstance(item, Observation):
            undeclared = set(item.attributes) - set(item.instrument.attributes)
            assert not undeclared, f"{item.instrument.name} carries {', '.join(sorted(undeclared))}"


def check_counters(earlier: Iterable[Yielded], later: Iterable[Yielded]) -> None:
    """Assert that no row of a counter or histogram fell between two collections."""
    before = {(item.instrument.name, item.key): _parts(item) for item in _cumulative(earlier)}
    for item in _cumulative(later):
        old = before.get((item.instrument.name, item.key), ())
        for was, now in zip(old, _parts(item), strict=False):
            assert now >= was, f"{item.instrument.name} of row {item.key!r} fell from {was} to {now}"


def _parts(item: Observation) -> tuple[float, ...]:
    return item.value if isinstance(item.value, tuple) else (item.value,)


def _cumulative(batch: Iterable[Yielded]) -> Iterable[Observation]:
    for item in batch:
        if isinstance(item, Observation) and _monotonic(item.instrument):
            yield item


def _monotonic(instrument: Instrument) -> bool:
    return instrument.kind in (Kind.COUNTER, Kind.HISTOGRAM)
