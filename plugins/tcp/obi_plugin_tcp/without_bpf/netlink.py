"""TCP sockets of this network namespace, with what the kernel counts for each: netlink's sock_diag, open to any user.

A plain socket and `struct`; why not pyroute2 is in docs/adr/0005-the-tcp-probe-without-bpf.md.
"""

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from struct import Struct
from typing import Final, NamedTuple

from obi_core import HostError, errno_name

SYN_SENT: Final = 2
SYN_RECEIVED: Final = 3
LISTEN: Final = 10
UNACCEPTED: Final = frozenset({1, 8})
"""ESTABLISHED and CLOSE_WAIT: a socket in these states that has no inode is one that nobody has accepted yet."""
_FIN_RECEIVED: Final = frozenset({8, 9, 11})
"""CLOSE_WAIT, LAST_ACK, CLOSING."""
_CONNECTIONS: Final = sum(1 << state for state in (1, SYN_SENT, SYN_RECEIVED, 4, 5, 8, 9, 11))
"""All states of include/net/tcp_states.h but TIME_WAIT and CLOSE, and listeners, which are asked for by themselves."""

_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_REQUEST_DUMP: Final = 0x301
_ERROR: Final = 2
_DONE: Final = 3
_BUFFER: Final = 1 << 16
"""Twice what the kernel puts into one datagram."""

_INFO: Final = 2
_MEMORY: Final = 7
_CGROUP: Final = 21
"""INET_DIAG_INFO and INET_DIAG_SKMEMINFO, given if asked for; INET_DIAG_CGROUP_ID, given since v5.9."""

_HEADER: Final = Struct("=IHHII")
_REQUEST: Final = Struct("=IHHII BBBxI 48x")
_CODE: Final = Struct("=i")
_MESSAGE: Final = Struct("=BB2x 2s2s16s16s 4xQ 16xI")
"""`struct inet_diag_msg`: family, state, ports, addresses, cookie, inode."""
_ATTRIBUTE: Final = Struct("=HH")
_ID: Final = Struct("=Q")
_DROPS: Final = Struct("=32xI")
"""SK_MEMINFO_DROPS, the ninth."""
_V4_MAPPED: Final = bytes(10) + b"\xff\xff"
_TCP_INFO: Final = Struct("=B 67xI 28xI 16xQQ 20xI 40xQQ")
"""`struct tcp_info`: state, rtt, total_retrans, bytes_acked, bytes_received, data_segs_out, bytes_sent, bytes_retrans."""


class Socket(NamedTuple):
    """One socket, as it is now. A tuple, since there may be tens of thousands of them at each collection."""

    cookie: int
    """Its name: no other socket since boot has it."""
    family: int
    """AF_INET or AF_INET6; IPv4 through an IPv6 socket is AF_INET6 with v4-mapped addresses."""
    state: int
    local: bytes
    """Address, 16 bytes, v4-mapped."""
    local_port: int
    peer: bytes
    peer_port: int
    inode: int
    """0: no process holds it: not accepted yet, or closed by all that held it."""
    cgroup_id: int
    """cgroup v2 of its maker; 0: this kernel does not tell. On nodes with v1 controllers all processes may share one."""
    received: int
    """Payload bytes: a received FIN, which the kernel counts as one, is taken off."""
    sent: int
    """Payload bytes, neither SYN nor FIN nor anything twice. Before v4.19 the kernel tells only what was acknowledged, and
    counts SYN and FIN there as a byte each."""
    segments_sent: int
    """Segments with payload, repeated ones included; says whether a round-trip time can be new."""
    rtt_us: int
    """Smoothed; 0: never measured."""
    retransmits: int
    drops: int
    """Of a listener: connection requests dropped."""


def listeners() -> Iterator[Socket]:
    """List listening sockets.

    Raises:
        HostError: The kernel refuses, or has no sock_diag for TCP.
    """
    return _dump(1 << LISTEN, 1 << (_MEMORY - 1))


