"""A probe on this machine's real kernel, for tests."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from obi_core.cgroups import Cgroups
from obi_core.host import Host
from obi_core.kernel.ages import LOOK_EVERY_S, RowAges
from obi_core.kernel.loaders import COMPILED_HERE, NodeLoader
from obi_core.kernel.node import node_constants
from obi_core.model import Mode
from obi_core.probe import Probe
from obi_core.settings import ProbeSettings
from obi_core.testing.plugin import refused_programs

P = TypeVar("P", bound=Probe)


def this_host() -> Host:
    """Facts of the machine that the tests run on."""
    return Host()


def row_ages(*, idle_s: float = 3600.0, look_every_s: float = LOOK_EVERY_S) -> RowAges:
    """What ends the rows of a probe on this machine, as the agent makes it: for `Probe.ages`."""
    return RowAges(Cgroups().ids, idle_s, look_every_s=look_every_s)


@contextmanager
def attached(probe: type[P], settings: ProbeSettings, mode: Mode) -> Iterator[P]:
    """Construct a probe, load and attach one mode, and detach at the end, as the agent would.

    Raises:
        LoadError: The kernel would not load it.
        AttachError: The kernel would not attach it.
        AssertionError: A program that the mode can do without was refused: a test wants all of it, but for what the doctor
            found to be refused here (`OBI_DOCTOR`), and what BCC never compiles.
    """
    host = Host()
    made = probe(settings)
    try:
        made.load(NodeLoader(host, node_constants(host)), mode)
        made.attach(mode)
        known = refused_programs(probe.name)
        refused = [
            error
            for name, error in made.bpf.refused.items()
            if name not in known and (error.need != "btf" or COMPILED_HERE not in mode.needs)
        ]
        if refused:
            raise AssertionError("; ".join(map(str, refused)))
        yield made
    finally:
        made.detach()
