"""Rows of the tcp maps → observations. Pure: no kernel, no clock, no state."""

from collections.abc import Iterable, Iterator
from typing import Protocol

from obi_core import Loss, Observation, OwnerRecord, Row, address, owner, tcp_state
from obi_plugin_tcp.catalogue import (
    CONNECTION_DURATION,
    CONNECTIONS,
    CONNECTIONS_VIEW,
    CONNECTS,
    DIRECTION,
    DIRECTIONS,
    ERROR,
    HANDSHAKE_DURATION,
    IO,
    LOSSES,
    OUTCOMES,
    ROLE,
    ROLES,
    STATE,
)


class ConnectKey(Protocol):
    """`struct tcp_connect_key`, 48 bytes."""

    owner: OwnerRecord
    role: int
    outcome: int

    def __bytes__(self) -> bytes: ...


class RoleKey(Protocol):
    """`struct tcp_role_key`, 48 bytes."""

    owner: OwnerRecord
    role: int

    def __bytes__(self) -> bytes: ...


class IoKey(Protocol):
    """`struct tcp_io_key`, 48 bytes."""

    owner: OwnerRecord
    direction: int

    def __bytes__(self) -> bytes: ...


class HistogramRow(Protocol):
    """`struct tcp_handshake` or `struct tcp_lifetime`: `u64 counts[]`, then `u64 sum_ns`."""

    counts: Iterable[int]
    sum_ns: int


class ConnectionRow(Protocol):
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


def connects(rows: Iterable[tuple[ConnectKey, int]]) -> Iterator[Observation]:
    """Count connects by owner, role and outcome.

    Args:
        rows: `(struct tcp_connect_key, u64)` from map `tcp_connects`.

    Yields:
        One observation per key. Unit: {connection}, cumulative for its row, monotonic.
    Source: sock:inet_sock_set_state (v4.16+), exits of accept and accept4.
    Gaps: Connects that fail before a SYN is sent never change state.
    """
    for key, count in rows:
        yield Observation(CONNECTS, ("connects", bytes(key)), count, owner(key.owner), _connect_attributes(key))


def handshakes(rows: Iterable[tuple[ConnectKey, HistogramRow]]) -> Iterator[Observation]:
    """Read how long handshakes took.

    Args:
        rows: `(struct tcp_connect_key, struct tcp_handshake)` from map `tcp_handshake_duration`; ns.

    Yields:
        One observation per key: 96 bucket counts, then the sum in ns.
    Source: connect to the change of state (client); the kernel's first round-trip time (server).
    Gaps: A server's handshake has no duration if its SYN-ACK was sent again or made from a cookie.
    """
    for key, row in rows:
        yield Observation(
            HANDSHAKE_DURATION, ("handshake", bytes(key)), _histogram(row), owner(key.owner), _connect_attributes(key)
        )


def lifetimes(rows: Iterable[tuple[RoleKey, HistogramRow]]) -> Iterator[Observation]:
    """Read how long connections lived.

    Args:
        rows: `(struct tcp_role_key, struct tcp_lifetime)` from map `tcp_connection_duration`; ns.

    Yields:
        One observation per key: 108 bucket counts, then the sum in ns.
    Source: sock:inet_sock_set_state, ESTABLISHED to CLOSE.
    Gaps: Connections that existed before the agent have no lifetime.
    """
    for key, row in rows:
        yield Observation(
            CONNECTION_DURATION, ("lifetime", bytes(key)), _histogram(row), owner(key.owner), {ROLE: ROLES[key.role]}
        )


def io(rows: Iterable[tuple[IoKey, int]]) -> Iterator[Observation]:
    """Count payload bytes by owner and direction.

    Args:
        rows: `(struct tcp_io_key, u64)` from map `tcp_io`.

    Yields:
        One observation per key. Unit: By, cumulative for its row, monotonic.
    Source: tcp_sock.bytes_received less a received FIN; bytes_sent less bytes_retrans (v4.19+).
    """
    for key, count in rows:
        yield Observation(IO, ("io", bytes(key)), count, owner(key.owner), {DIRECTION: DIRECTIONS[key.direction]})


def connections(rows: Iterable[tuple[int, int]]) -> Iterator[Observation]:
    """Read how many sockets are in each state now.

    Args:
        rows: `(u32, u64)` from array `tcp_connections`; the index is the kernel's state. The value may wrap below zero for a
            moment while CPUs race, which reads as 0.

    Yields:
        One observation per state that a followed socket can be in. Unit: {connection}.
    """
    for state, count in rows:
        attributes = {STATE: tcp_state(state)}
        if attributes in CONNECTIONS.headline:
            yield Observation(CONNECTIONS, ("connections", state), count if count < 1 << 63 else 0, attributes=attributes)


def losses(rows: Iterable[tuple[int, int]]) -> Iterator[Loss]:
    """Read what did not fit.

    Args:
        rows: `(u32, u64)` from array `tcp_lost`; the index is `enum tcp_loss`.
    """
    for place, count in rows:
        yield Loss(LOSSES[place], count)


def connection_rows(records: Iterable[ConnectionRow]) -> Iterator[Row]:
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
                ROLES[record.role],
                tcp_state(record.state),
                record.rtt_us / 1e6 if record.rtt_us else None,
                record.rx_bytes,
                record.tx_bytes,
                record.retransmits,
                record.age_ns / 1e9 if record.age_ns else None,
            ),
        )


def _connect_attributes(key: ConnectKey) -> dict[str, str]:
    attributes = {ROLE: ROLES[key.role]}
    if key.outcome:
        attributes[ERROR] = OUTCOMES[key.outcome]
    return attributes


def _histogram(row: HistogramRow) -> tuple[int, ...]:
    return (*row.counts, row.sum_ns)


def _endpoint(raw: bytes, port: int) -> str:
    host = address(raw)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
