"""What a plugin's author gives the suite: the class, how to provoke it, how to fill it."""

from typing import ClassVar

import pytest

from obi_core.host import Host
from obi_core.kernel.base import Loader
from obi_core.model import Mode, Observation, Yielded
from obi_core.probe import Probe
from obi_core.runtime.declared import Declared
from obi_core.settings import CoreSettings, ProbeSettings
from obi_core.testing import plugin
from obi_core.testing.suite.filling import fill_maps
from obi_core.testing.suite.stage import Stage


class Author:
    """The hooks of the suite; a subclass names the probe, and overrides what it can say more about."""

    probe: ClassVar[type[Probe]]
    expects: ClassVar[tuple[str, ...]] = ()
    """What must have moved after `provoke`: names of instruments, and `view NAME` for a view that has rows."""
    collect_deadline_s: ClassVar[float] = CoreSettings().agent.collect_deadline_s
    """Time one step may take, s; the agent's own by default."""

    def settings(self) -> ProbeSettings:
        """Settings to test with."""
        return self.probe.settings_type()

    def loader(self, host: Host) -> Loader:
        """What loads the real objects: a new one each time, for some tests make it refuse a program."""
        from obi_core.kernel.loaders import NodeLoader  # only where a kernel test runs
        from obi_core.kernel.node import node_constants

        return NodeLoader(host, node_constants(host))

    def provoke(self) -> None:
        """Cause something that the probe sees; called between two collections on a real kernel."""

    def mine(self, _seen: Observation) -> bool:
        """Whether an observation comes of `provoke`, and not of somebody else on this machine; by default, any may."""
        return True

    def fill(self, probe: Probe) -> int:
        """Fill what the loaded probe reads, with garbage, to the brim; how many rows there are then.

        By default: random keys and values into every hash map that the probe has open.
        """
        return fill_maps(probe.bpf) if probe.modes and _loaded(probe) else 0

    def stage(self) -> Stage:
        """Where the probe's steps run."""
        return Stage(self.collect_deadline_s * plugin.patience())

    def gather(self, stage: Stage, probe: Probe) -> list[Yielded]:
        """Collect once on the stage; see `collected`."""
        return stage.do("collect", lambda: self.collected(probe))

    def collected(self, probe: Probe) -> list[Yielded]:
        """Collect once, with every view wanted, checked as the agent checks it."""
        probe.wanted = frozenset(view.name for view in self.probe.views)
        return Declared(self.probe).collection(probe)

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run a test once per mode."""
        modes = type(self).probe.modes
        if "mode" in metafunc.fixturenames:
            metafunc.parametrize("mode", modes, ids=[mode.name for mode in modes])
        if "real_mode" in metafunc.fixturenames:
            marked = [pytest.param(mode, marks=pytest.mark.kernel(needs=mode.needs), id=mode.name) for mode in modes]
            metafunc.parametrize("real_mode", marked)


def _loaded(probe: Probe) -> bool:
    try:
        return bool(probe.bpf)
    except RuntimeError:  # a mode without programs
        return False


def optional(mode: Mode) -> tuple[str, ...]:
    """Programs that a mode can do without."""
    return tuple(program.name for program in mode.programs if program.loses)
