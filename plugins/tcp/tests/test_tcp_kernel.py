"""The tcp probe on the real kernel: known connections in a private network namespace give exact numbers, in each mode."""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from obi_core import Mode, Observation, Probe, Row
from obi_core.testing.live import attached, this_host
from obi_core.testing.netns import PrivateNetwork
from obi_plugin_tcp.probe import TcpProbe
from obi_plugin_tcp.settings import TcpSettings

pytestmark = pytest.mark.kernel(needs=("cap:bpf", "cap:perfmon", "btf", "tracefs"))


def unique(name: str) -> str:
    """A process name that only this test has."""
    return f"{name}{os.getpid() % 100000}"


@dataclass
class Seen:
    """What the probe said in one collection."""

    observations: list[Observation]
    rows: list[Row]

    def outcomes(self, name: str, role: str) -> Counter[str]:
        """Connects of one process name and role by `error.type`; success is `""`."""
        found: Counter[str] = Counter()
        for each in self.observations:
            if each.instrument.name == "obi.tcp.connects" and each.owner is not None and each.owner.comm == name:
                assert isinstance(each.value, int)
                if each.attributes["network.tcp.handshake.role"] == role:
                    found[str(each.attributes.get("error.type", ""))] += each.value
        return found

    def rows_of(self, name: str) -> list[Row]:
        """Rows of the view that belong to one process name."""
        return [row for row in self.rows if row.owner is not None and row.owner.comm == name]

    def bytes(self, name: str) -> dict[str, int]:
        """Bytes of one process name by direction."""
        found: Counter[str] = Counter()
        for each in self.observations:
            if each.instrument.name == "obi.tcp.io" and each.owner is not None and each.owner.comm == name:
                assert isinstance(each.value, int)
                found[str(each.attributes["network.io.direction"])] += each.value
        return dict(found)

    def histogram_count(self, instrument: str, name: str, **attributes: str) -> int:
        """Values in all buckets of a histogram, for one process name."""
        total = 0
        for each in self.observations:
            if each.instrument.name == instrument and each.owner is not None and each.owner.comm == name:
                assert isinstance(each.value, tuple)
                if all(each.attributes.get(key.replace("_", ".")) == value for key, value in attributes.items()):
                    total += sum(each.value[:-1])
        return total


@dataclass
class Running:
    """A probe that is loaded and attached."""

    probe: Probe

    def collect(self) -> Seen:
        self.probe.wanted = frozenset({"connections"})
        yielded = list(self.probe.collect())
        return Seen([x for x in yielded if isinstance(x, Observation)], [x for x in yielded if isinstance(x, Row)])


Start = Callable[[], Running]


@pytest.fixture(params=TcpProbe.modes, ids=lambda mode: mode.name)
def mode(request: pytest.FixtureRequest) -> Mode:
    chosen: Mode = request.param
    return chosen


@pytest.fixture
def start(mode: Mode) -> Iterator[Start]:
    """Call it to load and attach the probe."""
    with ExitStack() as open_:
        yield lambda: Running(open_.enter_context(attached(TcpProbe, TcpSettings(), mode)))


@pytest.mark.parametrize("kind", ["4", "6", "m"], ids=["ipv4", "ipv6", "v4-mapped"])
def test_each_outcome_is_counted_exactly_at_both_ends(start: Start, network: PrivateNetwork, kind: str) -> None:
    running = start()
    server_name, client_name = unique("obiserve"), unique("obiclnt")
    server = network.start("serve", server_name, kind, 23, 1000, 77)
    network.run("connect", client_name, kind, server.line(), 23, 1000, 77)
    server.finish()
    network.run("refused", client_name, kind, 7)
    network.run("timed-out", client_name, kind, 5)
    network.run("canceled", client_name, kind, 5)

    seen = running.collect()

    assert seen.outcomes(client_name, "client") == {"": 23, "refused": 7, "timed_out": 5, "canceled": 5}
    assert seen.outcomes(server_name, "server") == {"": 23}
    assert not seen.outcomes(client_name, "server")
    assert not seen.outcomes(server_name, "client")
    assert seen.bytes(client_name) == {"transmit": 23 * 1000, "receive": 23 * 77}
    assert seen.bytes(server_name) == {"receive": 23 * 1000, "transmit": 23 * 77}
    assert seen.histogram_count("obi.tcp.handshake.duration", client_name) == 40
    assert seen.histogram_count("obi.tcp.handshake.duration", client_name, error_type="timed_out") == 5
    assert seen.histogram_count("obi.tcp.handshake.duration", server_name) == 23
    assert seen.histogram_count("obi.tcp.connection.duration", client_name) == 23
    assert seen.histogram_count("obi.tcp.connection.duration", server_name) == 23


