"""The tcp probe on the real kernel: known connections in a private network namespace give exact numbers, in each mode."""

import os
import time
from pathlib import Path

import pytest

from obi_core import Observation
from obi_core.testing.live import this_host
from obi_core.testing.seen import Seen

pytestmark = pytest.mark.kernel(needs=("cap:bpf", "cap:perfmon", "btf", "tracefs"))


DIRECTION = "network.io.direction"


def outcomes(seen, name, role):
    """Connects of one process name and role by `error.type`; success is `""`."""
    return seen.counts("obi.tcp.connects", name, by="error.type", network_tcp_handshake_role=role)


@pytest.mark.parametrize("kind", ["4", "6", "m"], ids=["ipv4", "ipv6", "v4-mapped"])
def test_each_outcome_is_counted_exactly_at_both_ends(start, network, unique, kind):
    probe = start()
    server_name, client_name = unique("obiserve"), unique("obiclnt")
    server = network.start("serve", server_name, kind, 23, 1000, 77)
    network.run("connect", client_name, kind, server.line(), 23, 1000, 77)
    server.finish()
    network.run("refused", client_name, kind, 7)
    network.run("timed-out", client_name, kind, 5)
    network.run("canceled", client_name, kind, 5)

    seen = Seen.of(probe)

    assert outcomes(seen, client_name, "client") == {"": 23, "refused": 7, "timed_out": 5, "canceled": 5}
    assert outcomes(seen, server_name, "server") == {"": 23}
    assert not outcomes(seen, client_name, "server")
    assert not outcomes(seen, server_name, "client")
    assert seen.counts("obi.tcp.io", client_name, by="network.io.direction") == {"transmit": 23 * 1000, "receive": 23 * 77}
    assert seen.counts("obi.tcp.io", server_name, by="network.io.direction") == {"receive": 23 * 1000, "transmit": 23 * 77}
    assert seen.durations("obi.tcp.handshake.duration", client_name) == 40
    assert seen.durations("obi.tcp.handshake.duration", client_name, error_type="timed_out") == 5
    assert seen.durations("obi.tcp.handshake.duration", server_name) == 23
    assert seen.durations("obi.tcp.connection.duration", client_name) == 23
    assert seen.durations("obi.tcp.connection.duration", server_name) == 23


@pytest.mark.compiled(only=True)
@pytest.mark.parametrize("kind", ["4", "6"], ids=["ipv4", "ipv6"])
def test_connects_are_counted_exactly_at_both_ends_though_without_the_cause_of_a_failure(start, network, unique, kind):
    probe = start()
    server_name, client_name = unique("obiserve"), unique("obiclnt")
    server = network.start("serve", server_name, kind, 23, 1000, 77)
    network.run("connect", client_name, kind, server.line(), 23, 1000, 77)
    server.finish()
    network.run("refused", client_name, kind, 7)
    network.run("timed-out", client_name, kind, 5)

    seen = Seen.of(probe)

    assert outcomes(seen, client_name, "client") == {"": 23, "_OTHER": 12}
    assert outcomes(seen, server_name, "server") == {"": 23}
    assert seen.durations("obi.tcp.handshake.duration", client_name) >= 23
    assert seen.durations("obi.tcp.connection.duration", server_name) == 23


def test_a_connection_belongs_to_the_process_that_accepted_it_not_to_the_listener(start, network, unique):
    probe = start()
    listener, worker, client = unique("obilist"), unique("obiwork"), unique("obiclnt")
    server = network.start("prefork", listener, worker, 11)
    network.run("connect", client, "4", server.line(), 11, 3, 0)
    server.finish()

    seen = Seen.of(probe)

    assert outcomes(seen, worker, "server") == {"": 11}
    assert seen.counts("obi.tcp.io", worker, by="network.io.direction") == {"receive": 33}
    assert not outcomes(seen, listener, "server")


@pytest.mark.compiled
def test_a_connection_that_nobody_accepted_belongs_to_the_listener(start, network, unique):
    probe = start()
    listener, client = unique("obilist"), unique("obiclnt")
    network.run("never-accepted", listener, client, 3)

    seen = Seen.of(probe)

    assert outcomes(seen, client, "client") == {"": 3}
    assert outcomes(seen, listener, "server") == {"": 3}


@pytest.mark.compiled
def test_a_connection_that_ends_by_reset_was_a_success_and_has_a_lifetime(start, network, unique):
    probe = start()
    name = unique("obireset")
    network.run("reset", name, 13)

    seen = Seen.of(probe)

    assert outcomes(seen, name, "client") == {"": 13}
    assert outcomes(seen, name, "server") == {"": 13}
    assert seen.durations("obi.tcp.connection.duration", name) == 26


