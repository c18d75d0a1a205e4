"""What the tcp probe can say: its instruments and its view, in the telemetry catalogue's words."""

from typing import Final

from obi_core import Buckets, Column, Instrument, Kind, View

ROLE: Final = "network.tcp.handshake.role"
STATE: Final = "network.connection.state"
DIRECTION: Final = "network.io.direction"
ERROR: Final = "error.type"

ROLES: Final = ("listener", "client", "server")
"""`enum tcp_role` in tcp_maps.h."""
OUTCOMES: Final = ("", "refused", "reset", "timed_out", "canceled", "host_unreachable", "net_unreachable", "_OTHER")
"""`enum tcp_outcome` in tcp_maps.h, as `error.type`; empty: success."""
DIRECTIONS: Final = ("receive", "transmit")
"""`enum tcp_direction` in tcp_maps.h."""
LOSSES: Final = ("sockets_full", "listeners_full", "rows_full")
"""`enum tcp_loss` in tcp_maps.h."""

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
    buckets=Buckets(first=-40, count=108, sum_unit=1e-9),
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
