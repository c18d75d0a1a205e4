"""Settings of the tcp probe: section `tcp`."""

from typing import Annotated

from pydantic import Field, field_validator

from obi_core import Constant, Entries, Live, OptIn, ProbeSettings, Seconds, Switch


class TcpSettings(ProbeSettings):
    """What the tcp probe looks at, and what it may use."""

    rtt: Annotated[bool, Switch("tcp_rtt_ops")] = Field(
        True,
        description="Whether round-trip times are counted (a sockops program at every segment that measures one).",
    )
    retransmits: Annotated[
        bool,
        Switch("tcp_retransmit_btf"),
        Switch("tcp_retransmit_tp"),
        Switch("tcp_synack_btf"),
        Switch("tcp_synack_tp"),
    ] = Field(True, description="Whether segments sent again are counted.")
    resets: Annotated[
        bool,
        Switch("tcp_reset_out_btf"),
        Switch("tcp_reset_out_tp"),
        Switch("tcp_reset_in_btf"),
        Switch("tcp_reset_in_tp"),
    ] = Field(True, description="Whether resets are counted and told.")
    accepts: Annotated[bool, Switch("tcp_accept"), Switch("tcp_accept4")] = Field(
        True,
        description="Whether who accepts a connection owns it, not who listens: two system call exits, which cost every call"
        " of the machine a few ns.",
    )
    open_connections: Annotated[bool, Switch("tcp_refresh")] = Field(
        True, description="Whether bytes of open connections, listen drops and the view are kept up while they are open."
    )
    existing: Annotated[bool, Switch("tcp_seed")] = Field(
        True, description="Whether connections that are older than the agent are taken in."
    )

    rtt_every: Annotated[int, Live("tcp_rtt_every", shed=True), Field(ge=1, le=1_000_000)] = Field(
        8, description="One round-trip time in so many is counted, with that weight; 1: all."
    )
    slow_connect_s: Annotated[Seconds, Live("tcp_slow_ns", scale=1_000_000_000)] = Field(
        0.5, description="A connect that takes longer gives a span, as one that fails does."
    )
    span_every: Annotated[int, Live("tcp_span_every", shed=True), Field(ge=0, le=1_000_000)] = Field(
        100, description="One ended connection in so many gives a span; 0: none."
    )
    events_per_s: Annotated[int, Live("tcp_event_rate"), Field(ge=0, le=100_000)] = Field(
        50, description="Spans and events that may leave the kernel in a second; those beyond are counted as lost."
    )
    listen_port: Annotated[bool, Constant("tcp_by_port"), OptIn()] = Field(
        False, description="Whether obi.tcp.listen.drops carries server.port."
    )

    max_sockets: Annotated[int, Entries("tcp_sockets"), Field(ge=64, le=1_048_576)] = Field(
        16_384, description="TCP sockets followed at once, 200 bytes of kernel memory each; those beyond are counted as lost."
    )
    max_listeners: Annotated[int, Entries("tcp_listeners"), Field(ge=16, le=65_536)] = Field(
        4_096, description="Listening addresses remembered, to know whose an unaccepted connection is."
    )
    max_rows: Annotated[
        int,
        Entries("tcp_connects"),
        Entries("tcp_io"),
        Entries("tcp_retransmits"),
        Entries("tcp_resets"),
        Entries("tcp_listen_drops"),
        Field(ge=64, le=65_536),
    ] = Field(4_096, description="Rows of each counter: one per process name, cgroup and combination of attributes.")
    max_histograms: Annotated[
        int,
        Entries("tcp_handshake_duration"),
        Entries("tcp_connection_duration"),
        Entries("tcp_rtt"),
        Field(ge=16, le=16_384),
    ] = Field(1_024, description="Rows of each histogram, about 900 bytes of kernel memory each.")
    event_bytes: Annotated[int, Entries("tcp_events"), Field(ge=4_096, le=16_777_216)] = Field(
        262_144, description="Size of the ring buffer for spans and events, a power of two; each takes 160 bytes."
    )

    @field_validator("event_bytes")
    @classmethod
    def _power_of_two(cls, value: int) -> int:
        if value & (value - 1):
            raise ValueError("must be a power of two")
        return value
