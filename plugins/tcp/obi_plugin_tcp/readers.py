"""Rows of the tcp maps → observations. Pure: no kernel, no clock, no state."""

from collections.abc import Iterable, Iterator
from typing import Protocol

from obi_core import Loss, Observation, OwnerRecord, owner, tcp_state
from obi_plugin_tcp.catalogue import (
    CAUSE,
    CONNECTION_DURATION,
    CONNECTIONS,
    CONNECTS,
    DIRECTION,
    DIRECTIONS,
    ERROR,
    FAMILIES,
    HANDSHAKE_DURATION,
    IO,
    LISTEN_DROPS,
    LOSSES,
    OTHER,
    OUTCOMES,
    PORT,
    RESET_CAUSES,
    RESETS,
    RETRANSMIT,
    RETRANSMIT_TYPES,
    RETRANSMITS,
    ROLE,
    ROLES,
    RTT,
    STATE,
    TYPE,
    name_of,
)


class Key(Protocol):
    """A key of 48 bytes that begins with `struct obi_owner`; which other fields it has is its map's."""

    owner: OwnerRecord

    def __bytes__(self) -> bytes: ...


class ConnectKey(Key, Protocol):
    """`struct tcp_connect_key`."""

    role: int
    outcome: int


class RoleKey(Key, Protocol):
    """`struct tcp_role_key`."""

    role: int
    family: int


class IoKey(Key, Protocol):
    """`struct tcp_io_key`."""

    direction: int


class RetransmitKey(Key, Protocol):
    """`struct tcp_retransmit_key`."""

    type: int


class ResetKey(Key, Protocol):
    """`struct tcp_reset_key`."""

    direction: int
    cause: int


class DropKey(Key, Protocol):
    """`struct tcp_drop_key`."""

    port: int


class DurationsRow(Protocol):
    """`struct tcp_durations`: `u64 counts[96]`, then `u64 sum_ns`."""

    counts: Iterable[int]
    sum_ns: int


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
        yield Observation(CONNECTS, ("tcp_connects", bytes(key)), count, owner(key.owner), _connect_attributes(key))


def handshakes(rows: Iterable[tuple[ConnectKey, DurationsRow]]) -> Iterator[Observation]:
    """Read how long handshakes took.

    Args:
        rows: `(struct tcp_connect_key, struct tcp_durations)` from map `tcp_handshake_duration`; ns.

    Yields:
        One observation per key: 96 bucket counts, then the sum in ns.
    Source: connect to the change of state (client); the kernel's first round-trip time (server).
    Gaps: A server's handshake has no duration if its SYN-ACK was sent again or made from a cookie.
    """
    for key, row in rows:
        yield Observation(
            HANDSHAKE_DURATION,
            ("tcp_handshake_duration", bytes(key)),
            _histogram(row),
            owner(key.owner),
            _connect_attributes(key),
        )


def lifetimes(rows: Iterable[tuple[RoleKey, DurationsRow]]) -> Iterator[Observation]:
    """Read how long connections lived.

    Args:
        rows: `(struct tcp_role_key, struct tcp_durations)` from map `tcp_connection_duration`; ns.

    Yields:
        One observation per key: 96 bucket counts, then the sum in ns.
    Source: sock:inet_sock_set_state, ESTABLISHED to CLOSE.
    Gaps: Connections that existed before the agent have no lifetime.
    """
    for key, row in rows:
        yield Observation(
            CONNECTION_DURATION,
            ("tcp_connection_duration", bytes(key)),
            _histogram(row),
            owner(key.owner),
            {ROLE: name_of(ROLES, key.role)},
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
        yield Observation(IO, ("tcp_io", bytes(key)), count, owner(key.owner), {DIRECTION: name_of(DIRECTIONS, key.direction)})


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


def round_trips(rows: Iterable[tuple[RoleKey, DurationsRow]]) -> Iterator[Observation]:
    """Read round-trip times.

    Args:
        rows: `(struct tcp_role_key, struct tcp_durations)` from map `tcp_rtt`; ns, weighted by the sampling factor.

    Yields:
        One observation per key: 96 bucket counts, then the sum in ns.
    Source: sockops callback BPF_SOCK_OPS_RTT_CB (v5.3+).
    Gaps: Connections established before the agent have no callback.
    """
    for key, row in rows:
        attributes = {ROLE: name_of(ROLES, key.role), TYPE: FAMILIES.get(key.family, OTHER)}
        yield Observation(RTT, ("tcp_rtt", bytes(key)), _histogram(row), owner(key.owner), attributes)


def retransmits(rows: Iterable[tuple[RetransmitKey, int]]) -> Iterator[Observation]:
    """Count segments sent again.

    Args:
        rows: `(struct tcp_retransmit_key, u64)` from map `tcp_retransmits`.

    Yields:
        One observation per key. Unit: {segment}, as RetransSegs in /proc/net/snmp counts them, cumulative for its row.
    Source: tcp:tcp_retransmit_skb (v4.15+), tcp:tcp_retransmit_synack (v4.16+; the listener owns these).
    """
    for key, count in rows:
        attributes = {RETRANSMIT: name_of(RETRANSMIT_TYPES, key.type)}
        yield Observation(RETRANSMITS, ("tcp_retransmits", bytes(key)), count, owner(key.owner), attributes)


def resets(rows: Iterable[tuple[ResetKey, int]]) -> Iterator[Observation]:
    """Count resets.

    Args:
        rows: `(struct tcp_reset_key, u64)` from map `tcp_resets`; the owner is zero where no followed socket has a part in it.

    Yields:
        One observation per key. Unit: {reset}, cumulative for its row.
    Source: tcp:tcp_send_reset, tcp:tcp_receive_reset (v4.16+); the kernel gives reasons since v6.10.
    """
    for key, count in rows:
        attributes = {DIRECTION: name_of(DIRECTIONS, key.direction), CAUSE: name_of(RESET_CAUSES, key.cause)}
        yield Observation(RESETS, ("tcp_resets", bytes(key)), count, owner(key.owner), attributes)


def listen_drops(rows: Iterable[tuple[DropKey, int]]) -> Iterator[Observation]:
    """Count what listeners dropped.

    Args:
        rows: `(struct tcp_drop_key, u64)` from map `tcp_listen_drops`; the port is 0 unless the settings ask for it.

    Yields:
        One observation per key. Unit: {connection}, cumulative for its row.
    Source: sock.sk_drops of the listener, read by the iterator tcp_refresh and at the listener's end.
    """
    for key, count in rows:
        attributes: dict[str, str | int] = {PORT: key.port} if key.port else {}
        yield Observation(LISTEN_DROPS, ("tcp_listen_drops", bytes(key)), count, owner(key.owner), attributes)


def losses(rows: Iterable[tuple[int, int]]) -> Iterator[Loss]:
    """Read what did not fit.

    Args:
        rows: `(u32, u64)` from array `tcp_lost`; the index is `enum tcp_loss`.
    """
    for place, count in rows:
        yield Loss(name_of(LOSSES, place), count)


def _connect_attributes(key: ConnectKey) -> dict[str, str]:
    attributes = {ROLE: name_of(ROLES, key.role)}
    if key.outcome:
        attributes[ERROR] = name_of(OUTCOMES, key.outcome)
    return attributes


def _histogram(row: DurationsRow) -> tuple[int, ...]:
    return (*row.counts, row.sum_ns)
