"""Every packet has one outcome, and every place where something is lost counts it, under too small limits."""

import os
import re
from pathlib import Path

import pytest

from obi_core import Account, Observation
from obi_core.testing.seen import Seen
from obi_plugin_network.settings import NetworkSettings

pytestmark = pytest.mark.kernel(needs=("cap:bpf", "cap:net_admin", "cap:perfmon", "btf", "cgroup2", "tracefs"))

DIRECTION = "network.io.direction"
COUNTING = ("network_in", "network_out", "network_drop_btf", "network_drop_tp")
LINE = re.compile(
    r"obi network (?P<way>receive|transmit) (?P<transport>\w+)"
    r" (?P<source>\S+):(?P<sport>\d+) > (?P<destination>\S+):(?P<dport>\d+)"
    r" (?P<bytes>\d+) bytes (?P<packets>\d+) packets flags 0x(?P<flags>[0-9a-f]+) pid (?P<pid>\d+)$"
)


def account(seen):
    return {each.outcome: each.count for each in seen.yielded if isinstance(each, Account)}


def at_rest(probe):
    """What the probe says when nothing is counted any more."""
    for program in COUNTING:
        probe.bpf.detach(program)
    return Seen.of(probe)


def balanced(entries):
    return entries["seen"] == sum(count for outcome, count in entries.items() if outcome != "seen")


def prefixed(seen, prefix):
    """Packets of all processes whose name begins so."""
    return sum(
        each.value
        for each in seen.yielded
        if isinstance(each, Observation)
        and each.instrument.name == "obi.network.packets"
        and each.owner.comm.startswith(prefix)
    )


def test_every_packet_is_exported_filtered_sampled_out_or_lost(start, packets, unique):
    probe = start()
    before = account(Seen.of(probe))
    name = unique("obidgram")
    packets.run("datagrams", name, "4", 500)

    seen = at_rest(probe)
    after = account(seen)

    assert balanced(after)
    assert seen.counts("obi.network.packets", name, by=DIRECTION) == {"receive": 500, "transmit": 500}
    assert after["exported"] - before["exported"] >= 1000
    assert after["lost"] == after["sampled_out"] == 0


def test_the_loopback_interface_can_be_left_out_and_that_is_counted_as_filtered(start, packets, unique):
    probe = start(loopback=False)
    before = account(Seen.of(probe))
    name = unique("obidgram")
    packets.run("datagrams", name, "4", 500)

    seen = at_rest(probe)
    after = account(seen)

    assert not seen.counts("obi.network.packets", name)
    assert after["filtered"] - before["filtered"] >= 1000
    assert balanced(after)


def test_a_sample_stands_for_all(start, packets, unique):
    probe = start(sample_every=4)
    name = unique("obidgram")
    packets.run("datagrams", name, "4", 4000)

    seen = at_rest(probe)
    counted = seen.counts("obi.network.packets", name)[""]
    size = seen.counts("obi.network.io", name)[""]
    outcomes = account(seen)

    assert counted % 4 == 0
    assert size == counted * 38
    # Of 8000 by chance 1 in 4, times 4: the standard deviation is 155.
    assert abs(counted - 8000) < 6 * 155
    assert balanced(outcomes)
    assert outcomes["sampled_out"] >= 8000 - counted / 4


def test_sampling_changes_while_the_probe_runs_and_rises_when_it_has_to_cost_less(start, packets, unique):
    probe = start()
    few, all_of_them = unique("obifew"), unique("obiall")

    assert probe.retune(NetworkSettings(sample_every=500_000))
    packets.run("datagrams", few, "4", 100)
    assert probe.retune(NetworkSettings())
    packets.run("datagrams", all_of_them, "4", 100)
    seen = Seen.of(probe)
    probe.shed(1)
    shed = dict(probe.bpf.rows("network_sample_every"))

    assert seen.counts("obi.network.packets", all_of_them) == {"": 200}
    assert seen.counts("obi.network.packets", few).get("", 0) % 500_000 == 0
    assert shed == {0: 2}


