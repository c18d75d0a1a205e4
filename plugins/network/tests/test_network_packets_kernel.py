"""Packets of known sizes between two namespaces: what each process sent and received equals what the devices counted."""

import json

import pytest

from obi_core.testing.seen import Seen

pytestmark = pytest.mark.kernel(needs=("cap:bpf", "cap:net_admin", "cap:perfmon", "btf", "cgroup2"))

DIRECTION = "network.io.direction"
LINK = 14
"""Bytes of the link header, which a device counts and the probe does not."""
HEADERS = {"4": 20, "6": 40}
TYPE = {"4": "ipv4", "6": "ipv6"}


def devices(running):
    """What the devices at both ends counted during a step."""
    told = json.loads(running.line())
    assert running.line() == "done"
    return told["here"], told["there"]


def counted(seen, name, **where):
    """Packets and bytes of one process, as a device would name them, without link headers."""
    packets = seen.counts("obi.network.packets", name, by=DIRECTION, **where)
    size = seen.counts("obi.network.io", name, by=DIRECTION, **where)
    return {
        "rx_packets": packets.get("receive", 0),
        "rx_bytes": size.get("receive", 0),
        "tx_packets": packets.get("transmit", 0),
        "tx_bytes": size.get("transmit", 0),
    }


def on_the_wire(counts):
    """What a device counts of packets that it gets one by one."""
    return {
        "rx_packets": counts["rx_packets"],
        "rx_bytes": counts["rx_bytes"] + LINK * counts["rx_packets"],
        "tx_packets": counts["tx_packets"],
        "tx_bytes": counts["tx_bytes"] + LINK * counts["tx_packets"],
    }


@pytest.mark.parametrize("kind", ["4", "6"], ids=["ipv4", "ipv6"])
def test_without_offloads_tcp_equals_the_devices_packet_by_packet(start, veth, unique, at_sockets, kind):
    probe = start()
    client, server = unique("obiclnt"), unique("obiserve")
    here, there = devices(veth.start("tcp", client, server, kind, "off", 1_000_000))

    seen = Seen.of(probe)
    where = {"network_transport": "tcp", "network_type": TYPE[kind]}

    assert on_the_wire(counted(seen, client, **where)) == here
    assert on_the_wire(counted(seen, server, **where)) == at_sockets(kind, there)
    assert counted(seen, client) == counted(seen, client, **where), "and nothing else"
    assert not any(seen.losses().values())


@pytest.mark.parametrize("kind", ["4", "6"], ids=["ipv4", "ipv6"])
def test_with_offloads_tcp_counts_segments_and_the_headers_that_segmentation_repeats(start, veth, unique, at_sockets, kind):
    probe = start()
    client, server = unique("obiclnt"), unique("obiserve")
    here, there = devices(veth.start("tcp", client, server, kind, "on", 1_000_000))

    seen = Seen.of(probe)
    mine = counted(seen, client)
    header = HEADERS[kind] + 32  # with timestamps; of the SYN, 8 more
    syn = 8

    assert mine["tx_packets"] > here["tx_packets"], "one skb holds many segments"
    merged = mine["tx_packets"] - here["tx_packets"]
    assert here["tx_bytes"] == mine["tx_bytes"] + LINK * here["tx_packets"] - header * merged
    assert mine["tx_bytes"] == 1_000_000 + header * mine["tx_packets"] + syn
    assert mine["rx_bytes"] == header * mine["rx_packets"] + syn
    assert (mine["rx_packets"], mine["rx_bytes"]) == (here["rx_packets"], here["rx_bytes"] - LINK * here["rx_packets"])
    theirs = counted(seen, server)
    assert (theirs["rx_packets"], theirs["rx_bytes"]) == (mine["tx_packets"], mine["tx_bytes"])
    sent = at_sockets(kind, {"tx_packets": there["tx_packets"], "tx_bytes": there["tx_bytes"]})
    assert (theirs["tx_packets"], theirs["tx_bytes"] + LINK * theirs["tx_packets"]) == (sent["tx_packets"], sent["tx_bytes"])
    assert there["rx_packets"] == here["tx_packets"]


@pytest.mark.parametrize("kind", ["4", "6"], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize("offloads", ["on", "off"])
def test_datagrams_equal_the_devices(start, veth, unique, kind, offloads):
    probe = start()
    client, server = unique("obiclnt"), unique("obiserve")
    here, there = devices(veth.start("udp", client, server, kind, offloads, 100, 23))

    seen = Seen.of(probe)

    assert on_the_wire(counted(seen, client, network_transport="udp", network_type=TYPE[kind])) == here
    assert on_the_wire(counted(seen, server, network_transport="udp", network_type=TYPE[kind])) == there
    assert counted(seen, client)["tx_bytes"] == 23 * (HEADERS[kind] + 8 + 100)


def test_at_a_socket_a_datagram_is_one_packet_however_many_fragments_the_device_makes_of_it(start, veth, unique):
    probe = start()
    client, server = unique("obiclnt"), unique("obiserve")
    here, _ = devices(veth.start("udp", client, server, "4", "off", 4000, 23))

    mine = counted(Seen.of(probe), client)

    assert mine["tx_packets"] == mine["rx_packets"] == 23
    assert here["tx_packets"] == 3 * 23, "4008 bytes do not fit into two times 1480"
    assert mine["tx_bytes"] == 23 * (20 + 8 + 4000)
    assert here["tx_bytes"] == mine["tx_bytes"] + LINK * here["tx_packets"] + 20 * (here["tx_packets"] - 23)


@pytest.mark.parametrize("kind", ["4", "6"], ids=["ipv4", "ipv6"])
def test_datagrams_that_the_kernel_cuts_up_count_one_by_one(start, veth, unique, kind):
    probe = start()
    client, server = unique("obiclnt"), unique("obiserve")
    here, _ = devices(veth.start("gso", client, server, kind, "on", 1000, 40))

    seen = Seen.of(probe)

    assert here["tx_packets"] == 1
    assert counted(seen, client)["tx_packets"] == counted(seen, server)["rx_packets"] == 40
    assert counted(seen, client)["tx_bytes"] == counted(seen, server)["rx_bytes"] == 40 * (1000 + 8 + HEADERS[kind])


@pytest.mark.parametrize("kind", ["4", "6"], ids=["ipv4", "ipv6"])
def test_echo_requests_and_replies_equal_the_device(start, veth, unique, kind):
    probe = start()
    client = unique("obiping")
    here, there = devices(veth.start("echo", client, kind, 56, 11))

    transport = "icmp" if kind == "4" else "icmp6"
    mine = counted(Seen.of(probe), client, network_transport=transport, network_type=TYPE[kind])

    assert on_the_wire(mine) == here
    assert there["rx_packets"] == mine["tx_packets"] == 11
    assert mine["tx_bytes"] == 11 * (HEADERS[kind] + 8 + 56)
