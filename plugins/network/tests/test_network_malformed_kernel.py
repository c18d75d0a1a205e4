"""Packets that contradict themselves, fragments, extension headers: written by hand, sent through raw sockets."""

import struct

import pytest

from obi_core import Account, Observation
from obi_core.testing.seen import Seen

pytestmark = pytest.mark.kernel(needs=("cap:bpf", "cap:net_admin", "cap:perfmon", "btf", "cgroup2"))

ONE = bytes(15) + b"\1"
UDP = struct.pack("!HHHH", 4711, 4712, 12, 0) + b"data"


def v6(first, *rest, payload=None):
    """An IPv6 packet to ::1 whose first extension or transport header is of type `first`."""
    body = b"".join(rest)
    return (struct.pack("!IHBB", 6 << 28, len(body) if payload is None else payload, first, 64) + ONE + ONE + body).hex()


def v4(protocol, body, fragment=0):
    """An IPv4 packet to 127.0.0.1; the kernel fills in length and checksum."""
    return (struct.pack("!BBHHHBBH", 0x45, 0, 0, 7, fragment, 64, protocol, 0) + bytes([127, 0, 0, 1] * 2) + body).hex()


def option(following, units=0):
    """An extension header of `(units + 1) * 8` bytes."""
    return bytes([following, units]) + bytes([1, units * 8 + 4]) + bytes(units * 8 + 4)


def fragment_header(following, offset, more):
    return struct.pack("!BBHI", following, 0, offset << 3 | more, 7)


def sent(seen, comm):
    """Packets that a process sent, by transport, port of destination, and whether they were malformed."""
    found = {}
    for each in seen.yielded:
        if isinstance(each, Observation) and each.owner and each.owner.comm == comm:
            if each.attributes.get("network.io.direction") != "transmit":
                continue
            transport = each.attributes["network.transport"]
            if each.instrument.name == "obi.network.packets" and each.attributes.get("error.type"):
                found[transport, "malformed"] = found.get((transport, "malformed"), 0) + each.value
            elif each.instrument.name == "obi.network.conversation.packets":
                port = each.attributes.get("destination.port", 0)
                found[transport, port] = found.get((transport, port), 0) + each.value
    return found


V6_CASES = {
    "no extension": (v6(17, UDP), ("udp", 4712)),
    "hop by hop": (v6(0, option(17), UDP), ("udp", 4712)),
    "hop by hop, routing, options": (v6(0, option(43), option(60), option(17, 2), UDP), ("udp", 4712)),
    "authentication": (v6(51, bytes([17, 4]) + bytes(22), UDP), ("udp", 4712)),
    "eight": (v6(0, *[option(60)] * 7, option(17), UDP), ("udp", 4712)),
    "more than are walked": (v6(0, *[option(60)] * 8, option(17), UDP), ("_OTHER", 0)),
    "first fragment": (v6(44, fragment_header(17, 0, 1), UDP), ("udp", 4712)),
    "later fragment": (v6(44, fragment_header(17, 10, 1), UDP), ("udp", 0)),
    "no next header": (v6(59), ("_OTHER", 0)),
}


@pytest.mark.parametrize(("packet", "expected"), V6_CASES.values(), ids=V6_CASES)
def test_the_transport_is_found_behind_extension_headers(start, packets, unique, packet, expected):
    probe = start(conversation_ports="all")
    name = unique("obiext")
    packets.run("raw_with_header", name, "6", packet)

    assert sent(Seen.of(probe), name) == {expected: 1}


V4_CASES = {
    "first fragment": (v4(17, struct.pack("!HHHH", 4711, 4712, 2000, 0) + bytes(32), 0x2000), ("udp", 4712)),
    "later fragment": (v4(17, bytes(32), 5), ("udp", 0)),
    "sctp": (v4(132, struct.pack("!HHII", 4711, 4712, 0, 0)), ("sctp", 4712)),
    "igmp": (v4(2, bytes(8)), ("igmp", 0)),
    "gre": (v4(47, bytes(8)), ("gre", 0)),
    "esp": (v4(50, bytes(8)), ("esp", 0)),
    "icmp": (v4(1, b"\x08" + bytes(7)), ("icmp", 0)),
    "unknown": (v4(253, bytes(8)), ("_OTHER", 0)),
}


@pytest.mark.parametrize(("packet", "expected"), V4_CASES.values(), ids=V4_CASES)
def test_the_transport_is_named(start, packets, unique, packet, expected):
    probe = start(conversation_ports="all")
    name = unique("obikind")
    packets.run("raw_with_header", name, "4", packet)

    assert sent(Seen.of(probe), name) == {expected: 1}


BROKEN = {
    "tcp cut off": ("4", v4(6, bytes(5)), "tcp"),
    "tcp header longer than the packet": ("4", v4(6, bytes(12) + b"\xf0" + bytes(7)), "tcp"),
    "tcp header shorter than it can be": ("4", v4(6, bytes(12) + b"\x40" + bytes(7)), "tcp"),
    "udp cut off": ("4", v4(17, bytes(7)), "udp"),
    "udp longer than the packet": ("4", v4(17, struct.pack("!HHHH", 1, 2, 100, 0)), "udp"),
    "udp shorter than its header": ("4", v4(17, struct.pack("!HHHH", 1, 2, 7, 0)), "udp"),
    "icmp cut off": ("4", v4(1, bytes(3)), "icmp"),
    "sctp cut off": ("4", v4(132, bytes(8)), "sctp"),
    "ipv6 longer than it is": ("6", v6(17, UDP, payload=100), "_OTHER"),
    "extension longer than the packet": ("6", v6(0, bytes([17, 200]) + bytes(6)), "_OTHER"),
    "extension cut off": ("6", v6(0, bytes(2)), "_OTHER"),
}


@pytest.mark.parametrize(("kind", "packet", "transport"), BROKEN.values(), ids=BROKEN)
def test_what_contradicts_itself_counts_as_malformed(start, packets, unique, kind, packet, transport):
    probe = start()
    name = unique("obibroken")
    packets.run("raw_with_header", name, kind, packet)

    seen = Seen.of(probe)

    assert seen.counts(
        "obi.network.packets", name, by="network.transport", error_type="malformed", network_io_direction="transmit"
    ) == {transport: 1}
    assert seen.counts("obi.network.io", name, network_io_direction="transmit") == {"": len(bytes.fromhex(packet))}


@pytest.mark.parametrize("kind", ["4", "6"], ids=["ipv4", "ipv6"])
def test_random_packets_are_all_counted_and_nothing_crashes(start, packets, unique, kind):
    probe = start(conversation_ports="all", conversation_addresses=True, max_conversations=16_384, connections=True)
    name = unique("obirandom")
    running = packets.start("random_packets", name, kind, 3000, 23)
    count = int(running.line())
    assert running.line() == "done"

    seen = Seen.of(probe)
    outcomes = {each.outcome: each.count for each in seen.yielded if isinstance(each, Account)}

    assert count > 1000
    assert seen.counts("obi.network.packets", name, by="network.io.direction")["transmit"] == count
    malformed = seen.counts("obi.network.packets", name, error_type="malformed", network_io_direction="transmit")[""]
    assert 0 < malformed < count
    assert outcomes["lost"] == 0