def test_open_connections_are_shown_and_their_bytes_count_while_they_live(start, network, unique):
    probe = start()
    name = unique("obihold")
    held = network.start("hold", name, 4, 1000, 500)
    assert held.line() == "held"

    first = Seen.of(probe)
    held.go_on()
    assert held.line() == "sent"
    second = Seen.of(probe)
    held.go_on()
    held.finish()
    third = Seen.of(probe)

    mine = first.rows(name)
    assert sorted(row.cells[1] for row in mine) == ["client"] * 4 + ["server"] * 4
    assert {row.cells[2] for row in mine} == {"established"}
    assert all(row.cells[3] for row in mine if row.cells[1] == "client"), "a client that sent data has a round-trip time"
    assert {row.owner.tgid for row in mine if row.owner} == {held.pid}
    assert first.counts("obi.tcp.io", name, by="network.io.direction") == {"transmit": 4000, "receive": 4000}
    assert second.counts("obi.tcp.io", name, by="network.io.direction") == {"transmit": 6000, "receive": 6000}
    assert third.counts("obi.tcp.io", name, by="network.io.direction") == {"transmit": 6000, "receive": 6000}
    assert not third.rows(name)


def test_bytes_are_exact_while_collections_and_closes_meet_all_the_time(start, network, unique):
    probe = start()
    server_name, client_name = unique("obiserve"), unique("obiclnt")
    server = network.start("serve", server_name, "4", 3000, 1000, 77)
    client = network.start("connect", client_name, "4", server.line(), 3000, 1000, 77)
    while client.process.poll() is None:
        for _ in probe.bpf.iterate("tcp_refresh", walk="tcp_sockets"):
            pass
    client.finish()
    server.finish()
    for _ in range(100):  # what closed under a pass is added a second later
        seen = Seen.of(probe)
        if seen.counts("obi.tcp.io", client_name).get("") == 3000 * 1077:
            break
        time.sleep(0.05)

    assert outcomes(seen, client_name, "client") == outcomes(seen, server_name, "server") == {"": 3000}
    assert seen.counts("obi.tcp.io", client_name, by=DIRECTION) == {"transmit": 3_000_000, "receive": 3000 * 77}
    assert seen.counts("obi.tcp.io", server_name, by=DIRECTION) == {"receive": 3_000_000, "transmit": 3000 * 77}


def test_connections_older_than_the_agent_are_shown_but_never_counted_as_connects(start, network, unique):
    name = unique("obiold")
    held = network.start("hold", name, 4, 1000, 500)
    assert held.line() == "held"
    probe = start()

    first = Seen.of(probe)
    held.go_on()
    assert held.line() == "sent"
    held.go_on()
    held.finish()
    second = Seen.of(probe)

    mine = first.rows(name)
    assert sorted(row.cells[1] for row in mine) == ["client"] * 4 + ["server"] * 4
    assert {row.cells[7] for row in mine} == {None}, "their age is not known"
    assert first.counts("obi.tcp.io", name, by="network.io.direction") == {}
    assert second.counts("obi.tcp.io", name, by="network.io.direction") == {"transmit": 2000, "receive": 2000}
    assert not outcomes(second, name, "client")
    assert not outcomes(second, name, "server")
    assert not second.durations("obi.tcp.connection.duration", name)


def test_an_owner_is_a_process_by_pid_and_start_and_a_cgroup_by_id(start, network, unique):
    host = this_host()
    controller = Path("/sys/fs/cgroup/memory") if host.memory_cgroup_v1() else host.cgroup2()
    assert controller is not None
    group = controller / f"obi-test-{os.getpid()}"
    group.mkdir()
    probe = start()
    name = unique("obiown")
    held = network.start("hold", name, 1, 1, 1, group)
    try:
        assert held.line() == "held"
        (owner,) = {row.owner for row in Seen.of(probe).rows(name)}

        assert owner is not None
        assert owner.tgid == held.pid
        assert owner.start_ns // 10_000_000 == host.process_start_ticks(held.pid), "/proc counts in ticks of 10 ms"
        assert owner.cgroup_id == group.stat().st_ino
    finally:
        held.process.kill()
        held.process.wait()
        group.rmdir()


@pytest.mark.compiled
def test_connections_by_state_follow_what_is_open(start, network, unique):
    probe = start()

    def established():
        (value,) = [
            each.value
            for each in Seen.of(probe).yielded
            if isinstance(each, Observation)
            and each.instrument.name == "obi.tcp.connections"
            and each.attributes["network.connection.state"] == "established"
        ]
        return value

    before = established()
    held = network.start("hold", unique("obihold"), 50, 1, 1)
    assert held.line() == "held"
    during = established()
    held.go_on()
    assert held.line() == "sent"
    held.go_on()
    held.finish()
    after = established()

    # Other processes of the machine open and close connections meanwhile, but not fifty pairs.
    assert abs(during - before - 100) < 50
    assert abs(after - before) < 50
