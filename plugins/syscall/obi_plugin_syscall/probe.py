"""The syscall probe: system calls by who made them, how they failed, how long they took."""

import logging
import os
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar, cast

from obi_core import Instrument, Loader, Mode, Observation, Probe, Program, View, Yielded, accounts
from obi_plugin_syscall import readers, records
from obi_plugin_syscall.catalogue import CALLS, CALLS_VIEW, DURATION, ERRORS
from obi_plugin_syscall.settings import SyscallSettings
from obi_plugin_syscall.slots import Slots
from obi_plugin_syscall.table import Table

if TYPE_CHECKING:
    from obi_core import BpfObject

_log = logging.getLogger(__name__)

_SIZED_BY_OWNERS = ("syscall_owners", "syscall_free", "syscall_calls")
_NO_LATENCY = ("obi.syscall.duration", "slow calls")
_NO_EXITS = ("obi.syscall.calls of exit and exit_group",)
_NO_ROOM = ("obi.syscall.duration of calls beyond max_inflight at once",)
_AT_TRACEPOINTS = (
    Program("syscall_exit_tp"),
    Program("syscall_enter_tp", loses=(*_NO_LATENCY, *_NO_EXITS)),
    Program("syscall_end_tp", loses=("obi.syscall.duration of calls that found no room among the dead",)),
    Program("syscall_self", loses=("the exclusion of the agent's own calls in a pid namespace",)),
)


class SyscallProbe(Probe):
    """Counts every system call of the node when it returns."""

    name: ClassVar[str] = "syscall"
    settings_type = SyscallSettings
    instruments: ClassVar[tuple[Instrument, ...]] = (CALLS, ERRORS, DURATION)
    views: ClassVar[tuple[View, ...]] = (CALLS_VIEW,)
    modes: ClassVar[tuple[Mode, ...]] = (
        Mode(
            "tp_btf",
            (
                Program("syscall_exit_btf"),
                Program("syscall_enter_btf", loses=_NO_LATENCY),
                Program("syscall_end_btf", loses=_NO_EXITS),
                Program("syscall_self", loses=("the exclusion of the agent's own calls in a pid namespace",)),
            ),
            ("cap:bpf", "cap:perfmon", "btf"),
        ),
        Mode(
            "tracepoint",
            _AT_TRACEPOINTS,
            ("cap:bpf", "cap:perfmon", "types", "tracefs"),
            loses=_NO_ROOM,
        ),
        Mode(
            "bcc",
            _AT_TRACEPOINTS,
            ("cap:bpf", "cap:perfmon", "bcc", "tracefs"),
            loses=(
                *_NO_ROOM,
                "obi.syscall.calls: the names of calls of 32-bit programs (they count under the 64-bit call of that number)",
                "the cgroup where the memory controller is a v1 one; the start of a process",
            ),
        ),
    )

    def __init__(self, settings: SyscallSettings) -> None:
        super().__init__(settings)
        self._table = Table.of(settings.calls, timed=settings.latency, blocking=settings.blocking)
        self._slots: Slots | None = None

    def load(self, loader: Loader, mode: Mode) -> None:
        """Load what the settings ask for of the mode's programs, and tell them about the system calls."""
        for remark in self._table.remarks:
            _log.warning("syscall.calls: %s", remark)
        super().load(loader, mode)
        for place, entry in self._table.entries.items():
            self.bpf.put("syscall_table", place, entry)
        sizes = {each.name: each.max_entries for each in self.bpf.maps()}
        own = cast("SyscallSettings", self.settings)
        # A budget may have made one of them smaller than was asked for.
        entries = min(sizes.get(name, own.max_owners) for name in _SIZED_BY_OWNERS)
        self._slots = Slots(self.bpf, entries)

    def attach(self, mode: Mode) -> None:
        """Learn who the agent is to the kernel, then attach."""
        own = cast("SyscallSettings", self.settings)
        self.bpf.tune("syscall_agent", 0 if own.own_calls else self._agent())
        super().attach(mode)

    def collect(self) -> Iterable[Yielded]:
        """Read every map once; owners that are over give their slots back."""
        rows, owned = self.bpf.rows, cast("Slots", self._slots)
        slots = {slot.number: slot for slot in owned.read()}
        if self.ages is not None:
            for _ in self.ages.rows(cast("BpfObject", owned), "syscall_owners"):
                pass
        classes = self._table.classes
        errors, durations = list(rows("syscall_errors")), list(rows("syscall_duration"))
        seen: list[Observation] = [
            *readers.calls(slots.values(), classes),
            *readers.errors(errors, slots, classes),
            *readers.durations(durations, slots, classes),
        ]
        yield from seen
        yield from readers.over((each.key for each in seen), owned.release(), slots)
        if self.wants(CALLS_VIEW):
            yield from records.call_rows(slots, errors, durations, classes)
        yield from readers.losses(rows("syscall_lost"))
        yield from accounts(rows("syscall_account"))

    def drain(self) -> Iterable[Yielded]:
        """Slow calls."""
        return records.events(self.bpf.drain("syscall_events"), self._table, time.time_ns() - time.monotonic_ns())

    def _agent(self) -> int:
        if not self.runs("syscall_self"):
            return os.getpid()
        return int(next(iter(self.bpf.iterate("syscall_self", walk="syscall_agent")), os.getpid()))
