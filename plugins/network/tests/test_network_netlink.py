"""The mode without BPF: messages of netlink as bytes, files of /proc and /sys, and this kernel in a namespace of its own."""

import json
import logging
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obi_core import HostError, Observation, Retired
from obi_plugin_network.without_bpf import links, netlink, snmp, sockets
from obi_plugin_network.without_bpf.links import Counts, Link
from obi_plugin_network.without_bpf.mode import WithoutBpf

NOTHING = Counts(0, 0, 0, 0, 0, 0, 0)


def attribute(kind, value):
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def link_message(kind=1, number=7, name=b"eth0\0", stats=range(1, 25)):
    head = struct.pack("=BxHiII", 0, kind, number, 0x1043, 0)
    return head + attribute(3, name) + attribute(23, struct.pack(f"={len(stats)}Q", *stats))


def test_a_link_message_gives_the_counts_of_struct_rtnl_link_stats64():
    # packets 1 and 2, bytes 3 and 4, errors 5 and 6, dropped 7 and 8, …, the sixteenth is rx_missed_errors
    assert links.parse(link_message()) == Link(7, "eth0", 14, Counts(1, 2, 3, 4, 7, 8, 16))


@pytest.mark.parametrize(("kind", "header"), [(1, 14), (772, 0), (65534, 0)], ids=["ethernet", "loopback", "tun"])
def test_only_an_ethernet_header_is_taken_off(kind, header):
    found = links.parse(link_message(kind))

    assert found is not None
    assert found.header_bytes == header


@pytest.mark.parametrize("message", [b"", link_message()[:15], link_message(stats=range(10)), link_message(name=b"\0")])
def test_a_message_without_name_or_counts_is_no_interface(message):
    assert links.parse(message) is None


@given(st.binary(max_size=300))
def test_whatever_bytes_come_they_are_a_link_or_none(raw):
    found = links.parse(raw)

    assert found is None or found.name


@given(st.binary(max_size=60), st.integers(0, 20))
def test_a_walk_over_attributes_ends_within_the_message(raw, start):
    assert sum(4 + len(value) for _, value in netlink.attributes(raw, start)) <= max(0, len(raw) - start)


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """A /sys with interfaces and a /proc with counters, on a kernel that refuses rtnetlink and has no TCP sockets."""

    def refuse(family, _kind, _request):
        if family == netlink.ROUTE:
            raise PermissionError(1, "Operation not permitted")
        return iter(())

    monkeypatch.setattr(netlink, "dump", refuse)
    (tmp_path / "proc/net").mkdir(parents=True)
    (tmp_path / "sys/class/net").mkdir(parents=True)
    return tmp_path


def interface(fake, name, number, counts):
    folder = fake / "sys/class/net" / name
    (folder / "statistics").mkdir(parents=True, exist_ok=True)
    (folder / "ifindex").write_text(f"{number}\n")
    (folder / "type").write_text("1\n")
    for field, value in zip(Counts._fields, counts, strict=True):
        (folder / "statistics" / field).write_text(f"{value}\n")


def values(probe):
    return {(each.instrument.name, each.key): each.value for each in probe.collect() if isinstance(each, Observation)}


def test_where_rtnetlink_is_refused_sysfs_gives_the_same(fake):
    interface(fake, "eth0", 3, (100, 200, 100_000, 200_000, 5, 0, 0))
    (fake / "sys/class/net/bonding_masters").write_text("\n")
    probe = WithoutBpf(proc=fake / "proc", sys=fake / "sys")
    interface(fake, "eth0", 3, (110, 203, 101_140, 200_342, 9, 2, 1))
    seen = {each[0]: value for each, value in values(probe).items() if value} | values(probe)

    assert seen["obi.network.packets", ("receive", 1)] == 10
    assert seen["obi.network.packets", ("transmit", 1)] == 3
    assert seen["obi.network.io", ("receive", 1)] == 1_000
    assert seen["obi.network.io", ("transmit", 1)] == 300
    assert [seen["obi.network.drops", (name, 1)] for name in ("rx_dropped", "tx_dropped", "rx_missed_errors")] == [4, 2, 1]


def test_without_rtnetlink_and_sysfs_one_sentence_says_so(fake):
    with pytest.raises(HostError, match=r"does not list interfaces \[EPERM\], and .*/class/net is not there"):
        WithoutBpf(proc=fake / "proc", sys=fake / "nothing")


