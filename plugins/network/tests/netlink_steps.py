"""The mode without BPF, in a (new) network namespace of its own: `netlink_steps.py STEP`; prints what it counted as JSON."""

import contextlib
import itertools
import json
import logging
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from obi_core import Observation, Retired
from obi_plugin_network.without_bpf.mode import WithoutBpf

_PAYLOAD = 972
"""Bytes of a datagram that is 1,000 bytes with its headers."""


def ip(command: str) -> None:
    subprocess.run(["ip", *command.split()], check=True)


def counted(probe: WithoutBpf) -> list[tuple[str, dict[str, str | int], int]]:
    """Collect once: name, attributes, value; what counts nothing is left out."""
    found = []
    for each in probe.collect():
        if isinstance(each, Observation) and each.value:
            assert isinstance(each.value, int)
            found.append((each.instrument.name, dict(each.attributes), each.value))
        elif isinstance(each, Retired):
            found.append(("retired", {}, 1))
    return found


def send(host: str, port: int, count: int, size: int = _PAYLOAD) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(count):
            sender.sendto(bytes(size), (host, port))


def pair(name: str) -> None:
    ip(f"link add {name} type veth peer name {name}far")
    for end in (name, f"{name}far"):
        ip(f"link set {end} arp off up")


def traffic() -> object:
    """23 datagrams over a veth pair, 7 over loopback to nobody, 11 that find a full queue; five connections."""
    pair("obia")
    ip("addr add 10.96.0.1/24 dev obia")
    probe = WithoutBpf(by_interface=True)
    send("10.96.0.9", 9, 23)
    send("127.0.0.1", 9, 7)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as full, socket.create_server(("127.0.0.1", 0)) as server:
        full.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        full.bind(("127.0.0.1", 0))
        before = refused = rcvbuf_errors()
        while refused == before:
            send("127.0.0.1", full.getsockname()[1], 1)
            refused = rcvbuf_errors()
        send("127.0.0.1", full.getsockname()[1], 10)
        clients = [socket.create_connection(server.getsockname()) for _ in range(5)]
        accepted = [server.accept()[0] for _ in clients]
        clients[0].shutdown(socket.SHUT_WR)
        accepted[0].recv(1)
        result = counted(probe)
        for each in (*clients, *accepted):
            each.close()
    return {"counted": result, "devices": devices(), "refused": rcvbuf_errors() - before}


def rcvbuf_errors() -> int:
    lines = [line.split() for line in Path("/proc/net/snmp").read_text().splitlines() if line.startswith("Udp:")]
    return int(lines[1][lines[0].index("RcvbufErrors")])


def devices() -> dict[str, list[int]]:
    """What /proc/net/dev says: bytes and packets received, bytes and packets sent."""
    found = {}
    for line in Path("/proc/net/dev").read_text().splitlines()[2:]:
        name, _, numbers = line.partition(":")
        columns = [int(number) for number in numbers.split()]
        found[name.strip()] = [columns[0], columns[1], columns[8], columns[9]]
    return found


def comings() -> object:
    """Interfaces that come, vanish and come again under the same name, between collections and during them."""
    probe = WithoutBpf(loopback=False)
    sums = []
    for turn in range(5):
        pair("obic")
        ip("addr add 10.95.0.1/24 dev obic")
        send("10.95.0.9", 9, 10 + turn)
        walk = probe.collect()
        seen = list(itertools.islice(walk, 1))
        ip("link del obic")
        seen += list(walk)
        sums.append(sum(int(each.value) for each in seen if of_packets(each, "transmit")))
        gone = list(probe.collect())
        assert not any(of_packets(each, "transmit") for each in gone)
        assert any(isinstance(each, Retired) for each in gone)
    return sums


def of_packets(each: object, direction: str) -> bool:
    return (
        isinstance(each, Observation)
        and each.instrument.name == "obi.network.packets"
        and each.attributes["network.io.direction"] == direction
    )


def chosen() -> object:
    """An interface that is chosen before it is there."""
    logging.basicConfig(stream=sys.stdout, format="%(levelname)s %(message)s")
    probe = WithoutBpf(("obie",))
    first = counted(probe)
    pair("obie")
    ip("addr add 10.94.0.1/24 dev obie")
    send("10.94.0.9", 9, 13)
    return {"before": first, "after": counted(probe)}


STEPS: dict[str, Callable[[], object]] = {"traffic": traffic, "comings": comings, "chosen": chosen}

if __name__ == "__main__":
    with contextlib.suppress(FileNotFoundError):
        # Else IPv6 looks for its neighbours on each new interface.
        Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text("1")
    ip("link set lo up")
    sys.stdout.write(f"{json.dumps(STEPS[sys.argv[1]]())}\n")
