"""Settings of the syscall probe: section `syscall`."""

from typing import Annotated

from pydantic import BeforeValidator, Field, field_validator

from obi_core import Constant, Entries, Live, OptIn, ProbeSettings, Seconds, Switch


def _words(value: object) -> object:
    if isinstance(value, str):
        return tuple(word for word in (part.strip() for part in value.split(",")) if word)
    return value


class SyscallSettings(ProbeSettings):
    """What the syscall probe looks at, and what it may use."""

    calls: Annotated[tuple[str, ...], BeforeValidator(_words)] = Field(
        ("file", "network", "process", "memory"),
        description="System calls that are counted by name, as names or groups (file, network, process, memory); all others"
        " count as _OTHER, without latency.",
    )
    latency: Annotated[bool, Switch("syscall_enter_btf"), Switch("syscall_enter_tp"), Switch("syscall_end_tp")] = Field(
        True, description="Whether latencies are taken; without them the entry of calls is not hooked."
    )
    errors: Annotated[bool, Constant("syscall_with_errors")] = Field(
        True, description="Whether calls that fail are counted by errno."
    )
    exits: Annotated[bool, Constant("syscall_with_exits"), Switch("syscall_end_btf"), Switch("syscall_enter_tp")] = Field(
        True, description="Whether exit and exit_group are counted, which never return: the end of threads is hooked for them."
    )
    blocking: Annotated[bool, OptIn()] = Field(
        False, description="Whether calls that wait for somebody else (poll, futex, nanosleep, accept, …) have latencies too."
    )
    own_calls: bool = Field(False, description="Whether the agent's own calls are counted.")

    latency_every: Annotated[int, Live("syscall_every", shed=True), Field(ge=1, le=1_000_000)] = Field(
        1, description="One latency in so many is taken, with that weight; 1: all. Counts of calls and errors stay exact."
    )
    slow_s: Annotated[Seconds, Live("syscall_slow_ns", scale=1_000_000_000)] = Field(
        1.0, description="A call with latency that takes longer gives a span and an event."
    )
    events_per_s: Annotated[int, Live("syscall_event_rate"), Field(ge=0, le=100_000)] = Field(
        10, description="Slow calls that may leave the kernel in a second; those beyond are counted as lost. 0: none."
    )

    max_owners: Annotated[
        int, Entries("syscall_owners"), Entries("syscall_free"), Entries("syscall_calls"), Field(ge=16, le=65_536)
    ] = Field(1_024, description="Process names by cgroup that are told apart, 2 KiB of kernel memory each.")
    max_errors: Annotated[int, Entries("syscall_errors"), Field(ge=16, le=1_048_576)] = Field(
        8_192, description="Combinations of owner, call and errno."
    )
    max_histograms: Annotated[int, Entries("syscall_duration"), Field(ge=16, le=65_536)] = Field(
        4_096, description="Combinations of owner, call and errno with a latency, about 900 bytes of kernel memory each."
    )
    max_inflight: Annotated[int, Entries("syscall_inflight"), Field(ge=64, le=1_048_576)] = Field(
        10_240, description="Calls under way at once, in the mode tracepoint."
    )
    event_bytes: Annotated[int, Entries("syscall_events"), Field(ge=4_096, le=16_777_216)] = Field(
        131_072, description="Size of the ring buffer for slow calls, a power of two; each takes 88 bytes."
    )

    @field_validator("event_bytes")
    @classmethod
    def _power_of_two(cls, value: int) -> int:
        if value & (value - 1):
            raise ValueError("must be a power of two")
        return value
