"""The contract between a probe and the agent: one class, a handful of plain method calls.

A complete probe::

    from obi_core import Instrument, Kind, Mode, Observation, Owner, Probe, ProbeSettings, Program

    EXECS = Instrument("obi.exec.execs", Kind.COUNTER, "{exec}", "Programs started.")

    class ExecProbe(Probe):
        name = "exec"
        settings_type = ProbeSettings
        instruments = (EXECS,)
        modes = (Mode("tp_btf", (Program("exec_sched_process_exec"),), needs=("cap:bpf", "cap:perfmon", "btf")),)

        def collect(self):
            for owner, count in self.bpf.rows("exec_execs"):
                yield Observation(EXECS, bytes(owner), count, decode_owner(owner))

The life of a probe is `load → attach → collect* → detach`, all on one thread of its own. Nobody writes cleanup: the base
class keeps what it opens, and the final `detach` closes all of it, last first.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, ClassVar, final

from obi_core.kernel.ages import RowAges
from obi_core.kernel.base import BpfObject, Loader
from obi_core.model import API_VERSION, Instrument, Mode, View, Yielded
from obi_core.settings import ProbeSettings


class Probe(ABC):
    """One source of observations. Subclass it, fill in the class variables and write `collect`."""

    api_version: ClassVar[tuple[int, int]] = API_VERSION
    """The contract that the probe was written for."""
    name: ClassVar[str]
    """The entry point's name, and the configuration section's."""
    settings_type: ClassVar[type[ProbeSettings]] = ProbeSettings
    instruments: ClassVar[tuple[Instrument, ...]]
    """Everything that `collect` may observe."""
    views: ClassVar[tuple[View, ...]] = ()
    """Tables for people."""
    modes: ClassVar[tuple[Mode, ...]]
    """Ways to work, best first."""

    def __init__(self, settings: ProbeSettings) -> None:
        self.settings = settings
        self.wanted: frozenset[str] = frozenset()
        self._level = 0
        self._open = ExitStack()
        self._bpf: BpfObject | None = None
        self.ages: RowAges | None = None
        """How rows end; set by the runner. None: they stay until the probe ends."""

    @classmethod
    def modes_for(cls, settings: ProbeSettings) -> tuple[Mode, ...]:  # noqa: ARG003 - for those who choose
        """The modes that are tried with these settings, best first: by default all. One that is opt-in overrides this."""
        return cls.modes

    @property
    def bpf(self) -> BpfObject:
        """The loaded BPF object.

        Raises:
            RuntimeError: The probe is not loaded, or its mode has no programs.
        """
        if self._bpf is None:
            raise RuntimeError(f"probe {self.name}: no BPF object is loaded")
        return self._bpf

    def load(self, loader: Loader, mode: Mode) -> None:
        """Load the mode's programs. A probe that reads /proc instead overrides this with what it opens.

        The default takes `<name>.bpf.o` from the package that defines the class.
        """
        if mode.programs:
            package = type(self).__module__.rpartition(".")[0]
            plan = self.settings.plan()
            self._bpf = self._open.enter_context(loader.load(package, self.name, self.chosen(mode), plan))

    def attach(self, mode: Mode) -> None:
        """Attach every chosen program of the mode; the optional ones that fail are noted in `bpf.refused`."""
        for program in self.chosen(mode).programs:
            self.bpf.attach(program.name)

    def chosen(self, mode: Mode) -> Mode:
        """The mode with those of its programs that the settings want: all but what a `Switch` turns off."""
        off = self.settings.switched_off()
        return replace(mode, programs=tuple(program for program in mode.programs if program.name not in off))

    def runs(self, program: str) -> bool:
        """Whether a program of the mode is loaded and attached: neither refused by the node nor switched off."""
        return program not in self.bpf.refused and program not in self.settings.switched_off()

    @abstractmethod
    def collect(self) -> Iterable[Yielded]:
        """Yield cumulative rows. One thread, every interval, under a deadline."""

    def rows(self, map_name: str) -> Iterator[tuple[Any, Any]]:
        """Read a hash map of aggregates in batches, as `bpf.rows` does, and end the rows that are over.

        A row is over when its cgroup is gone, or when it has not moved for `metrics.series_idle_s`. It is taken out of the
        map, given a last time, and then the core retires the key of its observation.

        Args:
            map_name: C name. Its key begins with `struct obi_owner owner`, and the reader's `Observation.key` is
                `(map_name, bytes(key))`.
        """
        return iter(self.bpf.rows(map_name)) if self.ages is None else self.ages.rows(self.bpf, map_name)

    def drain(self) -> Iterable[Yielded]:
        """Yield the events that the kernel has queued: every second between collections, and at the end of each.

        Observations and losses may come along, rows of views may not. A probe that does not override it is not asked.
        """
        return ()

    def wants(self, view: View) -> bool:
        """Whether somebody looks at `view`: rows nobody looks at need not be read."""
        return view.name in self.wanted

    def retune(self, settings: ProbeSettings) -> bool:
        """Apply changed settings; False asks for a restart, and nothing has changed.

        The default applies a change of `Live` fields alone.
        """
        if not self.settings.differs_live_only(settings):
            return False
        self.settings = settings
        self._tune()
        return True

    def shed(self, level: int) -> None:
        """Cost less the higher the level; 0 restores.

        The default doubles the fields marked `Live(…, shed=True)` with each level.
        """
        self._level = level
        self._tune()

    @final
    def sever(self) -> None:
        """Close the links of a probe that hangs: the kernel stops running its programs, nothing is freed under its thread."""
        if self._bpf is not None:
            self._bpf.sever()

    @final
    def detach(self) -> None:
        """Close everything this probe opened, last first. Idempotent; safe after half a start."""
        self._bpf = None
        self._open.close()

    def _tune(self) -> None:
        if self._bpf is not None:
            for name, value in self.settings.live(self._level).items():
                self._bpf.tune(name, value)
