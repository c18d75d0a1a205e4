"""Raw kernel values → words that people and backends know. Pure; standard library only.

A reader calls these when a key is first seen, never for each observation.
"""

import socket
from collections.abc import Iterable, Iterator
from typing import Final, Protocol

from obi_core.errors import errno_name
from obi_core.model import OUTCOMES, Account, Owner

__all__ = ["AccountRecord", "OwnerRecord", "accounts", "address", "errno_name", "owner", "tcp_state", "text"]

_ADDRESS_BYTES: Final = 16
_V4_MAPPED: Final = bytes(10) + b"\xff\xff"

_TCP_STATES: Final = (
    "_OTHER",
    "established",
    "syn_sent",
    "syn_received",
    "fin_wait_1",
    "fin_wait_2",
    "time_wait",
    "closed",
    "close_wait",
    "last_ack",
    "listen",
    "closing",
    "syn_received",
)


class AccountRecord(Protocol):
    """`struct obi_account` of `bpf/obi/account.h`, summed over the CPUs."""

    seen: int
    exported: int
    filtered: int
    sampled_out: int
    lost: int


class OwnerRecord(Protocol):
    """`struct obi_owner` of `bpf/obi/attribution.h`, as a ctypes record."""

    cgroup_id: int
    start_ns: int
    tgid: int
    comm: bytes
    """`char[16]`: bytes up to the first NUL, or an array of 16."""


def accounts(rows: Iterable[tuple[object, AccountRecord]]) -> Iterator[Account]:
    """Read a probe's account.

    Args:
        rows: `(u32, struct obi_account)` from the map that `OBI_ACCOUNT` made; per-CPU values already summed.

    Yields:
        One entry per outcome, cumulative.
    """
    for _, record in rows:
        for outcome in OUTCOMES:
            yield Account(outcome, getattr(record, outcome))


def text(raw: Iterable[int]) -> str:
    """Decode a C string in a fixed array: up to the first NUL, what is not UTF-8 replaced.

    Args:
        raw: `char[n]`, as bytes or as a ctypes array of bytes.
    """
    return bytes(raw).split(b"\0", 1)[0].decode("utf-8", "replace")


def owner(record: OwnerRecord) -> Owner:
    """Make an `Owner` of `struct obi_owner`."""
    return Owner(record.tgid, record.start_ns, record.cgroup_id, text(record.comm))


def address(raw: Iterable[int]) -> str:
    """Write an IP address the usual way; a v4-mapped one as IPv4.

    Args:
        raw: 16 bytes, network order, as bytes or as a ctypes array of bytes.

    Raises:
        ValueError: There are not 16 bytes.
    """
    packed = bytes(raw)
    if len(packed) != _ADDRESS_BYTES:
        raise ValueError(f"an address has 16 bytes, not {len(packed)}")
    if packed.startswith(_V4_MAPPED):
        return socket.inet_ntop(socket.AF_INET, packed[12:])
    return socket.inet_ntop(socket.AF_INET6, packed)


def tcp_state(number: int) -> str:
    """Name a TCP state as `network.connection.state` does; a NEW_SYN_RECV socket is `syn_received` too.

    Source: include/net/tcp_states.h.
    """
    return _TCP_STATES[number] if 0 < number < len(_TCP_STATES) else "_OTHER"
