"""Settings of the limits probe: section `limits`."""

import re
import signal
from dataclasses import replace
from typing import Annotated, Final, Literal

from pydantic import Field, field_validator

from obi_core import Constant, Entries, Live, LoadPlan, OptIn, ProbeSettings, Switch
from obi_plugin_limits.calls import CALL_PROGRAM, DEFAULT_CALLS, FORK_PROGRAM, WATCH_PROGRAM, program_of

Resource = Literal["cpu", "memory", "processes", "pressure", "node"]
Signal = Literal[
    "SIGHUP", "SIGINT", "SIGQUIT", "SIGILL", "SIGTRAP", "SIGABRT", "SIGBUS", "SIGFPE", "SIGKILL", "SIGUSR1", "SIGSEGV",
    "SIGUSR2", "SIGPIPE", "SIGALRM", "SIGTERM", "SIGXCPU", "SIGXFSZ", "SIGVTALRM", "SIGPROF", "SIGPOLL", "SIGSYS",
]  # fmt: skip
"""Signals whose default is to end the process."""
_DEFAULT_SIGNALS: Final[tuple[Signal, ...]] = (
    "SIGHUP", "SIGINT", "SIGQUIT", "SIGILL", "SIGABRT", "SIGBUS", "SIGFPE", "SIGKILL", "SIGSEGV", "SIGTERM", "SIGXCPU",
    "SIGXFSZ", "SIGSYS",
)  # fmt: skip
_CALL: Final = re.compile(r"[a-z0-9_]{1,40}")
_MOST_CALLS: Final = 64


class LimitsSettings(ProbeSettings):
    """What the limits probe looks at, and what it may use."""

    oom: Annotated[
        bool,
        Switch("limits_oom_btf"),
        Switch("limits_oom_tp"),
        Switch("limits_signal_btf"),
        Switch("limits_signal_raw"),
        Switch("limits_victim_tp"),
    ] = Field(True, description="Whether OOM kills are counted and told.")
    victim_name: Annotated[bool, Constant("limits_victim_name"), OptIn()] = Field(
        False, description="Whether obi.limits.oom_kills carries process.executable.name."
    )
    oom_events_per_s: Annotated[int, Live("limits_oom_rate"), Field(ge=0, le=10_000)] = Field(
        10, description="OOM kills that may be told one by one in a second; all are counted."
    )
    exhaustion: Annotated[bool, Switch(CALL_PROGRAM), Switch(FORK_PROGRAM), Switch(WATCH_PROGRAM)] = Field(
        True, description="Whether system calls that fail for want of something are counted."
    )
    exhaustion_calls: tuple[str, ...] = Field(
        DEFAULT_CALLS,
        description="System calls whose failures are counted; each of these takes some 80 ns longer, others do not.",
    )
    signals: Annotated[bool, Switch("limits_signal_btf"), Switch("limits_signal_raw")] = Field(
        True, description="Whether signals that kill are counted and told."
    )
    signal_names: tuple[Signal, ...] = Field(_DEFAULT_SIGNALS, description="Which signals.")
    handled_signals: Annotated[bool, Constant("limits_handled")] = Field(
        False, description="Whether signals count that the process handles, ignores or blocks, too."
    )
    signal_events_per_s: Annotated[int, Live("limits_signal_rate"), Field(ge=0, le=10_000)] = Field(
        10, description="Signals that may be told one by one in a second; all are counted."
    )

    resources: tuple[Resource, ...] = Field(
        ("cpu", "memory", "processes", "pressure", "node"),
        description="What is read from the files of cgroups (cpu, memory, processes, pressure) and of the node.",
    )
    max_cgroups: Annotated[int, Field(ge=1, le=100_000)] = Field(
        1_000, description="Cgroups that are read, those nearest to the root first; those beyond are counted as lost."
    )
    open_files: Annotated[int, Field(ge=0, le=100_000)] = Field(
        1_024,
        description="Files kept open between collections, some 5 kB of kernel memory each, but never more than half of those"
        " that the agent may have open; reading any other takes nine times as long.",
    )
    processes: Annotated[int, Field(ge=0, le=1_000)] = Field(
        5, description="Programs closest to their limit of file descriptors that are told of; 0: none is looked for."
    )
    processes_per_collection: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        256, description="Processes whose descriptors are counted in one collection; the next one goes on from there."
    )
    listeners: Annotated[int, Field(ge=0, le=1_000)] = Field(
        10,
        description="Listening sockets with the fullest queues that are told of where listen_port is true; otherwise the"
        " fullest alone is; 0: none is looked for.",
    )
    listen_port: Annotated[bool, OptIn()] = Field(
        False, description="Whether the usage of listen queues carries server.port, one point for each that is not empty."
    )

    max_kills: Annotated[int, Entries("limits_oom_kills"), Field(ge=64, le=65_536)] = Field(
        1_024, description="Rows of obi.limits.oom_kills: one per cgroup, and per name where asked for."
    )
    max_rows: Annotated[int, Entries("limits_exhaustion"), Entries("limits_signals"), Field(ge=64, le=65_536)] = Field(
        4_096, description="Rows of each other counter: one per process name, cgroup and combination of attributes."
    )
    event_bytes: Annotated[
        int, Entries("limits_oom_events"), Entries("limits_signal_events"), Field(ge=4_096, le=16_777_216)
    ] = Field(65_536, description="Size of each of the two ring buffers for events, a power of two.")

    def plan(self) -> LoadPlan:
        """Give the marked fields, and the chosen signals as a mask."""
        plan = super().plan()
        mask = sum(1 << (signal.Signals[name] - 1) for name in set(self.signal_names)) if self.signals else 0
        return replace(plan, constants={**plan.constants, "limits_signal_mask": mask})

    def switched_off(self) -> frozenset[str]:
        """Add the programs that none of the chosen system calls is for."""
        wanted = {program_of(call) for call in self.exhaustion_calls}
        return super().switched_off() | ({CALL_PROGRAM, FORK_PROGRAM, WATCH_PROGRAM} - wanted)

    @field_validator("event_bytes")
    @classmethod
    def _power_of_two(cls, value: int) -> int:
        if value & (value - 1):
            raise ValueError("must be a power of two")
        return value

    @field_validator("exhaustion_calls")
    @classmethod
    def _names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if not _CALL.fullmatch(name):
                raise ValueError(f"{name!r} is not the name of a system call, such as openat")
        if len(value) > _MOST_CALLS:
            raise ValueError(f"at most {_MOST_CALLS} system calls")
        return tuple(dict.fromkeys(value))
