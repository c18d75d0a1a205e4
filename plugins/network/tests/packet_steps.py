"""Single packets and many connections in a network namespace: `packet_steps.py STEP [ARG…]`, as a process of its own name.

Prints what a test has to know, then `done`. Standard library only.
"""

import os
import socket
import struct
import sys
from collections.abc import Callable
from pathlib import Path

from veth import FAMILY, rename, run, say

LOOPBACK = {"4": "127.0.0.1", "6": "::1"}


def prepare() -> None:
    """Hold the namespace."""
    run("ip link set lo up")
    Path("/proc/sys/net/ipv4/ip_local_port_range").write_text("1024 65535")
    say("ready")
    sys.stdin.readline()


def datagrams(name: str, kind: str, count: str) -> None:
    """Send `count` datagrams of 10 bytes to a socket of our own."""
    rename(name)
    with socket.socket(FAMILY[kind], socket.SOCK_DGRAM) as there, socket.socket(FAMILY[kind], socket.SOCK_DGRAM) as here:
        there.bind((LOOPBACK[kind], 0))
        for _ in range(int(count)):
            here.sendto(bytes(10), there.getsockname()[:2])
            there.recv(10)
    say("done")


def spread(name: str, count: str) -> None:
    """One datagram to each of `count` ports: as many connections, and nobody answers."""
    rename(name)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as here:
        here.bind(("127.0.0.1", 0))
        for number in range(int(count)):
            address = f"127.0.{number // 50000 + 1}.1"
            try:
                here.sendto(b"x", (address, number % 50000 + 10000))
            except ConnectionRefusedError:
                here.sendto(b"x", (address, number % 50000 + 10000))
    say("done")


def raw(name: str, kind: str, protocol: str, *packets: str) -> None:
    """Send packets whose payload (IPv4: behind a header that the kernel makes) is given in hex."""
    rename(name)
    with socket.socket(FAMILY[kind], socket.SOCK_RAW, int(protocol)) as sender:
        for packet in packets:
            sender.sendto(bytes.fromhex(packet), (LOOPBACK[kind], 0))
    say("done")


def raw_with_header(name: str, kind: str, *packets: str) -> None:
    """Send whole packets, given in hex, as they are."""
    rename(name)
    family = FAMILY[kind]
    with socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW) as sender:
        if kind == "6":
            sender.setsockopt(socket.IPPROTO_IPV6, 36, 1)  # IPV6_HDRINCL
        for packet in packets:
            sender.sendto(bytes.fromhex(packet), (LOOPBACK[kind], 0))
    say("done")


def random_packets(name: str, kind: str, count: str, seed: str) -> None:
    """Send `count` packets of random bytes behind a header that says IP, of any protocol."""
    import random

    rename(name)
    chance = random.Random(int(seed))
    sent = 0
    with socket.socket(FAMILY[kind], socket.SOCK_RAW, socket.IPPROTO_RAW) as sender:
        if kind == "6":
            sender.setsockopt(socket.IPPROTO_IPV6, 36, 1)
        for _ in range(int(count)):
            payload = chance.randbytes(chance.randrange(0, 200))
            protocol = chance.choice((0, 1, 6, 17, 43, 44, 51, 58, 60, 132, 135, chance.randrange(256)))
            if kind == "4":
                head = struct.pack("!BBHHHBBH", 0x45, 0, 0, 0, chance.choice((0, 0x2000, 5)), 64, protocol, 0)
                packet = head + socket.inet_aton("127.0.0.1") * 2 + payload
            else:
                head = struct.pack("!IHBB", 6 << 28, chance.choice((len(payload), chance.randrange(65536))), protocol, 64)
                packet = head + bytes(15) + b"\1" + bytes(15) + b"\1" + payload
            try:
                sender.sendto(packet, (LOOPBACK[kind], 0))
                sent += 1
            except OSError:
                pass
    say(sent)
    say("done")


def accepted_elsewhere(listener: str, worker: str, client: str, count: str) -> None:
    """A listener whose child accepts; a client sends `count` bytes, one a segment, and gets each back."""
    server = socket.create_server(("127.0.0.1", 0))
    rename(listener)
    if not os.fork():
        rename(worker)
        peer, _ = server.accept()
        with peer:
            for _ in range(int(count)):
                peer.sendall(peer.recv(1))
            peer.recv(1)
        os._exit(0)
    pid = os.fork()
    if not pid:
        rename(client)
        with socket.create_connection(server.getsockname()) as stream:
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for _ in range(int(count)):
                stream.sendall(b"x")
                stream.recv(1)
        os._exit(0)
    os.wait()
    os.wait()
    say("done")


def held(name: str, kind: str, count: str) -> None:
    """Open a TCP connection and a pair of UDP sockets, wait, then use them: `count` bytes and datagrams; wait; close."""
    rename(name)
    with (
        socket.create_server((LOOPBACK[kind], 0), family=FAMILY[kind]) as server,
        socket.create_connection(server.getsockname()[:2]) as stream,
        socket.socket(FAMILY[kind], socket.SOCK_DGRAM) as one,
        socket.socket(FAMILY[kind], socket.SOCK_DGRAM) as other,
    ):
        peer, _ = server.accept()
        with peer:
            one.bind((LOOPBACK[kind], 0))
            other.connect(one.getsockname()[:2])
            say(server.getsockname()[1])
            sys.stdin.readline()
            for _ in range(int(count)):
                stream.sendall(b"x")
                assert peer.recv(1) == b"x"
                other.send(b"x")
                data, asker = one.recvfrom(1)
                one.sendto(data, asker)
                other.recv(1)
            say("used")
            sys.stdin.readline()
    say("done")


def short_connections(name: str, count: str) -> None:
    """Open and close `count` TCP connections, one after the other."""
    rename(name)
    with socket.create_server(("127.0.0.1", 0)) as server:
        say(server.getsockname()[1])
        for _ in range(int(count)):
            with socket.create_connection(server.getsockname()) as stream:
                peer, _ = server.accept()
                stream.close()
                peer.recv(1)
                peer.close()
    say("done")


def many_names(prefix: str, count: str) -> None:
    """One datagram to ourselves from each of `count` sockets, each made under a name of its own."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as there:
        there.bind(("127.0.0.1", 0))
        for number in range(int(count)):
            rename(f"{prefix}{number}")
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as here:
                here.sendto(b"x", there.getsockname())
                there.recv(1)
    say("done")


def no_room(name: str, count: str) -> None:
    """Make `count` sockets that have no memory for what others want to store in them."""
    rename(name)
    limit = Path("/proc/sys/net/core/optmem_max")
    before = limit.read_text()
    limit.write_text("64")
    try:
        for _ in range(int(count)):
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close()
    finally:
        limit.write_text(before)
    say("done")


STEPS: dict[str, Callable[..., None]] = {
    step.__name__: step
    for step in (
        prepare,
        datagrams,
        spread,
        raw,
        raw_with_header,
        random_packets,
        accepted_elsewhere,
        held,
        short_connections,
        many_names,
        no_room,
    )
}

if __name__ == "__main__":
    STEPS[sys.argv[1]](*sys.argv[2:])
