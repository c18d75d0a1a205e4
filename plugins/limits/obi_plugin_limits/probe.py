"""The limits probe: what ran into a limit, and what is about to."""

import logging
import os
import time
from collections.abc import Iterable
from typing import ClassVar, Final, cast

from obi_core import AttachError, Instrument, Loader, Mode, Probe, Program, View, Yielded, accounts
from obi_plugin_limits import readers, records
from obi_plugin_limits.calls import (
    CALL_PROGRAM,
    FORK_PROGRAM,
    OWN_CALLS,
    WATCH_PROGRAM,
    may_be_missing,
    program_of,
    tracepoint_of,
)
from obi_plugin_limits.catalogue import (
    EXHAUSTION,
    LIMIT,
    LIMITS_VIEW,
    MEMORY_EVENTS,
    OOM_KILLS,
    PERIODS,
    PRESSURE,
    REFUSED_FORKS,
    SIGNALS,
    THROTTLED,
    THROTTLED_PERIODS,
    USAGE,
)
from obi_plugin_limits.files.reading import Files
from obi_plugin_limits.kernel_text import KernelText
from obi_plugin_limits.settings import LimitsSettings

_log = logging.getLogger(__name__)

_EXITS: Final = (
    Program(CALL_PROGRAM, loses=("obi.limits.exhaustion of all calls but fork and its like",)),
    Program(FORK_PROGRAM, loses=("obi.limits.exhaustion of fork and its like",)),
    Program(WATCH_PROGRAM, loses=("obi.limits.exhaustion of watches",)),
)


class LimitsProbe(Probe):
    """Counts what failed for want of something, and reads how much of it there is."""

    name: ClassVar[str] = "limits"
    settings_type = LimitsSettings
    instruments: ClassVar[tuple[Instrument, ...]] = (
        OOM_KILLS,
        EXHAUSTION,
        SIGNALS,
        THROTTLED,
        THROTTLED_PERIODS,
        PERIODS,
        MEMORY_EVENTS,
        REFUSED_FORKS,
        PRESSURE,
        USAGE,
        LIMIT,
    )
    views: ClassVar[tuple[View, ...]] = (LIMITS_VIEW,)
    modes: ClassVar[tuple[Mode, ...]] = (
        Mode(
            "tp_btf",
            (Program("limits_signal_btf"), Program("limits_oom_btf"), *_EXITS),
            ("cap:bpf", "cap:perfmon", "btf"),
        ),
        Mode(
            "tracepoint",
            (Program("limits_signal_raw"), Program("limits_oom_tp"), *_EXITS),
            ("cap:bpf", "cap:perfmon", "types", "tracefs"),
        ),
        Mode(
            "bcc",
            (
                Program("limits_oom_tp"),
                Program("limits_victim_tp", loses=("obi.limits.oom_kills", "event obi.limits.oom_kill")),
                *_EXITS,
            ),
            ("cap:bpf", "cap:perfmon", "bcc", "tracefs"),
            loses=(
                "obi.limits.signals",
                "event obi.limits.signal",
                "obi.limits.oom_kills: the cgroup of the victim",
                "event obi.limits.oom_kill: memory of the victim, the cgroup that was full and its limit",
                "the cgroup where the memory controller is a v1 one; the start of a process",
            ),
        ),
        Mode(
            "procfs",
            loses=(
                "obi.limits.exhaustion",
                "obi.limits.signals",
                "obi.limits.oom_kills: the name of the victim; the subject of those in cgroups that end before they are read",
                "events obi.limits.oom_kill and obi.limits.signal",
            ),
        ),
    )

    def __init__(self, settings: LimitsSettings) -> None:
        super().__init__(settings)
        self._files: Files | None = None
        self._kernel_text = KernelText()

    @property
    def _own(self) -> LimitsSettings:
        return cast("LimitsSettings", self.settings)

    def load(self, loader: Loader, mode: Mode) -> None:
        """Load those of the mode's programs that the settings want, and take a first look at the node's files."""
        super().load(loader, mode)
        self._files = self._open.enter_context(Files(self._own, count_kills=not mode.programs))
        self._open.callback(setattr, self, "_files", None)

    def attach(self, mode: Mode) -> None:
        """Attach the programs that the settings want; those that look at system calls at each of these."""
        for program in self.chosen(mode).programs:
            if program.name in OWN_CALLS:
                self._attach_calls(program.name)
            else:
                self.bpf.attach(program.name)

    def collect(self) -> Iterable[Yielded]:
        """Read every map once, then the files."""
        if self._bpf is not None:
            yield from readers.kills(self.rows("limits_oom_kills"))
            yield from readers.failures(self.rows("limits_exhaustion"))
            yield from readers.signals(self.rows("limits_signals"))
            yield from readers.losses(self.bpf.rows("limits_lost"))
            yield from accounts(self.bpf.rows("limits_account"))
        if self._files is not None:
            yield from self._files.collect(show=self.wants(LIMITS_VIEW))

    def drain(self) -> Iterable[Yielded]:
        """OOM kills and signals that kill."""
        if self._bpf is None or self._files is None:
            return
        realtime_ns = time.time_ns() - time.monotonic_ns()
        node = records.Node(
            page_bytes=os.sysconf("SC_PAGE_SIZE"),
            memory_bytes=self._files.memory_bytes(),
            realtime_ns=realtime_ns,
            path_of=self._files.path_of,
            scope_of=self._kernel_text.oom_scope,
        )
        yield from records.kills(self.bpf.drain("limits_oom_events"), node)
        yield from records.signals(self.bpf.drain("limits_signal_events"), realtime_ns)

    def _attach_calls(self, program: str) -> None:
        calls = [call for call in self._own.exhaustion_calls if program_of(call) == program]
        if OWN_CALLS[program] in calls:
            self.bpf.attach(program)
        for call in calls:
            if program in self.bpf.refused:
                return
            if call != OWN_CALLS[program]:
                try:
                    self.bpf.attach(program, tracepoint_of(call))
                except AttachError as error:
                    if error.need == "tracefs":
                        self.bpf.attach(program)  # refused likewise, which says what is lost
                        return
                    _log.log(
                        logging.DEBUG if may_be_missing(call) else logging.WARNING,
                        "limits.exhaustion_calls: %s is not watched: %s",
                        call,
                        error,
                    )
