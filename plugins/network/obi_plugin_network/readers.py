"""Rows of the network maps → observations. Pure: no kernel, no clock, no state."""

from collections.abc import Iterable, Iterator
from typing import Protocol

from obi_core import Loss, Observation, OwnerRecord, address, owner
from obi_plugin_network.catalogue import (
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
    TRANSPORT,
    TRANSPORTS,
    TYPE,
    name_of,
)


class PacketsKey(Protocol):
    """`struct network_packets_key`, 96 bytes."""

    owner: OwnerRecord
    local: bytes
    peer: bytes
    ifindex: int
    netns: int
    local_port: int
    peer_port: int
    family: int
    transport: int
    direction: int
    malformed: int

    def __bytes__(self) -> bytes: ...


class Sums(Protocol):
    """`struct network_sums`."""

    packets: int
    bytes: int


def packets(rows: Iterable[tuple[PacketsKey, Sums]]) -> Iterator[Observation]:
    """Count packets and bytes, by owner and by conversation.

    Args:
        rows: `(struct network_packets_key, struct network_sums)` from map `network_packets`, weighted by the sampling factor.

    Yields:
        Four observations per row, cumulative for it: packets, bytes, and the same for its conversation.
    Source: cgroup_skb (v4.10+) at the root of cgroup2, or tc; `max(1, gso_segs)` (v5.1+).
    """
    for key, sums in rows:
        who, name = owner(key.owner), ("network_packets", bytes(key))
        attributes = _attributes(key)
        yield Observation(PACKETS, name, sums.packets, who, attributes)
        yield Observation(IO, name, sums.bytes, who, attributes)
        attributes = _conversation(key)
        yield Observation(CONVERSATION_PACKETS, name, sums.packets, who, attributes)
        yield Observation(CONVERSATION_IO, name, sums.bytes, who, attributes)


def losses(rows: Iterable[tuple[int, int]]) -> Iterator[Loss]:
    """Read what did not fit.

    Args:
        rows: `(u32, u64)` from array `network_lost`; the index is `enum network_loss`.
    """
    for place, count in rows:
        yield Loss(name_of(LOSSES, place), count)


def _attributes(key: PacketsKey) -> dict[str, str | int]:
    attributes: dict[str, str | int] = {
        DIRECTION: name_of(DIRECTIONS, key.direction),
        TRANSPORT: name_of(TRANSPORTS, key.transport),
        TYPE: FAMILIES.get(key.family, OTHER),
    }
    if key.malformed:
        attributes[ERROR] = MALFORMED
    if key.ifindex:
        attributes[INTERFACE] = str(key.ifindex)
    return attributes


def _conversation(key: PacketsKey) -> dict[str, str | int]:
    attributes: dict[str, str | int] = {
        DIRECTION: name_of(DIRECTIONS, key.direction),
        TRANSPORT: name_of(TRANSPORTS, key.transport),
    }
    ends = ((key.local, key.local_port), (key.peer, key.peer_port))
    source, destination = ends if key.direction else ends[::-1]
    for (raw, port), host_name, port_name in (
        (source, SOURCE_ADDRESS, SOURCE_PORT),
        (destination, DESTINATION_ADDRESS, DESTINATION_PORT),
    ):
        if any(raw):
            attributes[host_name] = address(raw)
        if port:
            attributes[port_name] = port
    return attributes
