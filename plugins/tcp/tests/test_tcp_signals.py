"""Retransmits, resets, listen drops, round-trip times and events on the real kernel, against the kernel's own counters."""

import re
import subprocess
from pathlib import Path

import pytest

from obi_core.testing.seen import Seen

pytestmark = pytest.mark.kernel(needs=("cap:bpf", "cap:perfmon", "cap:net_admin", "btf", "tracefs", "cgroup2"))

RETRANSMITS = "obi.tcp.retransmits"
BY_TYPE = "network.tcp.retransmit.type"
BY_CAUSE = "network.tcp.reset.cause"


def inside(network, *command):
    """Run a command in the test's network namespace."""
    return subprocess.run(
        ["nsenter", f"--net=/proc/{network.pid}/ns/net", *command], check=True, capture_output=True, text=True, timeout=20
    ).stdout


def kernel_counter(network, file, group, name):
    """Read one counter of /proc/net/{snmp,netstat} in the namespace."""
    rows = [line.split() for line in Path(f"/proc/{network.pid}/net/{file}").read_text().splitlines()]
    names, values = (row for row in rows if row[0] == f"{group}:")
    return int(values[names.index(name)])


def settled(network, probe):
    """Collect while the kernel's count of retransmitted segments stands still; that count too."""
    for _ in range(20):
        before, seen = kernel_counter(network, "snmp", "Tcp", "RetransSegs"), Seen.of(probe)
        if before == kernel_counter(network, "snmp", "Tcp", "RetransSegs"):
            return seen, before
    raise AssertionError("segments are sent again all the time")


def sockets(network, port):
    """Read what ss says of the connection from one local port."""
    return inside(network, "ss", "-tinH", f"sport = :{port}")


@pytest.fixture
def lossy(network, tmp_path):
    """Drop every 50th large packet on the loopback device."""
    here = Path(__file__).parent
    program = tmp_path / "drop.bpf.o"
    headers = here.parents[2] / "bpf"
    compiled = ["clang", "-target", "bpf", "-O2", "-g", f"-I{headers}", "-c", here / "drop.bpf.c", "-o", program]
    subprocess.run(compiled, check=True, timeout=20)
    # Segments as they go over a wire: one packet each.
    inside(network, "ip", "link", "set", "lo", "gso_max_segs", "1", "mtu", "1500")
    inside(network, "tc", "qdisc", "add", "dev", "lo", "clsact")
    inside(
        network, "tc", "filter", "add", "dev", "lo", "ingress", "bpf", "direct-action", "object-file", program, "section", "tc"
    )


def test_a_syn_that_is_sent_again_counts_once_each(start, network, unique):
    probe, name = start(), unique("obisyn")
    network.run("timed-out", name, "4", 5)

    seen = Seen.of(probe)

    assert seen.counts(RETRANSMITS, name, by=BY_TYPE) == {"syn": 5}
    assert kernel_counter(network, "snmp", "Tcp", "RetransSegs") == 5


def test_a_syn_ack_that_is_sent_again_counts_for_the_listener(start, network, unique):
    probe, name = start(), unique("obihalf")
    step = network.start("half-open", name, 7)
    assert step.line() == "sent"
    for _ in range(200):
        if kernel_counter(network, "snmp", "Tcp", "RetransSegs") == 7:
            break
        inside(network, "sleep", "0.05")
    step.go_on()
    step.finish()

    assert Seen.of(probe).counts(RETRANSMITS, name, by=BY_TYPE) == {"syn_ack": 7}


def test_a_lost_last_segment_is_sent_again_by_a_tail_loss_probe(start, network, unique, lossy):
    probe, name = start(), unique("obitlp")
    step = network.start("ping-pong", name, 500, 1000)
    port = step.line()
    step.go_on()
    assert step.line() == "sent"

    seen, kernel = settled(network, probe)
    shown = sockets(network, port)
    (client,) = [row for row in seen.rows(name) if row.cells[1] == "client"]
    step.go_on()
    step.finish()

    assert seen.counts(RETRANSMITS, name, by=BY_TYPE) == {"tail_loss_probe": kernel}
    assert kernel >= 10, "every 50th of 500"
    assert f"retrans:0/{kernel}" in shown
    assert client.cells[6] == kernel


