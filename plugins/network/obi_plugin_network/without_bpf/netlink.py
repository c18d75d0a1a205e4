"""Dumps over netlink, with a plain socket and `struct`: open to any user, and nothing stays open between two."""

import os
import socket
from collections.abc import Iterator
from struct import Struct
from typing import Final

ROUTE: Final = 0
SOCK_DIAG: Final = 4
"""NETLINK_ROUTE, NETLINK_SOCK_DIAG."""

_REQUEST_DUMP: Final = 0x301
_ERROR: Final = 2
_DONE: Final = 3
_BUFFER: Final = 1 << 16
"""Twice what the kernel puts into one datagram."""
_HEADER: Final = Struct("=IHHII")
_CODE: Final = Struct("=i")
_ATTRIBUTE: Final = Struct("=HH")


def dump(family: int, kind: int, request: bytes) -> Iterator[bytes]:
    """Ask for a dump and give each message of it, without its netlink header.

    Args:
        family: ROUTE or SOCK_DIAG.
        kind: Message type.
        request: What follows the header.

    Raises:
        OSError: The kernel refuses.
    """
    buffer = bytearray(_BUFFER)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, family) as link:
        link.send(_HEADER.pack(_HEADER.size + len(request), kind, _REQUEST_DUMP, 1, 0) + request)
        while True:
            filled, at = link.recv_into(buffer), 0
            while at < filled:
                length, answer, _, _, _ = _HEADER.unpack_from(buffer, at)
                if answer in (_DONE, _ERROR):
                    (code,) = _CODE.unpack_from(buffer, at + _HEADER.size)
                    if code < 0:
                        raise OSError(-code, os.strerror(-code))
                    return
                yield bytes(buffer[at + _HEADER.size : at + length])
                at += (length + 3) & ~3


def attributes(message: bytes, start: int) -> Iterator[tuple[int, bytes]]:
    """Walk the attributes of a message; one that is cut off ends the walk.

    Args:
        message: The message.
        start: Where its attributes begin.
    """
    at = start
    while at + _ATTRIBUTE.size <= len(message):
        length, kind = _ATTRIBUTE.unpack_from(message, at)
        if length < _ATTRIBUTE.size or at + length > len(message):
            return
        yield kind, message[at + _ATTRIBUTE.size : at + length]
        at += (length + 3) & ~3
