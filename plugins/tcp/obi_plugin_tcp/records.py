"""Records of single connections → rows of the view, spans and log events. Pure."""

from collections.abc import Iterable, Iterator
from typing import Final, Protocol

from obi_core import LogEvent, OwnerRecord, Row, Span, address, owner, tcp_state
from obi_plugin_tcp.catalogue import (
    CAUSE,
    CONNECTION_DURATION,
    CONNECTIONS_VIEW,
    DIRECTION,
    DIRECTIONS,
    HANDSHAKE_DURATION,
    OUTCOMES,
    RESET_CAUSES,
    ROLE,
    ROLES,
    name_of,
)


class ConnectionRecord(Protocol):
    """`struct tcp_row`, 120 bytes, written by the iterator tcp_refresh."""

    owner: OwnerRecord
    peer_address: bytes
    id: int
    age_ns: int
    rx_bytes: int
    tx_bytes: int
    rtt_us: int
    retransmits: int
    peer_port: int
    state: int
    role: int


class EventRecord(Protocol):
    """`struct tcp_event`, 120 bytes, from ring buffer `tcp_events`; times are ns, monotonic clock."""

    owner: OwnerRecord
    local_address: bytes
    peer_address: bytes
    start_ns: int
    end_ns: int
    rx_bytes: int
    tx_bytes: int
    rtt_us: int
    retransmits: int
    local_port: int
    peer_port: int
    kind: int
    role: int
    outcome: int
    direction: int


_CONNECT: Final = 0
_RESET: Final = 2
"""`enum tcp_event_kind` in tcp_event.h; 1 is an ended connection."""


def connection_rows(records: Iterable[ConnectionRecord]) -> Iterator[Row]:
    """Make the view `connections`.

    Args:
        records: `struct tcp_row`, from the iterator `tcp_refresh`.
    """
    for record in records:
        yield Row(
            CONNECTIONS_VIEW,
            record.id,
            owner(record.owner),
            (
                _endpoint(record.peer_address, record.peer_port),
                name_of(ROLES, record.role),
                tcp_state(record.state),
                record.rtt_us / 1e6 if record.rtt_us else None,
                record.rx_bytes,
                record.tx_bytes,
                record.retransmits,
                record.age_ns / 1e9 if record.age_ns else None,
            ),
        )


def events(records: Iterable[EventRecord], realtime_ns: int) -> Iterator[Span | LogEvent]:
    """Make spans of slow and failed connects and of ended connections, log events of resets.

    Args:
        records: `struct tcp_event`, from ring buffer `tcp_events`.
        realtime_ns: What to add to the monotonic clock to get the realtime clock, ns.
    """
    for record in records:
        start_ns, end_ns = record.start_ns + realtime_ns, record.end_ns + realtime_ns
        who, attributes = owner(record.owner), _attributes(record)
        if record.kind == _RESET:
            direction, cause = name_of(DIRECTIONS, record.direction), name_of(RESET_CAUSES, record.outcome)
            peer = _endpoint(record.peer_address, record.peer_port)
            body = f"reset {'sent to' if direction == 'transmit' else 'received from'} {peer} ({cause})"
            attributes |= {DIRECTION: direction, CAUSE: cause}
            # the life that the reset ended, so that the log leads to it whether or not the connection is of the sample
            link = (peer, record.local_port, record.start_ns, record.end_ns)
            yield Span("tcp reset", start_ns, end_ns, who, attributes, cause, link)
            yield LogEvent("obi.tcp.reset", end_ns, body, who, attributes, link)
        elif record.kind == _CONNECT:
            outcome = name_of(OUTCOMES, record.outcome)
            yield Span("tcp connect", start_ns, end_ns, who, attributes, outcome, measured=HANDSHAKE_DURATION)
        else:
            yield Span("tcp connection", start_ns, end_ns, who, attributes, measured=CONNECTION_DURATION)


def _attributes(record: EventRecord) -> dict[str, str | int | float]:
    attributes: dict[str, str | int | float] = {
        "network.transport": "tcp",
        "network.peer.address": address(record.peer_address),
        "network.peer.port": record.peer_port,
        "network.local.address": address(record.local_address),
        "network.local.port": record.local_port,
        ROLE: name_of(ROLES, record.role),
        "obi.tcp.received": record.rx_bytes,
        "obi.tcp.sent": record.tx_bytes,
        "obi.tcp.retransmits": record.retransmits,
    }
    if record.rtt_us:
        attributes["obi.tcp.rtt"] = record.rtt_us / 1e6
    return attributes


def _endpoint(raw: bytes, port: int) -> str:
    host = address(raw)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
