# ruff: noqa: D102 - test names are sentences
"""What a mode says it loses is really absent, and what it does not say is really there: provoked, and looked for.

A loss is checked where it names a whole instrument, attribute or `view NAME`; one that says more (`obi.tcp.io while a
connection is open`) is a part, and of it neither presence nor absence can be asked.
"""

import threading
from collections.abc import Iterable, Sequence
from typing import Final

from obi_core.host import Host
from obi_core.kernel.base import Loader
from obi_core.model import Mode, Observation, Row, Yielded
from obi_core.testing.suite.author import optional
from obi_core.testing.suite.failures import lacking
from obi_core.testing.suite.lives import Lives

_TRIES: Final = 40
_PAUSE_S: Final = 0.05


class Losses(Lives):
    """Every mode, and every mode without each of its optional programs."""

    def test_on_this_kernel_a_mode_loses_what_it_says_and_nothing_else(self, real_mode: Mode) -> None:
        host = Host()
        self._compare(self.loader(host), host, real_mode, f"mode {real_mode.name}")

    def test_on_this_kernel_without_a_program_that_is_lost_which_it_names(self, real_mode: Mode) -> None:
        host = Host()
        for program in optional(real_mode):
            self._compare(lacking(self.loader(host), program), host, real_mode, f"mode {real_mode.name} without {program}")

    def _compare(self, loader: Loader, host: Host, mode: Mode, who: str) -> None:
        with self.stage() as stage:
            probe = self.probe(self.settings())
            try:
                loses = self.started(stage, probe, loader, host, mode)
                wanted = set(self.expects) - _named(self.expects, loses)
                before = self.gather(stage, probe)
                self.provoke()
                after = self.gather(stage, probe)
                for _ in range(_TRIES):
                    if wanted <= self._moved(before, after):
                        break
                    threading.Event().wait(_PAUSE_S)
                    after += self.gather(stage, probe)
            finally:
                self.ended(stage, probe)
        missing = wanted - self._moved(before, after)
        assert not missing, f"{who} does not give {', '.join(sorted(missing))}, and does not say so"
        given = set(loses) & self._given((*before, *after))
        assert not given, f"{who} says that it loses {', '.join(sorted(given))}, and gives it"

    def _moved(self, before: Iterable[Yielded], after: Iterable[Yielded]) -> set[str]:
        """Instruments with a row that changed, and views with rows."""
        old = {(item.instrument.name, item.key): item.value for item in before if isinstance(item, Observation)}
        moved = set()
        for item in after:
            if isinstance(item, Row):
                moved.add(f"view {item.view.name}")
            elif isinstance(item, Observation) and self.mine(item):
                was = old.get((item.instrument.name, item.key))
                if item.value != was and (was is not None or _something(item)):
                    moved.add(item.instrument.name)
        return moved

    def _given(self, batch: Sequence[Yielded]) -> set[str]:
        """Instruments that say more than nothing, their attributes, and views with rows."""
        given = {f"view {item.view.name}" for item in batch if isinstance(item, Row)}
        for item in batch:
            if isinstance(item, Observation) and _something(item):
                given |= {item.instrument.name, *item.attributes}
        return given


def _something(item: Observation) -> bool:
    return any(item.value) if isinstance(item.value, tuple) else bool(item.value)


def _named(expected: Iterable[str], loses: Iterable[str]) -> set[str]:
    """Of what is expected, that of which a loss speaks, whole or in part."""
    loses = tuple(loses)
    return {name for name in expected if any(lost == name or lost.startswith((f"{name} ", f"{name}:")) for lost in loses)}