def test_counters_that_start_anew_are_another_interface(fake):
    interface(fake, "eth0", 3, (100, 0, 100_000, 0, 0, 0, 0))
    probe = WithoutBpf(proc=fake / "proc", sys=fake / "sys")
    interface(fake, "eth0", 3, (7, 0, 98, 0, 0, 0, 0))
    seen = list(probe.collect())

    assert Retired(("receive", 1)) in seen
    (now,) = [each for each in seen if isinstance(each, Observation) and each.key == ("receive", 2) and each.value == 7]
    assert now.instrument.name == "obi.network.packets"


def test_counters_of_protocols_become_the_reasons_that_they_mean(fake):
    (fake / "proc/net/snmp").write_text("Udp: NoPorts RcvbufErrors\nUdp: 4 5\nTcp: InCsumErrors MaxConn\nTcp: 6 -1\n")
    (fake / "proc/net/snmp6").write_text("Udp6NoPorts                     \t7\nIp6InReceives \t9\n")

    assert snmp.drops(fake / "proc") == {
        "UdpNoPorts": ("udp", "no_socket", 4),
        "UdpRcvbufErrors": ("udp", "socket_rcvbuff", 5),
        "TcpInCsumErrors": ("tcp", "tcp_csum", 6),
        "Udp6NoPorts": ("udp", "no_socket", 7),
    }


def test_a_chosen_interface_that_is_not_there_is_named_once(fake, caplog):
    interface(fake, "eth0", 3, NOTHING)
    with caplog.at_level(logging.WARNING):
        probe = WithoutBpf(("eth0", "eth7"), proc=fake / "proc", sys=fake / "sys")
        for _ in range(3):
            list(probe.collect())

    assert caplog.messages == ["network: no interface is called eth7: counted from when there is one"]


def test_a_kernel_without_sock_diag_is_one_sentence(monkeypatch):
    def refuse(*_):
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(netlink, "dump", refuse)

    with pytest.raises(HostError, match=r"does not list TCP sockets \[ENOENT\]: load the kernel module tcp_diag"):
        sockets.connections()


def run(step):
    """Run a step in a network namespace of its own: what it logged, and its result."""
    command = ["unshare", "--net", sys.executable, str(Path(__file__).with_name("netlink_steps.py")), step]
    *logged, last = subprocess.run(command, check=True, capture_output=True, text=True, timeout=25).stdout.splitlines()
    return logged, json.loads(last)


@pytest.mark.kernel(needs=("cap:net_admin", "cap:sys_admin"))
def test_what_the_kernel_counted_since_the_start_is_told_exactly():
    _, told = run("traffic")
    seen = {(name, *sorted(attributes.items())): value for name, attributes, value in told["counted"]}

    def at(instrument, direction, interface):
        return seen.get((instrument, ("network.interface.name", interface), ("network.io.direction", direction)), 0)

    assert at("obi.network.packets", "transmit", "obia") == 23 == at("obi.network.packets", "receive", "obiafar")
    assert at("obi.network.io", "transmit", "obia") == 23_000 == at("obi.network.io", "receive", "obiafar")
    assert at("obi.network.packets", "receive", "obia") == 0
    assert told["devices"]["obia"] == [0, 0, 23 * 1014, 23]
    drops = {
        (attributes["network.transport"], attributes["network.packet.drop.reason"]): value
        for name, attributes, value in told["counted"]
        if name == "obi.network.drops" and "network.transport" in attributes
    }
    assert drops == {("udp", "no_socket"): 7, ("udp", "socket_rcvbuff"): told["refused"]}
    assert told["refused"] == 11
    states = {
        attributes["network.connection.state"]: value
        for name, attributes, value in told["counted"]
        if name == "obi.network.connections"
    }
    assert states == {"established": 8, "fin_wait_1": 1, "close_wait": 1}


@pytest.mark.kernel(needs=("cap:net_admin", "cap:sys_admin"))
def test_interfaces_that_vanish_during_a_collection_end_and_never_make_a_counter_fall():
    _, sums = run("comings")

    assert sums == [10, 11, 12, 13, 14]


@pytest.mark.kernel(needs=("cap:net_admin", "cap:sys_admin"))
def test_an_interface_that_is_chosen_counts_from_when_it_is_there():
    logged, told = run("chosen")

    assert logged == ["WARNING network: no interface is called obie: counted from when there is one"]
    packets = [(a["network.io.direction"], value) for name, a, value in told["after"] if name == "obi.network.packets"]
    assert packets == [("transmit", 13)]
    assert not [name for name, _, _ in told["before"] if name == "obi.network.packets"]
