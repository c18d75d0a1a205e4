"""The tcp probe's mode without BPF on the real kernel, in a private network namespace: exact numbers."""

import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from obi_core.testing.live import this_host
from obi_core.testing.netns import PrivateNetwork, Step
from obi_plugin_tcp.without_bpf.owners import Owners

STEPS = Path(__file__).with_name("netlink_steps.py")
NAME = f"obinl{os.getpid() % 100000}"


@dataclass
class Seen:
    """What one collection gave."""

    observations: list[dict]
    rows: list[dict]

    def total(self, instrument: str, **attributes: str) -> int:
        wanted = {key.replace("_", "."): value for key, value in attributes.items()}
        found = [x for x in self.observations if x["name"] == instrument and wanted.items() <= x["attributes"].items()]
        return sum(each["value"] for each in found)

    def bytes(self, name: str | None) -> dict[str, int]:
        found: Counter[str] = Counter()
        for each in self.observations:
            if each["name"] == "obi.tcp.io" and (each["owner"] and each["owner"][3]) == name:
                found[each["attributes"]["network.io.direction"]] += each["value"]
        return dict(found)

    def connects(self) -> dict[tuple[str, str], int]:
        return {
            (each["attributes"]["network.tcp.handshake.role"], each["attributes"].get("error.type", "")): each["value"]
            for each in self.observations
            if each["name"] == "obi.tcp.connects"
        }

    def states(self) -> dict[str, int]:
        return {
            each["attributes"]["network.connection.state"]: each["value"]
            for each in self.observations
            if each["name"] == "obi.tcp.connections" and each["value"]
        }

    def retransmits(self) -> dict[str, int]:
        return {
            each["attributes"]["network.tcp.retransmit.type"]: each["value"]
            for each in self.observations
            if each["name"] == "obi.tcp.retransmits" and each["value"]
        }


@dataclass
class Watching:
    """The mode, running in the private network namespace."""

    step: Step

    def collect(self) -> Seen:
        self.step.go_on()
        return Seen(**json.loads(self.step.line()))


def here(network: PrivateNetwork) -> PrivateNetwork:
    """The same namespace, for the steps of the mode without BPF."""
    return replace(network, script=STEPS)


def watch(network: PrivateNetwork) -> Watching:
    step = here(network).start("watch")
    assert step.line() == "ready"
    return Watching(step)


