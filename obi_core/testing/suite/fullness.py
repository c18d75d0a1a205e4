# ruff: noqa: D102 - test names are sentences
"""Full maps of garbage: a collection survives them, and its cost grows with the rows and no faster."""

import time
from collections.abc import Callable
from typing import Final

from obi_core.host import Host
from obi_core.model import Instrument, Kind, Mode, Observation, Owner, Yielded
from obi_core.testing.suite.checks import check_attributes
from obi_core.testing.suite.lives import Lives
from obi_core.testing.suite.stage import Stage

_READS: Final = 3
_UNITS_PER_ROW: Final = 60
"""What one row may cost, in units of `_unit`: a row of 108 buckets takes about ten."""
_UNITS: Final = 20_000


class Fullness(Lives):
    """Everything that can be full, is."""

    def test_on_this_kernel_full_maps_of_garbage_are_read_at_a_cost_that_grows_with_the_rows(self, real_mode: Mode) -> None:
        host = Host()
        with self.stage() as stage:
            probe = self.probe(self.settings())
            try:
                self.started(stage, probe, self.loader(host), host, real_mode)
                empty, nothing = self._cheapest(stage, lambda: self.collected(probe))
                rows = self.fill(probe)
                full, batch = self._cheapest(stage, lambda: self.collected(probe))
            finally:
                self.ended(stage, probe)
            unit, _ = self._cheapest(stage, _unit)
        check_attributes(batch)
        if not rows:
            return  # nothing of this mode can be full: it reads what the node has, which is never twice the same
        most = len(nothing) + rows * (len(self.probe.instruments) + len(self.probe.views) + 1)
        assert len(batch) <= most, f"{rows} rows made {len(batch)} entries; {most} would be one for each thing declared"
        units = (full - empty) / (unit / _UNITS)
        allowed = _UNITS_PER_ROW * max(rows, _UNITS // 10)
        assert units <= allowed, f"{rows} rows cost as much as {units:.0f} observations; {allowed} are allowed"

    @staticmethod
    def _cheapest(stage: Stage, call: Callable[[], list[Yielded]]) -> tuple[float, list[Yielded]]:
        """CPU seconds of the cheapest of a few calls, and what the last gave."""
        given: list[Yielded] = []

        def timed() -> float:
            nonlocal given
            began = time.thread_time()
            given = call()
            return time.thread_time() - began

        return min(stage.do("collect", timed) for _ in range(_READS)), given


def _unit() -> list[Yielded]:
    """Make as many observations as cost one unit each: what the cheapest reader does with a row."""
    things = Instrument("obi.unit.things", Kind.COUNTER, "{thing}", "Things.", ("thing",))
    return [Observation(things, bytes(40), number, Owner(0, 0, 0, "unit"), {"thing": "one"}) for number in range(_UNITS)]
