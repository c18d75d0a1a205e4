"""Known traffic over a veth pair between two namespaces: `veth_steps.py STEP [ARG…]`.

Each step prints, as JSON, what the devices at both ends counted, then `done`. Standard library only.
"""

import json
import os
import socket
import struct
import sys
from collections.abc import Callable

from veth import ADDRESS, FAMILY, configure, counters, join, joined, rename, say, since


def prepare() -> None:
    """Hold the namespace."""
    say("ready")
    sys.stdin.readline()


def tcp(client: str, server: str, kind: str, offloads: str, size: str) -> None:
    """One connection that carries `size` bytes to the server, which closes first."""
    with joined(__file__, "tcp_peer", server, kind, offloads, size, offloads=offloads == "on") as peer:
        before = counters("obia")
        rename(client)
        with socket.socket(FAMILY[kind]) as stream:
            stream.connect((ADDRESS[kind][1], int(peer.line())))
            stream.sendall(bytes(int(size)))
            assert not stream.recv(1)
        there = peer.report()
        _report(since("obia", before), there)


def tcp_peer(server: str, kind: str, offloads: str, size: str) -> None:
    """Take it."""
    join(offloads == "on")
    rename(server)
    before = counters("obib")
    with socket.socket(FAMILY[kind]) as listener:
        listener.bind((ADDRESS[kind][1], 0))
        listener.listen()
        say(listener.getsockname()[1])
        stream, _ = listener.accept()
        with stream:
            left = int(size)
            while left:
                left -= len(stream.recv(1 << 16))
            stream.shutdown(socket.SHUT_WR)
            assert not stream.recv(1)
    say(json.dumps(since("obib", before)))


def udp(client: str, server: str, kind: str, offloads: str, size: str, count: str) -> None:
    """`count` datagrams of `size` bytes, each answered by one of the same size."""
    with joined(__file__, "udp_peer", server, kind, offloads, size, count, offloads=offloads == "on") as peer:
        before = counters("obia")
        rename(client)
        with socket.socket(FAMILY[kind], socket.SOCK_DGRAM) as asker:
            asker.connect((ADDRESS[kind][1], int(peer.line())))
            for _ in range(int(count)):
                asker.send(bytes(int(size)))
                asker.recv(1 << 16)
        _report(since("obia", before), peer.report())


def udp_peer(server: str, kind: str, offloads: str, size: str, count: str) -> None:
    """Answer them."""
    join(offloads == "on")
    rename(server)
    before = counters("obib")
    with socket.socket(FAMILY[kind], socket.SOCK_DGRAM) as answerer:
        answerer.bind((ADDRESS[kind][1], 0))
        say(answerer.getsockname()[1])
        for _ in range(int(count)):
            data, asker = answerer.recvfrom(1 << 16)
            assert len(data) == int(size)
            answerer.sendto(data, asker)
    say(json.dumps(since("obib", before)))


def echo(client: str, kind: str, size: str, count: str) -> None:
    """`count` echo requests of `size` bytes; the other end's kernel answers."""
    with joined(__file__, "idle_peer", offloads=False) as peer:
        assert peer.line() == "counting"
        before = counters("obia")
        rename(client)
        protocol = socket.IPPROTO_ICMP if kind == "4" else socket.IPPROTO_ICMPV6
        with socket.socket(FAMILY[kind], socket.SOCK_RAW, protocol) as raw:
            raw.connect((ADDRESS[kind][1], 0))
            for number in range(int(count)):
                message = struct.pack("!BBHHH", 8 if kind == "4" else 128, 0, 0, os.getpid() & 0xFFFF, number)
                message += bytes(int(size))
                if kind == "4":
                    message = message[:2] + struct.pack("!H", _checksum(message)) + message[4:]
                raw.send(message)
                raw.recv(1 << 16)
        peer.go_on()
        _report(since("obia", before), peer.report())


def idle_peer() -> None:
    """Be there."""
    join(offloads=False)
    before = counters("obib")
    say("counting")
    sys.stdin.readline()
    say(json.dumps(since("obib", before)))


def gso(client: str, server: str, kind: str, offloads: str, size: str, count: str) -> None:
    """One send that the kernel cuts into `count` datagrams of `size` bytes (UDP_SEGMENT)."""
    with joined(__file__, "udp_sink", server, kind, offloads, str(int(size) * int(count)), offloads=offloads == "on") as peer:
        before = counters("obia")
        rename(client)
        with socket.socket(FAMILY[kind], socket.SOCK_DGRAM) as sender:
            sender.setsockopt(socket.IPPROTO_UDP, 103, int(size))
            sender.sendto(bytes(int(size) * int(count)), (ADDRESS[kind][1], int(peer.line())))
        there = peer.report()
        _report(since("obia", before), there)


def udp_sink(server: str, kind: str, offloads: str, size: str) -> None:
    """Take `size` bytes in datagrams."""
    join(offloads == "on")
    rename(server)
    before = counters("obib")
    with socket.socket(FAMILY[kind], socket.SOCK_DGRAM) as sink:
        sink.bind((ADDRESS[kind][1], 0))
        say(sink.getsockname()[1])
        left = int(size)
        while left:
            left -= len(sink.recv(1 << 16))
    say(json.dumps(since("obib", before)))


def settle(offloads: str) -> None:
    """Configure the end of a pair that somebody put here."""
    configure("obib", 2, offloads == "on")
    say("done")


def answer(kind: str, count: str) -> None:
    """Answer `count` datagrams, then take a connection until its end."""
    with (
        socket.socket(FAMILY[kind], socket.SOCK_DGRAM) as answerer,
        socket.create_server((ADDRESS[kind][1], 0), family=FAMILY[kind]) as listener,
    ):
        answerer.bind((ADDRESS[kind][1], 0))
        say(answerer.getsockname()[1])
        say(listener.getsockname()[1])
        for _ in range(int(count)):
            data, asker = answerer.recvfrom(1 << 16)
            answerer.sendto(data, asker)
        stream, _ = listener.accept()
        with stream:
            while stream.recv(1 << 16):
                pass
    say("done")


def _checksum(message: bytes) -> int:
    total = sum(struct.unpack(f"!{len(message) // 2}H", message))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _report(here: dict[str, int], there: dict[str, int]) -> None:
    say(json.dumps({"here": here, "there": there}))
    say("done")


STEPS: dict[str, Callable[..., None]] = {
    step.__name__: step for step in (prepare, tcp, tcp_peer, udp, udp_peer, echo, idle_peer, gso, udp_sink, settle, answer)
}

if __name__ == "__main__":
    STEPS[sys.argv[1]](*sys.argv[2:])