def test_packets_without_room_for_their_row_are_lost_and_counted(start, packets, unique):
    probe = start(max_rows=64, max_drops=65_536)
    prefix = unique("o")
    packets.run("many_names", prefix, 200)

    seen = at_rest(probe)
    losses = seen.losses()

    assert losses["rows_full"] > 0
    assert prefixed(seen, prefix) < 200 <= prefixed(seen, prefix) + losses["rows_full"]
    assert balanced(account(seen))
    assert account(seen)["lost"] == losses["rows_full"]


def test_packets_without_room_for_their_conversation_still_count_for_their_owner(start, packets, unique):
    probe = start(max_conversations=64, conversation_ports="all")
    name = unique("obispread")
    packets.run("spread", name, 300)

    seen = at_rest(probe)

    assert seen.counts("obi.network.packets", name, by=DIRECTION, network_transport="udp") == {"transmit": 300}
    assert seen.losses()["conversations_full"] >= 300 - 64
    assert account(seen)["lost"] == 0


def test_sockets_without_room_for_an_owner_are_counted(start, packets, unique):
    probe = start()
    before = Seen.of(probe).losses()["sockets_full"]
    packets.run("no_room", unique("obiroom"), 23)

    assert Seen.of(probe).losses()["sockets_full"] - before == 23


@pytest.fixture
def pipe():
    """The kernel's trace pipe, emptied."""
    with Path("/sys/kernel/tracing/trace_pipe").open("rb", buffering=0) as opened:
        os.set_blocking(opened.fileno(), False)

        def read():
            text = b""
            while chunk := opened.read(1 << 16):
                text += chunk
            return text.decode(errors="replace").splitlines()

        read()
        yield read


def test_the_trace_prints_a_line_that_can_be_read_for_each_sampled_packet(start, packets, unique, pipe):
    start(trace="sampled", trace_per_s=10_000)
    packets.run("datagrams", unique("obitrace"), "4", 10)

    found = [LINE.search(line) for line in pipe() if "obi network" in line]

    assert found
    assert all(found), "each line has the form that the documentation gives"
    mine = [each for each in found if each["transport"] == "udp" and each["bytes"] == "38" and each["source"] == "127.0.0.1"]
    assert {each["way"] for each in mine} == {"receive", "transmit"}
    assert len(mine) >= 20


def test_lines_beyond_the_limit_are_not_printed_but_counted(start, packets, unique, pipe):
    probe = start(trace="sampled", trace_per_s=1)
    packets.run("datagrams", unique("obitrace"), "4", 200)

    lines = [line for line in pipe() if "obi network" in line]
    limited = Seen.of(probe).losses()["trace_limited"]

    assert 0 < len(lines) < 100
    assert limited >= 400 - len(lines)


def test_a_trace_prints_one_packet_in_so_many(start, packets, unique, pipe):
    start(trace="sampled", trace_per_s=100_000, trace_every=1_000_000)
    packets.run("datagrams", unique("obitrace"), "4", 100)

    assert len([line for line in pipe() if "obi network" in line]) < 5


def test_without_the_trace_nothing_is_printed(start, packets, unique, pipe):
    start()
    packets.run("datagrams", unique("obitrace"), "4", 10)

    assert not [line for line in pipe() if "obi network" in line]


SIZES = {
    "max_rows": "network_packets",
    "max_conversations": "network_conversation",
    "max_connections": "network_tracked",
    "max_processes": "network_processes",
    "max_listeners": "network_listeners",
    "max_accepted": "network_accepted",
}


def test_every_size_that_the_settings_give_is_the_size_of_its_map(start):
    probe = start(**dict.fromkeys(SIZES, 100))

    entries = {each.name: each.max_entries for each in probe.bpf.maps()}

    assert {name: entries[map_name] for name, map_name in SIZES.items()} == dict.fromkeys(SIZES, 100)
