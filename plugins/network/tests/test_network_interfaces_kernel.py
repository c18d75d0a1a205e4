"""The mode at interfaces: exact against the device, and steady while interfaces come and go."""

import fcntl
import os
import random
import socket
import struct
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from obi_core import Observation
from obi_core.testing.seen import Seen

pytestmark = pytest.mark.kernel(needs=("cap:bpf", "cap:net_admin", "cap:perfmon", "btf", "cgroup2", "tracefs"))

DIRECTION = "network.io.direction"
FAMILY = {"4": socket.AF_INET, "6": socket.AF_INET6}
THERE = {"4": "10.97.0.2", "6": "fd97::2"}


class Pair:
    """A veth pair between this namespace and a private one."""

    def __init__(self, network):
        self.name, self._network = f"obi{os.getpid() % 100000}", network

    def make(self, offloads):
        """Make it and bring it up."""
        self._ip(f"link add {self.name} type veth peer name obib netns {self._network.pid}")
        script, switch = Path(__file__).with_name("veth.py"), "on" if offloads else "off"
        subprocess.run([sys.executable, script, self.name, "1", switch], check=True)
        self._network.run("settle", switch)

    def remove(self):
        """Take it away, if it is there."""
        subprocess.run(["ip", "link", "delete", self.name], check=False, capture_output=True)

    def counters(self):
        """What the device counted."""
        statistics = Path("/sys/class/net") / self.name / "statistics"
        return Counter(
            {name: int((statistics / name).read_text()) for name in ("rx_bytes", "rx_packets", "tx_bytes", "tx_packets")}
        )

    def traffic(self, kind, count=23, size=300_000):
        """Datagrams and a connection, both ways."""
        running = self._network.start("answer", kind, count)
        datagrams, stream = int(running.line()), int(running.line())
        with socket.socket(FAMILY[kind], socket.SOCK_DGRAM) as asker:
            for _ in range(count):
                asker.sendto(bytes(100), (THERE[kind], datagrams))
                asker.recv(100)
        with socket.create_connection((THERE[kind], stream)) as sender:
            sender.sendall(bytes(size))
        running.finish()

    @staticmethod
    def _ip(command):
        subprocess.run(["ip", *command.split()], check=True)


@pytest.fixture
def pair(veth):
    made = Pair(veth)
    yield made
    made.remove()


def everything(seen):
    """All that the probe counted, as a device names it, with link headers."""
    found = Counter()
    for each in seen.yielded:
        if not isinstance(each, Observation):
            continue
        way = {"receive": "rx", "transmit": "tx"}.get(each.attributes.get(DIRECTION))
        if each.instrument.name == "obi.network.packets":
            found[f"{way}_packets"] += each.value
            found[f"{way}_bytes"] += 14 * each.value
        elif each.instrument.name == "obi.network.io":
            found[f"{way}_bytes"] += each.value
    return found


@pytest.mark.parametrize("kind", ["4", "6"], ids=["ipv4", "ipv6"])
def test_at_an_interface_the_probe_counts_exactly_what_the_device_counts(start, pair, kind):
    pair.make(offloads=False)
    probe = start(interfaces=(pair.name,))
    before = pair.counters()
    pair.traffic(kind)

    seen = Seen.of(probe)

    assert everything(seen) == pair.counters() - before


def test_with_offloads_segments_and_repeated_headers_are_the_difference_to_the_device(start, pair):
    pair.make(offloads=True)
    probe = start(interfaces=(pair.name,))
    before = pair.counters()
    pair.traffic("4")
    device = pair.counters() - before

    mine = everything(Seen.of(probe))

    merged = mine["tx_packets"] - device["tx_packets"]
    assert merged > 0
    assert mine["tx_bytes"] - device["tx_bytes"] == merged * (14 + 20 + 32)
    assert (mine["rx_packets"], mine["rx_bytes"]) == (device["rx_packets"], device["rx_bytes"])


def test_what_a_process_sends_is_its_own_there_too(start, pair):
    pair.make(offloads=False)
    probe = start(interfaces=(pair.name,))
    pair.traffic("4")

    comm = Path("/proc/self/comm").read_text().strip()

    assert Seen.of(probe).counts("obi.network.packets", comm, network_transport="udp") == {"": 23}


def test_an_interface_that_is_not_there_yet_or_goes_gives_one_line_and_counts_again_when_it_comes(start, pair, caplog):
    probe = start(interfaces=(pair.name, "lo"))
    for _ in range(3):
        Seen.of(probe)
    missing = [record.message for record in caplog.records]

    pair.make(offloads=False)
    Seen.of(probe)
    before = pair.counters()
    pair.traffic("4")
    first = pair.counters() - before
    pair.remove()
    for _ in range(3):
        seen = Seen.of(probe)
    gone = [record.message for record in caplog.records][len(missing) :]
    pair.make(offloads=False)
    Seen.of(probe)
    pair.traffic("4")
    again = Seen.of(probe)

    assert missing == [f"network: there is no interface {pair.name}; its packets count as soon as it is there"]
    assert gone == [f"network: the interface {pair.name} is gone; its packets count again when it is back"]
    assert first["tx_packets"] > 23
    comm = Path("/proc/self/comm").read_text().strip()
    assert again.counts("obi.network.packets", comm, network_transport="udp")[""] >= 46
    assert seen.counts("obi.network.packets", comm, network_transport="udp")[""] >= 23


def test_a_tun_interface_has_no_link_header_and_random_packets_through_it_are_counted(start):
    name = f"obt{os.getpid() % 100000}"
    chance = random.Random(23)
    with Path("/dev/net/tun").open("r+b", buffering=0) as tun:
        fcntl.ioctl(tun, 0x400454CA, struct.pack("16sH22x", name.encode(), 0x0001 | 0x1000))  # TUNSETIFF: IFF_TUN | IFF_NO_PI
        subprocess.run(["ip", "link", "set", name, "up", "addrgenmode", "none"], check=True)
        probe = start(interfaces=(name,))
        before = everything(Seen.of(probe))
        sizes = 0
        for _ in range(500):
            packet = bytes([chance.choice((0x45, 0x60, 0x4F, 0x46))]) + chance.randbytes(chance.randrange(20, 200))
            sizes += len(packet)
            tun.write(packet)
        seen = Seen.of(probe)

    found = everything(seen) - before
    assert found["rx_packets"] == 500
    assert found["rx_bytes"] == sizes + 14 * 500
    kinds = Counter()
    for each in seen.yielded:
        if isinstance(each, Observation) and each.instrument.name == "obi.network.packets":
            kinds[each.attributes.get("error.type", "")] += each.value
    assert kinds["malformed"] > 250, "hardly any has a length that fits"