def test_without_tail_loss_probes_it_is_a_timeout(start, network, unique, lossy):
    probe, name = start(), unique("obirto")
    inside(network, "sh", "-c", "echo 0 >/proc/sys/net/ipv4/tcp_early_retrans")
    step = network.start("ping-pong", name, 500, 1000)
    step.line()
    step.go_on()
    assert step.line() == "sent"
    step.go_on()
    step.finish()

    seen, kernel = settled(network, probe)
    assert seen.counts(RETRANSMITS, name, by=BY_TYPE) == {"timeout": kernel}
    assert kernel >= 10


def test_losses_in_the_middle_of_a_stream_are_sent_again_fast_and_all_types_add_up_to_the_kernels_count(
    start, network, unique, lossy
):
    probe, name = start(), unique("obifast")
    step = network.start("ping-pong", name, 10, 300_000)
    step.line()
    step.go_on()
    assert step.line() == "sent"
    step.go_on()
    step.finish()

    seen, kernel = settled(network, probe)
    types = seen.counts(RETRANSMITS, name, by=BY_TYPE)
    assert sum(types.values()) == kernel
    assert types["fast"] >= 10


def test_resets_are_counted_each_way_with_their_cause(start, network, unique):
    probe = start()
    lingering, unread, refused = unique("obiling"), unique("obiunrd"), unique("obirfus")
    network.run("reset", lingering, 13)
    network.run("unread", unread, 11)
    network.run("refused", refused, "4", 7)

    seen = Seen.of(probe)
    sent = {"network_io_direction": "transmit"}
    received = {"network_io_direction": "receive"}

    assert sum(seen.counts("obi.tcp.resets", lingering, **sent).values()) == 13
    assert seen.counts("obi.tcp.resets", lingering, by=BY_CAUSE, **received) == {"by_peer": 13}
    assert sum(seen.counts("obi.tcp.resets", unread, **sent).values()) == 11
    assert seen.counts("obi.tcp.resets", unread, by=BY_CAUSE, **received) == {"by_peer": 11}
    assert seen.counts("obi.tcp.resets", refused, by=BY_CAUSE) == {"connect_refused": 7}
    assert kernel_counter(network, "snmp", "Tcp", "OutRsts") == 13 + 11 + 7


def test_a_full_accept_queue_drops_exactly_what_the_kernel_says(start, network, unique):
    probe, name = start(), unique("obifull")
    step = network.start("overflow", name, 9)
    assert step.line() == "full"

    while_open = Seen.of(probe).counts("obi.tcp.listen.drops", name)
    kernel = kernel_counter(network, "netstat", "TcpExt", "ListenDrops")
    step.go_on()
    step.finish()
    afterwards = Seen.of(probe).counts("obi.tcp.listen.drops", name)

    assert kernel == 9
    assert while_open == afterwards == {"": 9}


def test_a_port_of_listen_drops_is_opt_in(start, network, unique):
    probe, name = start(listen_port=True), unique("obiport")
    step = network.start("overflow", name, 3)
    assert step.line() == "full"
    (port,) = Seen.of(probe).counts("obi.tcp.listen.drops", name, by="server.port")
    step.go_on()
    step.finish()

    assert int(port) >= 1024


