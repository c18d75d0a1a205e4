"""Settings of the network probe: section `network`."""

from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field

from obi_core import Constant, Entries, Live, LoadPlan, OptIn, ProbeSettings, Seconds, Switch

_PORTS: Final = ("none", "server", "all")
"""`enum network_ports_kept` in network_maps.h."""


def _off(value: object) -> object:
    # YAML reads a bare `off` as false.
    return "off" if value is False else value


def _listed(value: object) -> object:
    # On the command line and in a variable: separated by commas.
    return [name.strip() for name in value.split(",") if name.strip()] if isinstance(value, str) else value


class NetworkSettings(ProbeSettings):
    """What the network probe looks at, and what it may use."""

    drops: Annotated[bool, Switch("network_drop_btf"), Switch("network_drop_tp")] = Field(
        True, description="Whether packets that the kernel throws away are counted, by its reason: skb:kfree_skb."
    )
    accepts: Annotated[bool, Switch("network_accept"), Switch("network_accept4")] = Field(
        True,
        description="Whether who accepts a connection owns its packets, not who listens: two system call exits, which cost"
        " every call of the machine a few ns.",
    )
    existing: Annotated[bool, Switch("network_seed")] = Field(
        True, description="Whether sockets that are older than the agent are given their owner."
    )

    sample_every: Annotated[int, Live("network_sample_every", shed=True), Field(ge=1, le=1_000_000)] = Field(
        1, description="One packet in so many is counted, with that weight; 1: all."
    )
    interfaces: Annotated[tuple[str, ...], BeforeValidator(_listed)] = Field(
        (),
        description="Interfaces of the agent's network namespace to count at (mode `tc`); none: at sockets, which is better.",
    )
    loopback: Annotated[bool, Constant("network_loopback")] = Field(
        True, description="Whether packets over the loopback interface count."
    )
    interface_name: Annotated[bool, Constant("network_by_interface"), OptIn()] = Field(
        False, description="Whether obi.network.packets and obi.network.io carry network.interface.name."
    )
    conversation_addresses: Annotated[bool, Constant("network_by_address"), OptIn()] = Field(
        False, description="Whether conversations carry source.address and destination.address."
    )
    conversation_ports: Annotated[Literal["none", "server", "all"], OptIn("none")] = Field(
        "none", description="Ports that conversations carry: none, the server's (the client's is folded), or all."
    )
    trace: Annotated[Literal["off", "sampled"], BeforeValidator(_off)] = Field(
        "off",
        description="Whether a sample of packets is printed to the kernel's trace pipe, a line each; `obi trace` shows it.",
    )
    trace_every: Annotated[int, Live("network_trace_every"), Field(ge=1, le=1_000_000)] = Field(
        1, description="One packet in so many is printed while `trace` is `sampled`."
    )
    trace_per_s: Annotated[int, Live("network_trace_rate"), Field(ge=1, le=100_000)] = Field(
        20, description="Lines that may be printed in a second; those beyond are counted as lost."
    )

    connections: Annotated[bool, Constant("network_tracking")] = Field(
        True, description="Whether TCP and UDP connections are tracked."
    )
    udp_new_s: Annotated[Seconds, Live("network_udp_new_ns", scale=1_000_000_000)] = Field(
        30, description="A UDP connection without a reply is over after so long without a packet."
    )
    udp_replied_s: Annotated[Seconds, Live("network_udp_replied_ns", scale=1_000_000_000)] = Field(
        120, description="A UDP connection with a reply is over after so long without a packet."
    )
    tcp_opening_s: Annotated[Seconds, Live("network_tcp_opening_ns", scale=1_000_000_000)] = Field(
        60, description="A TCP connection that is not yet established is over after so long without a packet."
    )
    tcp_gone_s: Annotated[Seconds, Live("network_tcp_gone_ns", scale=1_000_000_000)] = Field(
        120, description="An established TCP connection is over after so long without a socket (at an interface: a packet)."
    )
    dns: Annotated[bool, Constant("network_dns")] = Field(
        True, description="Whether DNS over UDP port 53 is measured, at the client."
    )
    dns_timeout_s: Annotated[Seconds, Live("network_dns_timeout_ns", scale=1_000_000_000)] = Field(
        5, description="A DNS question without an answer in so long is a timeout; an answer that comes later does not count."
    )
    dns_names: Annotated[bool, Constant("network_dns_names"), OptIn()] = Field(
        False, description="Whether obi.network.dns.duration carries dns.question.name: the last 64 bytes, by whole labels."
    )

    max_rows: Annotated[int, Entries("network_packets"), Field(ge=64, le=262_144)] = Field(
        4_096, description="Rows of packets: one per process name, cgroup and combination of attributes."
    )
    max_conversations: Annotated[int, Entries("network_conversation"), Field(ge=64, le=262_144)] = Field(
        4_096, description="Rows of conversations; packets of those beyond count for their owner alone."
    )
    max_connections: Annotated[int, Entries("network_tracked"), Field(ge=64, le=1_048_576)] = Field(
        16_384, description="Connections tracked at once; a new one beyond drives out another, which is counted as lost."
    )
    max_processes: Annotated[int, Entries("network_processes"), Field(ge=64, le=65_536)] = Field(
        1_024, description="Processes that the view `processes` shows."
    )
    max_listeners: Annotated[int, Entries("network_listeners"), Field(ge=64, le=65_536)] = Field(
        4_096, description="Listening ports remembered, to know which end of a conversation is the server."
    )
    max_owners: Annotated[int, Entries("network_owners"), Field(ge=64, le=1_048_576)] = Field(
        16_384, description="Sockets whose owner is remembered where they cannot keep it themselves: in mode `bcc` alone."
    )
    max_accepted: Annotated[int, Entries("network_accepted"), Entries("network_opening"), Field(ge=64, le=262_144)] = Field(
        4_096, description="Accepted connections whose owner is remembered until their next packet."
    )
    max_drops: Annotated[int, Entries("network_drops"), Field(ge=16, le=65_536)] = Field(
        1_024, description="Rows of dropped packets: one per process name, cgroup, transport and reason."
    )
    max_dns_questions: Annotated[int, Entries("network_dns_inflight"), Field(ge=16, le=262_144)] = Field(
        4_096,
        description="DNS questions that wait at once, 150 bytes of kernel memory each; those beyond are counted as lost.",
    )
    max_dns_rows: Annotated[int, Entries("network_dns_duration"), Field(ge=16, le=65_536)] = Field(
        1_024, description="Rows of DNS latency, 1 KB each: one per process name, cgroup, type, outcome and, if kept, name."
    )
    max_dns_anomalies: Annotated[int, Entries("network_dns_anomalies"), Field(ge=16, le=65_536)] = Field(
        512, description="Rows of DNS messages without a duration: one per process name, cgroup and kind."
    )

    def plan(self) -> LoadPlan:
        """The fields that C knows by number."""
        plan = super().plan()
        constants = {
            **plan.constants,
            "network_by_port": _PORTS.index(self.conversation_ports),
            "network_trace_on": int(self.trace == "sampled"),
        }
        return LoadPlan(constants, plan.live, plan.entries)
