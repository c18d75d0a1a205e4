# ruff: noqa: D102 - test names are sentences
"""What the class says of itself, without running it."""

from collections.abc import Iterator

from obi_core.errors import LoadError
from obi_core.kernel.sections import capabilities_of
from obi_core.kernel.shipped import Shipped
from obi_core.model import Mode
from obi_core.runtime.shape import probe_of
from obi_core.testing.suite.author import Author


class Declares(Author):
    """The declarations hang together."""

    def test_the_class_is_complete(self) -> None:
        assert probe_of(self.probe.name, [self.probe]) is self.probe
        for instrument in self.probe.instruments:
            assert not instrument.name.endswith((".total", "_total")), instrument.name
            assert instrument.description.endswith("."), instrument.name
            assert instrument.unit, instrument.name

    def test_its_settings_have_defaults_and_make_a_plan(self) -> None:
        plan = self.settings().plan()
        assert all(isinstance(value, int) for part in (plan.constants, plan.live, plan.entries) for value in part.values())

    def test_a_mode_says_which_capabilities_its_programs_take(self) -> None:
        for mode in self.probe.modes:
            needed = {f"cap:{name}" for section in self._sections(mode) for name in capabilities_of(section)}
            missing = sorted(needed - set(mode.needs))
            assert not missing, f"mode {mode.name} does not say that it needs {', '.join(missing)}"

    def _sections(self, mode: Mode) -> Iterator[str]:
        """Sections of the programs that a mode cannot do without, as the built object has them."""
        package = self.probe.__module__.rpartition(".")[0]
        wanted = [program.name for program in mode.programs if not program.loses]
        try:
            programs = Shipped.read(package, self.probe.name).elf.programs if wanted and package else {}
        except LoadError:  # not built where no kernel is at hand
            programs = {}
        yield from (programs[name].section for name in wanted if name in programs)

    def test_what_is_lost_is_said(self) -> None:
        for mode in self.probe.modes:
            for loses in (mode.loses, *(program.loses for program in mode.programs)):
                assert all(lost.strip() for lost in loses), f"mode {mode.name} loses something without a name"
            assert any(not program.loses for program in mode.programs) or not mode.programs, f"mode {mode.name} needs nothing"

    def test_what_is_lost_or_expected_is_the_name_of_something_declared(self) -> None:
        instruments = {instrument.name for instrument in self.probe.instruments}
        views = {f"view {view.name}" for view in self.probe.views}
        for said in (*self.expects, *self._losses()):
            first = said.split()[0].rstrip(":")
            assert not first.startswith("obi.") or first in instruments, f"{said!r} begins with no instrument of this probe"
            assert first != "view" or " ".join(said.split()[:2]).rstrip(":") in views, f"{said!r} names no view of this probe"

    def _losses(self) -> Iterator[str]:
        for mode in self.probe.modes:
            yield from mode.loses
            for program in mode.programs:
                yield from program.loses
