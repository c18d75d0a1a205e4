"""Rows of the network maps → observations. Pure: no kernel, no clock, no state."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol

from obi_core import Loss, Observation, OwnerRecord, address, owner
from obi_plugin_network.catalogue import (
    CONNECTIONS,
    CONVERSATION_IO,
    CONVERSATION_PACKETS,
    DESTINATION_ADDRESS,
    DESTINATION_PORT,
    DIRECTION,
    DIRECTIONS,
    ERROR,
    FAMILIES,
    INTERFACE,
    IO,
    LOSSES,
    MALFORMED,
    OTHER,
    PACKETS,
    SOURCE_ADDRESS,
    SOURCE_PORT,
    STATE,
    STATES,
    TRANSPORT,
    TRANSPORTS,
    TYPE,
    name_of,
)


class PacketsKey(Protocol):
    """`struct network_packets_key`, 56 bytes."""

    owner: OwnerRecord
    ifindex: int
    netns: int
    family: int
    transport: int
    direction: int
    malformed: int

    def __bytes__(self) -> bytes: ...


class ConversationKey(Protocol):
    """`struct network_conversation_key`, 96 bytes."""

    packets: PacketsKey
    local: Iterable[int]
    peer: Iterable[int]
    local_port: int
    peer_port: int

    def __bytes__(self) -> bytes: ...


class Sums(Protocol):
    """`struct network_sums`."""

    packets: int
    bytes: int


NameOf = Callable[[int, int], str]
"""Gives the name of an interface by network namespace and number."""


def packets(rows: Iterable[tuple[PacketsKey, Sums]], interface: NameOf) -> Iterator[Observation]:
    """Count packets and bytes by owner; of what has no conversation of its own, these are its conversation's too.

    Args:
        rows: `(struct network_packets_key, struct network_sums)` from map `network_packets`, weighted by the sampling factor.
        interface: Names an interface.

    Yields:
        Four observations per row, cumulative for it. Unit: {packet}, By.
    Source: cgroup_skb (v4.10+) at the root of cgroup2, or tc; `max(1, gso_segs)` (v5.1+).
    """
    for key, sums in rows:
        yield from _row(("network_packets", bytes(key)), key, sums, interface, {})


def conversations(rows: Iterable[tuple[ConversationKey, Sums]], interface: NameOf) -> Iterator[Observation]:
    """Count packets and bytes by conversation, and by owner, which are the same packets.

    Args:
        rows: `(struct network_conversation_key, struct network_sums)` from map `network_conversation`, weighted likewise.
        interface: Names an interface.

    Yields:
        Four observations per row, cumulative for it. Unit: {packet}, By.
    Source: as of `packets`.
    """
    for key, sums in rows:
        yield from _row(("network_conversation", bytes(key)), key.packets, sums, interface, _ends(key))


def connections(counts: Iterable[tuple[int, int]]) -> Iterator[Observation]:
    """Read how many connections are in each state.

    Args:
        counts: By `enum network_state`: what the array `network_connections` (`(u32, u64)`, only grows) says after a sweep,
            less what it said before.

    Yields:
        One observation per state. Unit: {connection}.
    Source: packets: flags of TCP, directions of UDP.
    """
    for state, count in counts:
        transport, name = STATES[state] if state < len(STATES) else ("", "")
        if name:
            yield Observation(CONNECTIONS, ("connections", state), count, attributes={TRANSPORT: transport, STATE: name})


def driven_out(tally: Iterable[tuple[int, int]], present: int, most: int) -> Loss:
    """Work out how many connections had to make room: what tried to get in, less what ended and what is here.

    Args:
        tally: `(u32, u64)` from array `network_tally`: tried, ended.
        present: Connections that are here.
        most: What was worked out before; while connections come and go under the walk the sum may be a few off.
    """
    cells = dict(tally)
    return Loss("connections_evicted", max(most, cells.get(0, 0) - cells.get(1, 0) - present))


def losses(rows: Iterable[tuple[int, int]]) -> Iterator[Loss]:
    """Read what did not fit.

    Args:
        rows: `(u32, u64)` from array `network_lost`; the index is `enum network_loss`.
    """
    for place, count in rows:
        yield Loss(name_of(LOSSES, place), count)


def _row(
    name: tuple[str, bytes], key: PacketsKey, sums: Sums, interface: NameOf, ends: Mapping[str, str | int]
) -> Iterator[Observation]:
    who = owner(key.owner)
    conversation: dict[str, str | int] = {
        DIRECTION: name_of(DIRECTIONS, key.direction),
        TRANSPORT: name_of(TRANSPORTS, key.transport),
    }
    attributes = {**conversation, TYPE: FAMILIES.get(key.family, OTHER)}
    conversation.update(ends)
    if key.malformed:
        attributes[ERROR] = MALFORMED
    if key.ifindex:
        attributes[INTERFACE] = interface(key.netns, key.ifindex)
    yield Observation(PACKETS, name, sums.packets, who, attributes)
    yield Observation(IO, name, sums.bytes, who, attributes)
    yield Observation(CONVERSATION_PACKETS, name, sums.packets, who, conversation)
    yield Observation(CONVERSATION_IO, name, sums.bytes, who, conversation)


def _ends(key: ConversationKey) -> dict[str, str | int]:
    """Who sends and who receives: the local end is the source of what is sent."""
    local, peer = (bytes(key.local), key.local_port), (bytes(key.peer), key.peer_port)
    return _attributes(local, peer) if key.packets.direction else _attributes(peer, local)


def _attributes(source: tuple[bytes, int], destination: tuple[bytes, int]) -> dict[str, str | int]:
    attributes: dict[str, str | int] = {}
    for (raw, port), host_name, port_name in (
        (source, SOURCE_ADDRESS, SOURCE_PORT),
        (destination, DESTINATION_ADDRESS, DESTINATION_PORT),
    ):
        if any(raw):
            attributes[host_name] = address(raw)
        if port:
            attributes[port_name] = port
    return attributes