def test_a_connection_belongs_to_the_process_that_accepted_it_not_to_the_listener(
    start: Start, network: PrivateNetwork
) -> None:
    running = start()
    listener, worker, client = unique("obilist"), unique("obiwork"), unique("obiclnt")
    server = network.start("prefork", listener, worker, 11)
    network.run("connect", client, "4", server.line(), 11, 3, 0)
    server.finish()

    seen = running.collect()

    assert seen.outcomes(worker, "server") == {"": 11}
    assert seen.bytes(worker) == {"receive": 33}
    assert not seen.outcomes(listener, "server")


def test_a_connection_that_nobody_accepted_belongs_to_the_listener(start: Start, network: PrivateNetwork) -> None:
    running = start()
    listener, client = unique("obilist"), unique("obiclnt")
    network.run("never-accepted", listener, client, 3)

    seen = running.collect()

    assert seen.outcomes(client, "client") == {"": 3}
    assert seen.outcomes(listener, "server") == {"": 3}


def test_a_connection_that_ends_by_reset_was_a_success_and_has_a_lifetime(start: Start, network: PrivateNetwork) -> None:
    running = start()
    name = unique("obireset")
    network.run("reset", name, 13)

    seen = running.collect()

    assert seen.outcomes(name, "client") == {"": 13}
    assert seen.outcomes(name, "server") == {"": 13}
    assert seen.histogram_count("obi.tcp.connection.duration", name) == 26


def test_open_connections_are_shown_and_their_bytes_count_while_they_live(start: Start, network: PrivateNetwork) -> None:
    running = start()
    name = unique("obihold")
    held = network.start("hold", name, 4, 1000, 500)
    assert held.line() == "held"

    first = running.collect()
    held.go_on()
    assert held.line() == "sent"
    second = running.collect()
    held.go_on()
    held.finish()
    third = running.collect()

    mine = first.rows_of(name)
    assert sorted(row.cells[1] for row in mine) == ["client"] * 4 + ["server"] * 4
    assert {row.cells[2] for row in mine} == {"established"}
    assert all(row.cells[3] for row in mine if row.cells[1] == "client"), "a client that sent data has a round-trip time"
    assert {row.owner.tgid for row in mine if row.owner} == {held.pid}
    assert first.bytes(name) == {"transmit": 4000, "receive": 4000}
    assert second.bytes(name) == {"transmit": 6000, "receive": 6000}
    assert third.bytes(name) == {"transmit": 6000, "receive": 6000}
    assert not third.rows_of(name)


def test_connections_older_than_the_agent_are_shown_but_never_counted_as_connects(
    start: Start, network: PrivateNetwork
) -> None:
    name = unique("obiold")
    held = network.start("hold", name, 4, 1000, 500)
    assert held.line() == "held"
    running = start()

    first = running.collect()
    held.go_on()
    assert held.line() == "sent"
    held.go_on()
    held.finish()
    second = running.collect()

    mine = first.rows_of(name)
    assert sorted(row.cells[1] for row in mine) == ["client"] * 4 + ["server"] * 4
    assert {row.cells[7] for row in mine} == {None}, "their age is not known"
    assert first.bytes(name) == {}
    assert second.bytes(name) == {"transmit": 2000, "receive": 2000}
    assert not second.outcomes(name, "client")
    assert not second.outcomes(name, "server")
    assert not second.histogram_count("obi.tcp.connection.duration", name)


def test_an_owner_is_a_process_by_pid_and_start_and_a_cgroup_by_id(start: Start, network: PrivateNetwork) -> None:
    host = this_host()
    controller = Path("/sys/fs/cgroup/memory") if host.memory_cgroup_v1() else host.cgroup2()
    assert controller is not None
    group = controller / f"obi-test-{os.getpid()}"
    group.mkdir()
    running = start()
    name = unique("obiown")
    held = network.start("hold", name, 1, 1, 1, group)
    try:
        assert held.line() == "held"
        (owner,) = {row.owner for row in running.collect().rows_of(name)}

        assert owner is not None
        assert owner.tgid == held.pid
        assert owner.start_ns // 10_000_000 == host.process_start_ticks(held.pid), "/proc counts in ticks of 10 ms"
        assert owner.cgroup_id == group.stat().st_ino
    finally:
        held.process.kill()
        held.process.wait()
        group.rmdir()


def test_connections_by_state_follow_what_is_open(start: Start, network: PrivateNetwork) -> None:
    running = start()

    def established() -> int:
        (value,) = [
            each.value
            for each in running.collect().observations
            if each.instrument.name == "obi.tcp.connections" and each.attributes["network.connection.state"] == "established"
        ]
        assert isinstance(value, int)
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
