"""Drops on the real kernel: as many as the kernel's own counters say, by the reason that was provoked."""

from collections import Counter
from pathlib import Path

import pytest

from obi_core import Mode, Observation
from obi_core.testing.live import attached
from obi_core.testing.netns import private_network
from obi_core.testing.seen import Seen
from obi_plugin_network.probe import NetworkProbe
from obi_plugin_network.settings import NetworkSettings

pytestmark = pytest.mark.kernel(needs=("cap:bpf", "cap:net_admin", "cap:perfmon", "btf", "cgroup2", "tracefs"), since="5.17")

FULL = next(mode for mode in NetworkProbe.modes if mode.name == "cgroup_skb")
BY_TRACEPOINT = Mode("tracepoint", tuple(each for each in FULL.programs if each.name != "network_drop_btf"), FULL.needs)


@pytest.fixture
def network():
    with private_network(Path(__file__).with_name("drop_steps.py")) as made:
        yield made


@pytest.fixture(params=[FULL, BY_TRACEPOINT], ids=["tp_btf", "tracepoint"])
def probe(request):
    with attached(NetworkProbe, NetworkSettings(), request.param) as made:
        yield made


@pytest.fixture
def full_probe():
    with attached(NetworkProbe, NetworkSettings(), FULL) as made:
        yield made


def drops(probe, comm=None):
    """Drops by transport and reason: of one process name, or of all."""
    found = Counter()
    for each in Seen.of(probe).yielded:
        if not isinstance(each, Observation) or each.instrument.name != "obi.network.drops":
            continue
        if comm is None or each.owner.comm == comm:
            found[each.attributes["network.transport"], each.attributes["network.packet.drop.reason"]] += each.value
    return found


def named(reason):
    """The reason as this kernel tells it: none does before v5.17."""
    layout = Path("/sys/kernel/tracing/events/skb/kfree_skb/format").read_text()
    return reason if " reason;" in layout else "not_specified"


def told(network, *step):
    """Run a step and give what the kernel's own counters say of it."""
    running = network.start(*step)
    said = int(running.line())
    assert running.line() == "done"
    return said


@pytest.mark.parametrize(
    ("step", "transport", "reason", "expected"),
    [
        (("no-socket", "4", 23, 1), "udp", "no_socket", 23),
        (("no-socket", "6", 29, 1), "udp", "no_socket", 29),
        (("refused", "4", 7), "tcp", "no_socket", 7),
        (("refused", "6", 11), "tcp", "no_socket", 11),
        (("wrong-udp", 13), "udp", "udp_csum", 13),
        (("wrong-tcp", 17), "tcp", "tcp_csum", 17),
        (("wrong-ip", 19), "udp", "ip_csum", 19),
        (("short-ttl", 31), "udp", "ip_inhdr", 31),
        (("unknown-protocol", 37), "_OTHER", "ip_noproto", 37),
    ],
    ids=lambda value: "-".join(map(str, value)) if isinstance(value, tuple) else str(value),
)
def test_what_no_socket_has_a_part_in_is_counted_by_its_reason(probe, network, step, transport, reason, expected):
    before = drops(probe)
    counted = told(network, *step)
    after = drops(probe)

    assert counted == expected
    assert after[transport, reason] - before[transport, reason] == expected


@pytest.mark.parametrize("kind", ["4", "6"])
def test_a_datagram_of_many_fragments_is_one_drop(probe, network, kind):
    before = drops(probe)
    counted = told(network, "no-socket", kind, 23, 9000)
    after = drops(probe)

    assert counted == 23
    assert +(after - before) == {("udp", named("no_socket")): 23}


@pytest.mark.parametrize("kind", ["4", "6"])
def test_a_full_receive_queue_drops_as_many_as_the_kernel_counts(probe, network, kind, unique):
    before = drops(probe)
    counted = told(network, "full-queue", unique("obifull"), kind, 211)
    after = drops(probe)

    assert counted > 211
    assert after["udp", "socket_rcvbuff"] - before["udp", "socket_rcvbuff"] == counted


def test_what_a_process_sends_and_receives_is_dropped_at_its_name(full_probe, network, unique):
    name, other = unique("obidrop"), unique("obiother")
    for step in (("no-room", name, 7, 1), ("no-room", other, 3, 1), ("waiting", name, 5)):
        network.run(*step)

    assert drops(full_probe, name) == {("udp", "qdisc_drop"): 7, ("udp", "neigh_queuefull"): 5}
    assert drops(full_probe, other) == {("udp", "qdisc_drop"): 3}


@pytest.mark.kernel(since="6.11")
def test_a_receiver_owns_what_its_socket_refuses(full_probe, network, unique):
    full, picky = unique("obifull"), unique("obipicky")
    overflowed, refused = told(network, "full-queue", full, "4", 211), told(network, "filtered", picky, 7)

    assert refused == 7
    assert drops(full_probe, full) == {("udp", "socket_rcvbuff"): overflowed}
    assert drops(full_probe, picky) == {("udp", "socket_filter"): 7}


def test_an_offloaded_packet_is_as_many_drops_as_it_has_segments(full_probe, network, unique):
    name = unique("obigso")
    network.run("no-room", name, 7, 10)

    assert drops(full_probe, name) == {("udp", "qdisc_drop"): 70}


@pytest.mark.parametrize("kind", ["4", "6"])
def test_sound_traffic_has_no_drops(probe, network, kind, unique):
    # A slow machine may send something twice: then one of the two is a drop, and the kernel says so.
    sound = {("tcp", "tcp_old_data")}
    found = []
    # Others on this machine may lose a packet meanwhile, but not each time.
    while len(found) < 3 and (not found or not found[-1] <= sound):
        before = drops(probe)
        network.run("sound", unique("obisound"), kind, 50)
        found.append({*+(drops(probe) - before)})

    assert found[-1] <= sound, found


def test_what_is_for_other_stations_or_no_ip_packet_is_filtered(probe, network):
    before, seen_before = drops(probe), account(probe)
    network.run("for-others", 41)
    after, seen_after = drops(probe), account(probe)

    assert +(after - before) == {}
    assert seen_after["filtered"] - seen_before["filtered"] >= 2 * 41


def test_reasons_beyond_the_table_are_counted_as_lost(network, unique):
    with attached(NetworkProbe, NetworkSettings(max_drops=16), FULL) as probe:
        names = [unique(f"obi{number}x") for number in range(23)]
        for name in names:
            network.run("no-room", name, 3, 1)
        seen = Seen.of(probe)

    counted = sum(sum(seen.counts("obi.network.drops", name).values()) for name in names)
    assert counted <= 16 * 3
    assert counted + seen.losses()["drops_full"] >= 23 * 3


def test_the_account_of_the_programs_is_balanced(probe, network, unique):
    network.run("sound", unique("obisound"), "4", 20)
    told(network, "no-socket", "4", 23, 1)
    counts = account(probe)

    assert counts["seen"] == counts["exported"] + counts["filtered"] + counts["sampled_out"] + counts["lost"]


def account(probe):
    ((_, row),) = probe.bpf.rows("network_account")
    return {name: getattr(row, name) for name in ("seen", "exported", "filtered", "sampled_out", "lost")}
