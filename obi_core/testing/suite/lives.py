# ruff: noqa: D102 - test names are sentences
"""Whole lives on a real kernel: nothing is left behind, and what was counted stays counted across a restart."""

from itertools import pairwise
from typing import Final

from obi_core.bus import Bus, Limits
from obi_core.host import Host
from obi_core.kernel.base import Loader
from obi_core.model import Mode, Owner
from obi_core.resolver import Subject
from obi_core.runtime.attempt import begin
from obi_core.testing.held import Held, left_behind
from obi_core.testing.suite.author import Author
from obi_core.testing.suite.checks import check_attributes, check_counters, check_series
from obi_core.testing.suite.stage import HungError, Stage

_BUS_S: Final = 10.0


class Lives(Author):
    """One life, and two."""

    def test_on_this_kernel_every_mode_works_and_leaves_nothing(self, real_mode: Mode) -> None:
        host = Host()
        loader = self.loader(host)
        with self.stage() as stage:
            self._one_life(stage, loader, host, real_mode)  # what a first use keeps open for good is opened here
            before = Held.now()
            during = self._one_life(stage, loader, host, real_mode)
            after = Held.now()
        assert after == before
        assert left_behind(during.objects - before.objects) == frozenset()

    def test_on_this_kernel_no_series_falls_when_the_probe_is_restarted(self, real_mode: Mode) -> None:
        host = Host()
        loader = self.loader(host)
        bus = Bus(_ByName(), Limits(bind_grace_s=0.01))
        bus.register(self.probe.name, "contract", self.probe.instruments, self.probe.views)
        bus.start()
        try:
            read = [bus.metrics()]
            for generation in (1, 2):
                with self.stage() as stage:
                    probe = self.probe(self.settings())
                    try:
                        self.started(stage, probe, loader, host, real_mode)
                        for provoked in (False, True):
                            if provoked:
                                self.provoke()
                            bus.publish(self.probe.name, generation, self.gather(stage, probe))
                            read.append(bus.metrics())
                    finally:
                        self.ended(stage, probe)
                fault = bus.undeclared(self.probe.name, generation)
                assert fault is None, fault
                bus.end(self.probe.name, generation)
                read.append(bus.metrics())
            for earlier, later in pairwise(read):
                check_series([metric for metric in earlier if metric.scope], later)
        finally:
            assert bus.stop(_BUS_S)

    def started(self, stage: Stage, probe: object, loader: Loader, host: Host, mode: Mode) -> tuple[str, ...]:
        """Load and attach, as the agent does; what the probe then loses."""
        assert isinstance(probe, self.probe)
        result = begin(probe, mode, loader, host, stage.do)
        assert result.ok, result.detail
        return result.loses

    def ended(self, stage: Stage, probe: object) -> None:
        """Detach; of a probe that hangs close the links alone, as the agent does."""
        assert isinstance(probe, self.probe)
        try:
            stage.do("detach", probe.detach)
        except HungError:
            probe.sever()
            raise

    def _one_life(self, stage: Stage, loader: Loader, host: Host, mode: Mode) -> Held:
        probe = self.probe(self.settings())
        try:
            self.started(stage, probe, loader, host, mode)
            first = self.gather(stage, probe)
            self.provoke()
            second = self.gather(stage, probe)
            check_attributes((*first, *second))
            check_counters(first, second)
            return Held.now()
        finally:
            self.ended(stage, probe)


class _ByName:
    def resolve(self, owner: Owner) -> Subject:
        return Subject({"process.executable.name": owner.comm})
