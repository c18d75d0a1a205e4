"""What the steps of workload.py are made of: names, addresses, bytes. Standard library only."""

import ctypes
import socket
import struct
import sys

HERE = "10.99.255.1"
SILENT = {socket.AF_INET: "10.99.0.1", socket.AF_INET6: "fd99::1"}
LOOPBACK = {"4": (socket.AF_INET, "127.0.0.1"), "6": (socket.AF_INET6, "::1"), "m": (socket.AF_INET6, "::ffff:127.0.0.1")}


def rename(name: str) -> None:
    """Set this process's `comm`."""
    if ctypes.CDLL(None).prctl(15, name.encode(), 0, 0, 0):
        raise OSError("prctl(PR_SET_NAME) failed")


def say(word: str) -> None:
    """Tell the test that a step is reached."""
    sys.stdout.write(word + "\n")
    sys.stdout.flush()


def listener(kind: str, *, backlog: int = 128) -> socket.socket:
    family, host = LOOPBACK[kind]
    server = socket.socket(family)
    if kind == "m":
        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        host = "::"
    server.bind((host, 0))
    server.listen(backlog)
    return server


def receive(peer: socket.socket, size: int) -> None:
    while size:
        data = peer.recv(min(size, 65536))
        if not data:
            raise EOFError(f"{size} bytes are missing")
        size -= len(data)


def syn(source_port: int, port: int) -> bytes:
    """Write a SYN from the address that does not answer, IP header and all."""

    def header(checksum: int) -> bytes:
        return struct.pack("!HHIIBBHHH", source_port, port, 7, 0, 5 << 4, 2, 65535, checksum, 0)

    addresses = socket.inet_aton(SILENT[socket.AF_INET]) + socket.inet_aton(HERE)
    # The kernel fills in length and checksum.
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 0, 0, 0, 64, socket.IPPROTO_TCP, 0) + addresses
    total = sum(struct.unpack("!16H", addresses + struct.pack("!HH", socket.IPPROTO_TCP, 20) + header(0)))
    total = (total & 0xFFFF) + (total >> 16)
    return ip + header(~((total & 0xFFFF) + (total >> 16)) & 0xFFFF)