def as_nobody(network: PrivateNetwork, *step: object) -> Step:
    """Start a step as a user without any capability."""
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"]
    command = ["nsenter", f"--net=/proc/{network.pid}/ns/net", *nobody, sys.executable, str(network.script), *map(str, step)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    network._open.enter_context(process)
    network._open.callback(process.kill)
    return Step(process)


def counters(network: PrivateNetwork) -> dict[str, int]:
    return json.loads(here(network).start("counters").line())


@pytest.mark.kernel(needs=("cap:sys_admin", "cap:net_admin"))
class TestInANetworkNamespace:
    def test_each_end_of_a_connect_is_counted_exactly(self, network: PrivateNetwork) -> None:
        watching = watch(network)
        assert watching.collect().connects() == {("client", ""): 0, ("client", "_OTHER"): 0, ("server", ""): 0}
        server = network.start("serve", NAME, "4", 23, 100, 10)
        network.run("connect", NAME, "4", server.line(), 23, 100, 10)
        server.finish()
        network.run("refused", NAME, "4", 7)
        network.run("refused", NAME, "6", 4)
        network.run("timed-out", NAME, "4", 5)

        assert watching.collect().connects() == {("client", ""): 23, ("client", "_OTHER"): 16, ("server", ""): 23}

    def test_a_connect_without_an_answer_yet_counts_when_it_has_one(self, network: PrivateNetwork) -> None:
        watching = watch(network)
        waiting = here(network).start("pending", NAME, 6)
        assert waiting.line() == "pending"
        during = watching.collect()
        waiting.go_on()
        waiting.finish()
        after = watching.collect()

        assert during.connects() == {("client", ""): 0, ("client", "_OTHER"): 0, ("server", ""): 0}
        assert during.states() == {"syn_sent": 6}
        # What the mode says it loses: what the caller gives up counts as a success.
        assert after.connects() == {("client", ""): 6, ("client", "_OTHER"): 0, ("server", ""): 0}

    def test_a_reset_of_a_half_open_connection_is_no_failed_connect_of_a_client(self, network: PrivateNetwork) -> None:
        before = counters(network)
        watching = watch(network)
        here(network).run("half-open", 9)
        after = counters(network)

        assert after["Tcp:AttemptFails"] - before["Tcp:AttemptFails"] == 9
        seen = watching.collect()
        assert seen.connects() == {("client", ""): 0, ("client", "_OTHER"): 0, ("server", ""): 0}
        assert seen.total("obi.tcp.resets") == after["Tcp:OutRsts"] - before["Tcp:OutRsts"] == 9

    def test_bytes_states_and_rows_of_open_connections_are_exact(self, network: PrivateNetwork) -> None:
        watching = watch(network)
        held = network.start("hold", NAME, 4, 1000, 500)
        assert held.line() == "held"
        first = watching.collect()
        held.go_on()
        assert held.line() == "sent"
        second = watching.collect()
        held.go_on()
        held.finish()
        third = watching.collect()

        assert first.bytes(NAME) == {"transmit": 4000, "receive": 4000}
        assert second.bytes(NAME) == third.bytes(NAME) == {"transmit": 6000, "receive": 6000}
        assert first.states() == second.states() == {"established": 8, "listen": 1}
        assert third.states() == {}
        assert sorted(row["cells"][1] for row in first.rows) == ["client"] * 4 + ["server"] * 4
        assert {(row["owner"], row["cells"][2], row["cells"][6], row["cells"][7]) for row in second.rows} == {
            (NAME, "established", 0, None)
        }
        assert sorted(row["cells"][4:6] for row in second.rows) == [[0, 1500]] * 4 + [[1500, 0]] * 4
        assert third.rows == []
        # a handshake is a measurement for both ends, then only clients send
        assert self.measurements(first) == {"client": 4, "server": 4}
        assert self.measurements(third) == {"client": 8, "server": 4}

    @staticmethod
    def measurements(seen: Seen) -> dict[str, int]:
        found: Counter[str] = Counter()
        for each in seen.observations:
            if each["name"] == "obi.tcp.rtt":
                assert each["attributes"]["network.type"] == "ipv4"
                found[each["attributes"]["network.tcp.handshake.role"]] += sum(each["value"][:-1])
        return dict(found)

    def test_what_was_carried_before_the_start_is_not_counted(self, network: PrivateNetwork) -> None:
        held = network.start("hold", NAME, 3, 1000, 500)
        assert held.line() == "held"
        watching = watch(network)
        first = watching.collect()
        held.go_on()
        assert held.line() == "sent"
        second = watching.collect()

        assert first.bytes(NAME) == {}
        assert first.connects()["server", ""] == 0
        assert second.bytes(NAME) == {"transmit": 1500, "receive": 1500}

    def test_a_fin_is_no_byte_and_a_half_closed_connection_is_in_its_two_states(self, network: PrivateNetwork) -> None:
        watching = watch(network)
        half = here(network).start("half-closed", NAME, 777)
        assert half.line() == "half"

        seen = watching.collect()

        assert seen.bytes(NAME) == {"transmit": 777, "receive": 777}
        assert seen.states() == {"listen": 1, "fin_wait_2": 1, "close_wait": 1}

    def test_bytes_wait_until_somebody_accepts(self, network: PrivateNetwork) -> None:
        watching = watch(network)
        waiting = here(network).start("unaccepted", NAME, 55)
        assert waiting.line() == "sent"
        first = watching.collect()
        waiting.go_on()
        assert waiting.line() == "accepted"
        second = watching.collect()

        assert first.bytes(NAME) == {"transmit": 55}
        assert second.bytes(NAME) == {"transmit": 55, "receive": 55}

    def test_an_owner_is_a_process_by_pid_and_start_and_a_cgroup_by_id(self, network: PrivateNetwork) -> None:
        host = this_host()
        controller = Path("/sys/fs/cgroup/memory") if host.memory_cgroup_v1() else host.cgroup2()
        assert controller is not None
        group = controller / f"obi-netlink-{os.getpid()}"
        group.mkdir()
        watching = watch(network)
        held = network.start("hold", NAME, 1, 1, 1, group)
        try:
            assert held.line() == "held"
            owners = {tuple(each["owner"]) for each in watching.collect().observations if each["name"] == "obi.tcp.io"}
            ticks = host.process_start_ticks(held.pid)

            assert ticks is not None
            assert owners == {(held.pid, ticks * 1_000_000_000 // os.sysconf("SC_CLK_TCK"), group.stat().st_ino, NAME)}
        finally:
            held.process.kill()
            held.process.wait()
            group.rmdir()

    def test_drops_of_a_listener_are_the_kernels_listen_drops(self, network: PrivateNetwork) -> None:
        at_start = counters(network)
        watching = watch(network)
        step = here(network).start("overflow", NAME, 5)
        port = int(step.line())
        assert step.line() == "overflown"
        while True:
            before, seen, after = counters(network), watching.collect(), counters(network)
            if before == after:  # no client tried again meanwhile
                break

        dropped = after["TcpExt:ListenDrops"] - at_start["TcpExt:ListenDrops"]
        assert seen.total("obi.tcp.listen.drops") == dropped >= 4
        (drops,) = [each for each in seen.observations if each["name"] == "obi.tcp.listen.drops"]
        assert drops["attributes"] == {"server.port": port}
        assert drops["owner"][3] == NAME

    def test_retransmits_have_their_type_and_add_up_to_the_kernels_sum(self, network: PrivateNetwork) -> None:
        before = counters(network)
        watching = watch(network)
        network.run("timed-out", NAME, "4", 3)
        first = watching.collect()
        here(network).run("lossy", NAME, 4)
        second = watching.collect()
        after = counters(network)

        grown = {name: after[name] - before[name] for name in after}
        assert first.retransmits() == {"syn": 3}
        assert grown["TcpExt:TCPLossProbes"] == 1
        assert grown["Tcp:RetransSegs"] >= 3 + 4
        assert second.retransmits() == {"syn": 3, "tail_loss_probe": 1, "timeout": grown["Tcp:RetransSegs"] - 3 - 1}

    def test_any_user_sees_all_sockets_and_the_owners_of_its_own(self, network: PrivateNetwork) -> None:
        watching = Watching(as_nobody(here(network), "watch"))
        assert watching.step.line() == "ready"
        mine = as_nobody(network, "hold", f"{NAME}a", 2, 100, 1)
        others = network.start("hold", f"{NAME}b", 3, 100, 1)
        assert mine.line() == others.line() == "held"

        seen = watching.collect()

        assert seen.states() == {"established": 10, "listen": 2}
        assert seen.bytes(f"{NAME}a") == {"transmit": 200, "receive": 200}
        assert seen.bytes(f"{NAME}b") == {}
        nameless = "" if Owners(Path("/proc")).v2 else None  # with cgroup v2 at least the container is known
        assert seen.bytes(nameless) == {"transmit": 300, "receive": 300}
