"""How full the queues of listening sockets are, of this network namespace: sock_diag, in plain bytes."""

import errno
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from obi_core import HostError
from obi_plugin_limits.catalogue import LISTEN_QUEUE
from obi_plugin_limits.files.figures import Level

_SOCK_DIAG_BY_FAMILY: Final = 20
_NETLINK_SOCK_DIAG: Final = 4
_NLM_F_REQUEST_DUMP: Final = 0x301
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_HEADER: Final = struct.Struct("=IHHII")
_REQUEST: Final = struct.Struct("=BBBBI48s")
"""inet_diag_req_v2: family, protocol, extensions, pad, states, id."""
_LISTEN: Final = 1 << 10
_PORT_AT, _QUEUES_AT = 4, 56
"""In inet_diag_msg: id.idiag_sport (network order), then idiag_rqueue and idiag_wqueue, which of a listener are the queue and
its limit."""
_QUEUES: Final = struct.Struct("=II")
_BYTES: Final = 32_768
_MOST_MESSAGES: Final = 4_096


@dataclass(frozen=True, slots=True)
class Listener:
    """A listening socket."""

    port: int
    queued: int
    limit: int


def listeners() -> list[Listener]:
    """Ask the kernel for all TCP listeners of this network namespace.

    Raises:
        HostError: It does not answer.
    """
    found: list[Listener] = []
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG) as netlink:
            for family in (socket.AF_INET, socket.AF_INET6):
                body = _REQUEST.pack(family, socket.IPPROTO_TCP, 0, 0, _LISTEN, bytes(48))
                netlink.send(_HEADER.pack(_HEADER.size + len(body), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST_DUMP, 1, 0) + body)
                for _ in range(_MOST_MESSAGES):
                    if _parse(netlink.recv(_BYTES), found):
                        break
    except OSError as error:
        raise HostError(f"sock_diag gives no listening sockets ({error}): obi.limits.usage lacks listen_queue") from error
    return found


def fullest(found: list[Listener], count: int) -> Iterator[Level]:
    """Give the queues closest to their limit; of several sockets at one port the fullest."""
    by_port: dict[int, Listener] = {}
    for each in sorted(found, key=_used):
        by_port[each.port] = each
    for each in sorted(by_port.values(), key=lambda one: (_used(one), -one.port), reverse=True)[:count]:
        yield Level(LISTEN_QUEUE, each.queued, each.limit, port=each.port)


def _used(listener: Listener) -> float:
    return listener.queued / max(listener.limit, 1)


def _parse(data: bytes, found: list[Listener]) -> bool:
    """Take what one datagram holds; whether it is the last."""
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, *_ = _HEADER.unpack_from(data, at)
        if kind == _NLMSG_DONE:
            return True
        if kind == _NLMSG_ERROR:
            number = -int(struct.unpack_from("=i", data, at + _HEADER.size)[0])
            raise OSError(number or errno.EIO, os.strerror(number or errno.EIO))
        if length < _HEADER.size + _QUEUES_AT + _QUEUES.size:
            raise OSError(errno.EBADMSG, f"a message of {length} bytes")
        body = at + _HEADER.size
        queued, limit = _QUEUES.unpack_from(data, body + _QUEUES_AT)
        found.append(Listener(int.from_bytes(data[body + _PORT_AT : body + _PORT_AT + 2], "big"), queued, limit))
        at += (length + 3) & ~3
    return False