def connections() -> Iterator[Socket]:
    """List sockets that are connected, being connected or being closed; those in TIME_WAIT are another structure and left out.

    Raises:
        HostError: The kernel refuses, or has no sock_diag for TCP.
    """
    return _dump(_CONNECTIONS, 1 << (_INFO - 1))


def _dump(states: int, extensions: int) -> Iterator[Socket]:
    seen: set[int] = set()
    for family in (socket.AF_INET, socket.AF_INET6):
        # One netlink socket per dump: nothing of a dump that was left half read can come into the next.
        with _refusals(), socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as link:
            request = (_SOCK_DIAG_BY_FAMILY, _REQUEST_DUMP, 1, 0, family, socket.IPPROTO_TCP, extensions, states)
            link.send(_REQUEST.pack(_REQUEST.size, *request))
            for found in _answers(link):
                # The kernel may show a socket twice if others come and go while it walks its table.
                if found.cookie not in seen:
                    seen.add(found.cookie)
                    yield found


def _answers(link: socket.socket) -> Iterator[Socket]:
    buffer = bytearray(_BUFFER)
    while True:
        filled, at = link.recv_into(buffer), 0
        while at < filled:
            length, kind, _, _, _ = _HEADER.unpack_from(buffer, at)
            if kind in (_DONE, _ERROR):
                (code,) = _CODE.unpack_from(buffer, at + _HEADER.size)
                if code < 0:
                    raise OSError(-code, os.strerror(-code))
                return
            found = parse(buffer, at + _HEADER.size, at + length)
            if found is not None:
                yield found
            at += (length + 3) & ~3


def parse(buffer: bytes | bytearray, start: int, end: int) -> Socket | None:
    """Read one `struct inet_diag_msg` with its attributes.

    Args:
        buffer: What the kernel sent.
        start: Where the struct begins, behind the netlink header.
        end: Where its last attribute ends.

    Returns:
        The socket; None for one whose connection is gone and that waits in FIN_WAIT2 as TIME_WAIT does.
    """
    family, state, local_port, peer_port, local, peer, cookie, inode = _MESSAGE.unpack_from(buffer, start)
    cgroup_id = drops = 0
    info: tuple[int, int, int, int, int] | None = None
    at = start + _MESSAGE.size
    while at < end:
        length, kind = _ATTRIBUTE.unpack_from(buffer, at)
        if kind == _INFO:
            info = _counts(buffer[at + _ATTRIBUTE.size : at + length])
        elif kind == _CGROUP:
            (cgroup_id,) = _ID.unpack_from(buffer, at + _ATTRIBUTE.size)
        elif kind == _MEMORY:
            (drops,) = _DROPS.unpack_from(buffer, at + _ATTRIBUTE.size)
        at += (length + 3) & ~3
    if info is None:
        if state not in (LISTEN, SYN_RECEIVED):
            return None
        info = (0, 0, 0, 0, 0)
    return Socket(
        cookie,
        family,
        state,
        _address(family, local),
        int.from_bytes(local_port, "big"),
        _address(family, peer),
        int.from_bytes(peer_port, "big"),
        inode,
        cgroup_id,
        *info,
        drops,
    )


def _counts(raw: bytes | bytearray) -> tuple[int, int, int, int, int]:
    """Give bytes received and sent, segments sent, round-trip time and retransmits of `struct tcp_info`."""
    known = raw.ljust(_TCP_INFO.size, b"\0")
    state, rtt_us, retransmits, acked, received, segments, sent, repeated = _TCP_INFO.unpack_from(known)
    received -= state in _FIN_RECEIVED
    return received, sent - repeated if len(raw) >= _TCP_INFO.size else acked, segments, rtt_us, retransmits


def _address(family: int, raw: bytes) -> bytes:
    return raw if family == socket.AF_INET6 else _V4_MAPPED + raw[:4]


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        remedy = "load the kernel module tcp_diag" if error.errno == errno.ENOENT else "the mode netlink needs it"
        raise HostError(f"the kernel does not list TCP sockets [{errno_name(error.errno or 0)}]: {remedy}") from error
