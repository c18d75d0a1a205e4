"""What the network probe can say: its instruments and its views, in the telemetry catalogue's words."""

from typing import Final

from obi_core import Buckets, Column, Instrument, Kind, View

DIRECTION: Final = "network.io.direction"
TRANSPORT: Final = "network.transport"
TYPE: Final = "network.type"
INTERFACE: Final = "network.interface.name"
ERROR: Final = "error.type"
SOURCE_ADDRESS: Final = "source.address"
SOURCE_PORT: Final = "source.port"
DESTINATION_ADDRESS: Final = "destination.address"
DESTINATION_PORT: Final = "destination.port"
STATE: Final = "network.connection.state"
DROP_REASON: Final = "network.packet.drop.reason"
QUESTION_TYPE: Final = "dns.question.type"
QUESTION_NAME: Final = "dns.question.name"

OTHER: Final = "_OTHER"
MALFORMED: Final = "malformed"

DIRECTIONS: Final = ("receive", "transmit")
"""`enum network_direction` in network_packet.h."""
TRANSPORTS: Final = (OTHER, "tcp", "udp", "icmp", "icmp6", "sctp", "igmp", "gre", "esp")
"""`enum network_transport` in network_packet.h."""
STATES: Final = (
    ("", ""),
    ("tcp", "syn_sent"),
    ("tcp", "syn_received"),
    ("tcp", "established"),
    ("tcp", "fin_wait_1"),
    ("tcp", "close_wait"),
    ("tcp", "time_wait"),
    ("udp", "new"),
    ("udp", "replied"),
)
"""`enum network_state` in network_track.h, as transport and state."""
FAMILIES: Final = {2: "ipv4", 10: "ipv6"}
"""AF_INET, AF_INET6, as `network.type`."""
LOSSES: Final = (
    "rows_full",
    "conversations_full",
    "sockets_full",
    "trace_limited",
    "drops_full",
    "dns_questions_full",
    "dns_answers_full",
    "dns_names_full",
    "dns_anomalies_full",
)
"""`enum network_loss` in network_maps.h."""

_BOTH_WAYS: Final = ({DIRECTION: "receive"}, {DIRECTION: "transmit"})

PACKETS: Final = Instrument(
    "obi.network.packets",
    Kind.COUNTER,
    "{packet}",
    "Packets sent and received, each segment of an offloaded one; error.type: malformed where headers contradict themselves.",
    (DIRECTION, TRANSPORT, TYPE, INTERFACE, ERROR),
    headline=_BOTH_WAYS,
)
IO: Final = Instrument(
    "obi.network.io",
    Kind.COUNTER,
    "By",
    "Bytes of those packets from the network header on, as on the wire: with the headers that segmentation repeats.",
    (DIRECTION, TRANSPORT, TYPE, INTERFACE, ERROR),
    headline=_BOTH_WAYS,
)
_CONVERSATION: Final = (TRANSPORT, DIRECTION, SOURCE_ADDRESS, SOURCE_PORT, DESTINATION_ADDRESS, DESTINATION_PORT)
CONVERSATION_PACKETS: Final = Instrument(
    "obi.network.conversation.packets",
    Kind.COUNTER,
    "{packet}",
    "Packets by conversation: the five-tuple, folded as the settings say; the ephemeral port of a client is left out.",
    _CONVERSATION,
)
CONVERSATION_IO: Final = Instrument(
    "obi.network.conversation.io",
    Kind.COUNTER,
    "By",
    "Bytes of those packets, as obi.network.io counts them.",
    _CONVERSATION,
)
DROPS: Final = Instrument(
    "obi.network.drops",
    Kind.COUNTER,
    "{packet}",
    "Packets that the kernel threw away, each segment of an offloaded one, by its own reason.",
    (TRANSPORT, DROP_REASON),
    headline=({},),
)
DNS_DURATION: Final = Instrument(
    "obi.network.dns.duration",
    Kind.HISTOGRAM,
    "s",
    "Time from a DNS question to its answer, at the client; one without an answer counts as a timeout, with the time waited.",
    (QUESTION_TYPE, ERROR, QUESTION_NAME),
    buckets=Buckets(first=-68, count=96, sum_unit=1e-9),
)
DNS_ANOMALIES: Final = Instrument(
    "obi.network.dns.anomalies",
    Kind.COUNTER,
    "{message}",
    "DNS messages of clients that are malformed, asked again while the question waits, or answer nothing that waits.",
    (ERROR,),
)

CONNECTIONS: Final = Instrument(
    "obi.network.connections",
    Kind.UPDOWNCOUNTER,
    "{connection}",
    "Connections now, each end that is on this node, by state as their packets tell it.",
    (TRANSPORT, STATE),
    subject=False,
    headline=tuple({TRANSPORT: transport, STATE: state} for transport, state in STATES if state),
)

PROCESSES_VIEW: Final = View(
    "processes",
    "Packets and bytes by process",
    (
        Column("received", "By", width=10),
        Column("sent", "By", width=10),
        Column("packets in", "{packet}", width=10),
        Column("packets out", "{packet}", width=11),
    ),
    order="received",
)


def name_of(names: tuple[str, ...], number: int) -> str:
    """Name an enum of the kernel side; a number that this release does not know is `_OTHER`."""
    return names[number] if 0 <= number < len(names) else OTHER
