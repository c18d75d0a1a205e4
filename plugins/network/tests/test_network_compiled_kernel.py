"""The mode that BCC compiles: the same counts, without a kernel struct; owners by the cookies of sockets."""

import json
from contextlib import ExitStack

import pytest

from obi_core import Observation
from obi_core.testing.live import attached
from obi_core.testing.seen import Seen
from obi_plugin_network.modes import COMPILED, PLAIN
from obi_plugin_network.probe import NetworkProbe
from obi_plugin_network.settings import NetworkSettings

pytestmark = pytest.mark.kernel(needs=COMPILED.needs)

DIRECTION = "network.io.direction"
LINK = 14
"""Bytes of the link header, which a device counts and the probe does not."""


@pytest.fixture(params=[COMPILED], ids=lambda mode: mode.name)
def mode(request):
    return request.param


@pytest.fixture
def start(mode):
    with ExitStack() as open_:
        yield lambda **settings: open_.enter_context(attached(NetworkProbe, NetworkSettings(**settings), mode))


@pytest.mark.parametrize(("kind", "header"), [("4", 28), ("6", 48)], ids=["ipv4", "ipv6"])
def test_datagrams_are_counted_exactly_though_no_kernel_struct_is_read(start, packets, unique, kind, header):
    probe, name = start(), unique("obidgram")
    packets.run("datagrams", name, kind, 23)

    seen = Seen.of(probe)
    where = {"network_transport": "udp", "network_type": "ipv4" if kind == "4" else "ipv6"}

    assert seen.counts("obi.network.packets", name, by=DIRECTION, **where) == {"transmit": 23, "receive": 23}
    assert seen.counts("obi.network.io", name, by=DIRECTION) == dict.fromkeys(("transmit", "receive"), 23 * (10 + header))
    assert not any(seen.losses().values())


@pytest.mark.parametrize("kind", ["4", "6"], ids=["ipv4", "ipv6"])
def test_without_offloads_tcp_equals_the_devices_though_accepted_sockets_have_new_cookies(
    start, veth, unique, at_sockets, kind
):
    probe, client, server = start(), unique("obiclnt"), unique("obiserve")
    running = veth.start("tcp", client, server, kind, "off", 1_000_000)
    told = json.loads(running.line())
    assert running.line() == "done"

    seen = Seen.of(probe)

    for name, device in ((client, told["here"]), (server, at_sockets(kind, told["there"]))):
        packets = seen.counts("obi.network.packets", name, by=DIRECTION)
        size = seen.counts("obi.network.io", name, by=DIRECTION)
        for way, prefix in (("receive", "rx"), ("transmit", "tx")):
            assert (packets[way], size[way] + LINK * packets[way]) == (device[f"{prefix}_packets"], device[f"{prefix}_bytes"])


def test_a_kernel_that_does_not_tell_of_segments_still_counts_packets(start, packets, unique):
    probe, name = start(), unique("obiplain")
    for exact, plain in PLAIN.items():
        probe.bpf.detach(exact)
        probe.bpf.attach(plain)
    packets.run("datagrams", name, "4", 23)

    assert Seen.of(probe).counts("obi.network.packets", name, by=DIRECTION) == {"transmit": 23, "receive": 23}


def test_who_accepts_is_not_known_and_the_client_is(start, packets, unique):
    probe = start()
    listener, worker, client = unique("obilist"), unique("obiwork"), unique("obiclnt")
    packets.run("accepted_elsewhere", listener, worker, client, 100)

    seen = Seen.of(probe)

    assert seen.counts("obi.network.packets", worker) == {}
    assert seen.counts("obi.network.packets", client, by=DIRECTION)["transmit"] >= 100


def test_the_ports_of_clients_fold_there_too(start, packets, unique):
    probe = start(conversation_ports="server")
    name = unique("obishort")
    running = packets.start("short_connections", name, 50)
    port = int(running.line())
    running.finish()

    found = {
        tuple(sorted((key, value) for key, value in each.attributes.items() if key.endswith(".port")))
        for each in Seen.of(probe).yielded
        if isinstance(each, Observation)
        and each.instrument.name == "obi.network.conversation.packets"
        and each.owner.comm == name
    }

    assert found == {(("source.port", port),), (("destination.port", port),)}


def test_the_view_shows_processes_too(start, packets, unique):
    probe, name = start(), unique("obishow")
    Seen.of(probe)
    packets.run("datagrams", name, "4", 7)

    (row,) = Seen.of(probe).rows(name)

    assert row.cells[2:4] == (7, 7)


def test_loopback_can_be_left_out_there_too(start, packets, unique):
    probe, name = start(loopback=False), unique("obiloop")
    packets.run("datagrams", name, "4", 7)

    assert Seen.of(probe).counts("obi.network.packets", name) == {}


def test_its_own_maps_have_the_sizes_of_the_settings(start):
    probe = start(max_owners=128, max_accepted=256)

    entries = {each.name: each.max_entries for each in probe.bpf.maps()}

    assert (entries["network_owners"], entries["network_opening"]) == (128, 256)