def test_round_trip_times_are_counted_live_and_agree_with_ss(start, network, unique):
    probe, name = start(rtt_every=1), unique("obirtt")
    step = network.start("ping-pong", name, 200, 100)
    port = step.line()
    step.go_on()
    assert step.line() == "sent"

    def rtt():
        return re.findall(r" rtt:([0-9.]+)/", sockets(network, port))

    # The acknowledgement of the last segment comes late and moves it once more.
    before, seen = None, None
    while before != rtt():
        before, seen = rtt(), Seen.of(probe)
    (rtt_ms,) = before
    (client,) = [row for row in seen.rows(name) if row.cells[1] == "client"]
    step.go_on()
    step.finish()

    assert client.cells[3] == pytest.approx(float(rtt_ms) / 1000, abs=1e-6), "the view shows what ss shows"
    assert seen.durations("obi.tcp.rtt", name, network_tcp_handshake_role="client") >= 100
    buckets = seen.buckets("obi.tcp.rtt", name)
    last_s = float(rtt_ms) / 1000
    assert any(2 ** (index / 4) < last_s * 1.05 and last_s * 0.95 <= 2 ** ((index + 1) / 4) for index in buckets)


def test_sampled_round_trip_times_stand_for_all(start, network, unique):
    probe, name = start(rtt_every=4), unique("obismpl")
    step = network.start("ping-pong", name, 4000, 100)
    step.line()
    step.go_on()
    assert step.line() == "sent"
    sampled = Seen.of(probe).durations("obi.tcp.rtt", name, network_tcp_handshake_role="client")
    step.go_on()
    step.finish()

    assert sampled % 4 == 0
    # 4,000 measurements at one in four: six standard deviations are 660.
    assert abs(sampled - 4000) < 660


def test_failed_connects_a_sample_of_connections_and_resets_are_told_one_by_one(start, network, unique):
    probe, name = start(span_every=1, events_per_s=1000), unique("obitell")
    network.run("refused", name, "4", 7)
    network.run("reset", name, 3)

    seen = Seen.of(probe)
    connects, connections = seen.spans(name, "tcp connect"), seen.spans(name, "tcp connection")

    assert [span.error_type for span in connects] == ["refused"] * 7
    assert len(connections) == 6, "both ends of three"
    assert all(0 <= span.end_ns - span.start_ns < 10**10 for span in (*connects, *connections))
    assert {span.attributes["network.peer.address"] for span in connects} == {"127.0.0.1"}
    # each reset is told by the socket that sent it and the socket that got it; a refused connect got one too
    assert len(seen.events(name, "obi.tcp.reset")) == 3 + 3 + 7


@pytest.mark.compiled
def test_a_slow_connect_is_told_and_a_quick_one_is_not(start, network, unique):
    quick, slow = unique("obiquik"), unique("obislow")
    probe = start(slow_connect_s=60, span_every=0, events_per_s=10_000)
    network.run("reset", quick, 5)
    assert not Seen.of(probe).spans(quick, "tcp connect")

    probe.bpf.tune("tcp_slow_ns", 1)
    network.run("reset", slow, 5)
    assert [span.error_type for span in Seen.of(probe).spans(slow, "tcp connect")] == [""] * 5


def test_events_beyond_the_limit_are_counted_not_told(start, network, unique):
    probe, name = start(span_every=0, events_per_s=4), unique("obilimt")
    before = Seen.of(probe).losses()["events_limited"]
    network.run("refused", name, "4", 200)

    seen = Seen.of(probe)
    told = len(seen.spans(name, "tcp connect")) + len(seen.events(name, "obi.tcp.reset"))

    # a refused connect is a span and an event of a reset
    assert 4 <= told < 100
    assert told + seen.losses()["events_limited"] - before >= 400


def test_a_full_table_of_sockets_is_counted(start, network, unique):
    probe, name = start(max_sockets=64), unique("obimany")
    held = network.start("hold", name, 100, 1, 1)
    assert held.line() == "held"
    seen = Seen.of(probe)
    held.go_on()
    assert held.line() == "sent"
    held.go_on()
    held.finish()

    assert len(seen.rows(name)) <= 64
    assert len(seen.rows(name)) + seen.losses()["sockets_full"] >= 200
