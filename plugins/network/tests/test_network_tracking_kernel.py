"""Connections by state, and the table that holds them, on the real kernel."""

import time
from collections import Counter

import pytest

from obi_core import Observation
from obi_core.testing.seen import Seen
from obi_plugin_network.catalogue import STATES

pytestmark = pytest.mark.kernel(needs=("cap:bpf", "cap:net_admin", "cap:perfmon", "btf", "cgroup2", "tracefs"))


def states(probe, port):
    """Connections with one port at either end, by transport and state, as they stand in the table."""
    return Counter(
        STATES[entry.state] for key, entry in probe.bpf.rows("network_tracked") if port in (key.local_port, key.peer_port)
    )


def connections(seen):
    """What the instrument says."""
    return {
        (each.attributes["network.transport"], each.attributes["network.connection.state"]): each.value
        for each in seen.yielded
        if isinstance(each, Observation) and each.instrument.name == "obi.network.connections"
    }


def test_fifty_thousand_connections_in_a_table_of_a_thousand_are_lost_but_for_those_that_are_there(start, packets, unique):
    probe = start(max_connections=1000)
    lost_before = Seen.of(probe).losses()["connections_evicted"]
    there = len([*probe.bpf.rows("network_tracked")])
    before = dict(probe.bpf.rows("network_tally"))
    packets.run("spread", unique("obispread"), 50_000)
    for program in ("network_in", "network_out"):
        probe.bpf.detach(program)

    after = dict(probe.bpf.rows("network_tally"))
    seen = Seen.of(probe)
    tried, ended = after[0] - before[0], dict(probe.bpf.rows("network_tally"))[1] - before[1]
    here = len([*probe.bpf.rows("network_tracked")])
    lost = seen.losses()["connections_evicted"] - lost_before

    assert 0 < here <= 1000
    assert tried >= 50_000, "each of ours once; beside them what else the machine does"
    assert lost == there + tried - ended - here
    assert lost >= 49_000
    assert sum(connections(seen).values()) == here


@pytest.mark.parametrize("kind", ["4", "6"], ids=["ipv4", "ipv6"])
def test_a_connection_is_established_at_both_ends_while_it_lives_and_gone_when_it_ends(start, packets, unique, kind):
    probe = start()
    held = packets.start("held", unique("obiheld"), kind, 3)
    port = int(held.line())
    opened = states(probe, port)
    held.go_on()
    assert held.line() == "used"
    seen = Seen.of(probe)
    used = states(probe, port)
    held.go_on()
    held.finish()

    assert opened == used == {("tcp", "established"): 2}
    assert connections(seen)["tcp", "established"] >= 2
    assert connections(seen)["udp", "replied"] >= 2, "both ends of the pair of datagram sockets"
    assert states(probe, port) == {}


def test_short_connections_leave_nothing_behind(start, packets, unique):
    probe = start()
    running = packets.start("short_connections", unique("obishort"), 200)
    port = int(running.line())
    running.finish()

    # the last segment of the last one may be on its way still
    end = time.monotonic() + 10
    while (left := states(probe, port)) and time.monotonic() < end:
        time.sleep(0.01)
    assert left == {}


def test_a_connection_older_than_the_agent_counts_while_its_socket_lives(start, packets, unique):
    held = packets.start("held", unique("obiold"), "4", 3)
    port = int(held.line())
    probe = start(tcp_gone_s=0.05)
    Seen.of(probe)
    time.sleep(0.1)  # longer than an established connection may be without a socket
    Seen.of(probe)
    Seen.of(probe)
    there = states(probe, port)
    held.process.kill()
    held.process.wait()

    assert there == {("tcp", "established"): 2}


def test_datagrams_without_an_answer_end_after_their_time_and_that_is_no_loss(start, packets, unique):
    probe = start(udp_new_s=0.05)
    Seen.of(probe)
    packets.run("spread", unique("obispread"), 10)

    def mine():
        return [key for key, _ in probe.bpf.rows("network_tracked") if key.peer_port in range(10_000, 10_010)]

    assert len(mine()) == 10
    lost = Seen.of(probe).losses()["connections_evicted"]
    for _ in range(200):
        if not mine():
            break
        time.sleep(0.02)
        seen = Seen.of(probe)

    assert not mine()
    assert seen.losses()["connections_evicted"] == lost == 0


def test_tracking_can_be_off(start, packets, unique):
    probe = start(connections=False)
    packets.run("datagrams", unique("obidgram"), "4", 5)

    seen = Seen.of(probe)

    assert connections(seen) == {}
    assert "network_tracked" not in {each.name for each in probe.bpf.maps()} or not [*probe.bpf.rows("network_tracked")]
