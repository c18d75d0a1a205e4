"""What the tcp probe can say: its instruments and its view, in the telemetry catalogue's words."""

from typing import Final

from obi_core import Buckets, Column, Instrument, Kind, View

ROLE: Final = "network.tcp.handshake.role"
STATE: Final = "network.connection.state"
DIRECTION: Final = "network.io.direction"
ERROR: Final = "error.type"
TYPE: Final = "network.type"
RETRANSMIT: Final = "network.tcp.retransmit.type"
CAUSE: Final = "network.tcp.reset.cause"
PORT: Final = "server.port"

OTHER: Final = "_OTHER"

ROLES: Final = ("listener", "client", "server")
"""`enum tcp_role` in tcp_maps.h."""
OUTCOMES: Final = ("", "refused", "reset", "timed_out", "canceled", "host_unreachable", "net_unreachable", "_OTHER")
"""`enum tcp_outcome` in tcp_maps.h, as `error.type`; empty: success."""
DIRECTIONS: Final = ("receive", "transmit")
"""`enum tcp_direction` in tcp_maps.h."""
RETRANSMIT_TYPES: Final = ("fast", "timeout", "tail_loss_probe", "syn", "syn_ack")
"""`enum tcp_retransmit` in tcp_maps.h."""
RESET_CAUSES: Final = (
    "_OTHER",
    "no_socket",
    "abort_on_close",
    "abort_on_linger",
    "abort_on_data",
    "abort_on_memory",
    "disconnect_with_data",
    "keepalive_timeout",
    "invalid_segment",
    "connect_refused",
    "by_peer",
)
"""`enum tcp_reset_cause` in tcp_maps.h. The last two say what a received reset did, the others why one was sent."""
LOSSES: Final = ("sockets_full", "listeners_full", "rows_full", "events_full", "events_limited")
"""`enum tcp_loss` in tcp_maps.h."""
FAMILIES: Final = {2: "ipv4", 10: "ipv6"}
"""AF_INET, AF_INET6, as `network.type`; IPv4 through an IPv6 socket is `ipv4`."""

CONNECTS: Final = Instrument(
    "obi.tcp.connects",
    Kind.COUNTER,
    "{connection}",
    "Connects by outcome, at the process that called connect or accept.",
    (ROLE, ERROR),
    headline=({ROLE: "client"}, {ROLE: "server"}),
)
HANDSHAKE_DURATION: Final = Instrument(
    "obi.tcp.handshake.duration",
    Kind.HISTOGRAM,
    "s",
    "Time from SYN to the outcome (client), from SYN-ACK to ACK (server).",
    (ROLE, ERROR),
    buckets=Buckets(first=-68, count=96, sum_unit=1e-9),
)
CONNECTION_DURATION: Final = Instrument(
    "obi.tcp.connection.duration",
    Kind.HISTOGRAM,
    "s",
    "Time from established to closed.",
    (ROLE,),
    buckets=Buckets(first=-40, count=96, sum_unit=1e-9),
)
RTT: Final = Instrument(
    "obi.tcp.rtt",
    Kind.HISTOGRAM,
    "s",
    "Smoothed round-trip time at each measurement, while the connection lives; a sample, weighted to stand for all.",
    (TYPE, ROLE),
    buckets=Buckets(first=-80, count=96, sum_unit=1e-9),
)
RETRANSMITS: Final = Instrument(
    "obi.tcp.retransmits",
    Kind.COUNTER,
    "{segment}",
    "Segments sent again, by what made the kernel do so.",
    (RETRANSMIT,),
    headline=({},),
)
RESETS: Final = Instrument(
    "obi.tcp.resets",
    Kind.COUNTER,
    "{reset}",
    "Resets sent, by the kernel's reason, and received.",
    (DIRECTION, CAUSE),
    headline=({DIRECTION: "receive"}, {DIRECTION: "transmit"}),
)
LISTEN_DROPS: Final = Instrument(
    "obi.tcp.listen.drops",
    Kind.COUNTER,
    "{connection}",
    "Connection requests that a listener dropped, for want of room in its queues above all.",
    (PORT,),
    headline=({},),
)
IO: Final = Instrument(
    "obi.tcp.io",
    Kind.COUNTER,
    "By",
    "Payload bytes received and sent, retransmissions not counted.",
    (DIRECTION,),
    headline=({DIRECTION: "receive"}, {DIRECTION: "transmit"}),
)
CONNECTIONS: Final = Instrument(
    "obi.tcp.connections",
    Kind.UPDOWNCOUNTER,
    "{connection}",
    "Sockets now in each state; TIME_WAIT is not counted.",
    (STATE,),
    subject=False,
    headline=tuple(
        {STATE: state}
        for state in (
            "established",
            "syn_sent",
            "syn_received",
            "fin_wait_1",
            "fin_wait_2",
            "close_wait",
            "last_ack",
            "listen",
            "closing",
        )
    ),
)

CONNECTIONS_VIEW: Final = View(
    "connections",
    "TCP connections that are open or being opened",
    (
        Column("peer", width=28),
        Column("role", width=6),
        Column("state", width=12),
        Column("rtt", "s", width=9),
        Column("received", "By", width=10),
        Column("sent", "By", width=10),
        Column("retransmits", "{segment}", width=11),
        Column("age", "s", width=10),
    ),
    order="received",
)


def name_of(names: tuple[str, ...], number: int) -> str:
    """Name an enum of the kernel side; a number that this release does not know is `_OTHER`."""
    return names[number] if 0 <= number < len(names) else OTHER
