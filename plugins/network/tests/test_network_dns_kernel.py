"""DNS on the real kernel: a server of our own answers in a known way, after a known time."""

import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from obi_core import Observation
from obi_core.testing.netns import private_network
from obi_core.testing.seen import Seen
from obi_plugin_network.settings import NetworkSettings

pytestmark = pytest.mark.kernel(needs=("cap:bpf", "cap:net_admin", "cap:perfmon", "btf", "cgroup2", "tracefs"))

DURATION = "obi.network.dns.duration"
A, MX, TXT, AAAA, HTTPS, UNKNOWN = 1, 15, 16, 28, 65, 999


@pytest.fixture
def network():
    with private_network(Path(__file__).with_name("dns_steps.py")) as made:
        yield made


@pytest.fixture(params=["4", "6"], ids=["ipv4", "ipv6"])
def kind(request):
    return request.param


@pytest.fixture
def serve(network, unique):
    def go(kind, name="obidnssrv"):
        server = network.start("serve", unique(name), kind)
        assert server.line() == "serving"
        return unique(name)

    return go


def outcomes(seen, comm, attribute="dns.question.type"):
    """Durations of one process name, by one attribute and `error.type`."""
    found = Counter()
    for each in seen.yielded:
        if isinstance(each, Observation) and each.instrument.name == DURATION and each.owner.comm == comm:
            found[each.attributes.get(attribute, ""), each.attributes.get("error.type", "")] += sum(each.value[:-1])
    return found


def anomalies(seen, comm):
    return seen.counts("obi.network.dns.anomalies", comm, by="error.type")


def until(probe, done):
    """Collect until it is so; the time that a timeout takes passes meanwhile."""
    for _ in range(200):
        seen = Seen.of(probe)
        if done(seen):
            return seen
        time.sleep(0.05)
    return seen


def bracket(low_ns, high_ns):
    """Indices of all buckets that a duration between two times can be in."""
    return {index for index in range(-100, 40) if 2 ** ((index + 1) / 4) >= low_ns / 1e9 and 2 ** (index / 4) < high_ns / 1e9}


def test_types_and_codes_are_counted_exactly_at_the_client_and_never_at_the_server(start, network, serve, kind, unique):
    probe = start()
    server, client = serve(kind), unique("obidns")
    for count, record, name in (
        (23, A, "fine.test"),
        (19, AAAA, "fine.test"),
        (5, MX, "fine.test"),
        (3, TXT, "fine.test"),
        (2, HTTPS, "fine.test"),
        (7, UNKNOWN, "fine.test"),
        (17, A, "nxdomain.test"),
        (13, AAAA, "servfail.test"),
        (11, A, "refused.test"),
        (3, A, "formerr.test"),
        (2, A, "notimp.test"),
        (5, A, "strange.test"),
    ):
        network.run("ask", client, kind, count, record, name)
    seen = Seen.of(probe)

    assert outcomes(seen, client) == {
        ("A", ""): 23,
        ("AAAA", ""): 19,
        ("MX", ""): 5,
        ("TXT", ""): 3,
        ("HTTPS", ""): 2,
        ("_OTHER", ""): 7,
        ("A", "nx_domain"): 17,
        ("AAAA", "server_failure"): 13,
        ("A", "refused"): 11,
        ("A", "format_error"): 3,
        ("A", "not_implemented"): 2,
        ("A", "_OTHER"): 5,
    }
    assert anomalies(seen, client) == {}
    assert outcomes(seen, server) == {}
    assert anomalies(seen, server) == {}


@pytest.mark.parametrize("delay_ms", [5, 60])
def test_a_latency_is_between_the_servers_delay_and_what_the_client_waited(start, network, serve, kind, delay_ms, unique):
    probe = start()
    serve(kind)
    client = unique("obislow")
    running = network.start("ask", client, kind, 11, A, f"delay{delay_ms}.test")
    _, longest_ns = map(int, running.line().split())
    assert running.line() == "done"

    counted = Seen.of(probe).buckets(DURATION, client)

    assert sum(counted.values()) == 11
    assert set(counted) <= bracket(delay_ms * 1e6, longest_ns)


def test_questions_without_an_answer_are_timeouts_each_once_with_the_time_waited(start, network, serve, kind, unique):
    probe = start(dns_timeout_s=0.3)
    serve(kind)
    client = unique("obisilent")
    network.run("ask", client, kind, 31, AAAA, "silent.test", 0)
    first = Seen.of(probe)
    last = until(probe, lambda seen: outcomes(seen, client))
    again = Seen.of(probe)

    assert outcomes(last, client) == {("AAAA", "timeout"): 31} == outcomes(again, client), f"before: {outcomes(first, client)}"
    (row,) = [
        each.value
        for each in last.yielded
        if isinstance(each, Observation) and each.instrument.name == DURATION and each.owner.comm == client
    ]
    assert row[-1] == 31 * 300_000_000


def test_an_answer_that_comes_too_late_is_a_timeout(start, network, serve, kind, unique):
    probe = start(dns_timeout_s=0.02)
    serve(kind)
    client = unique("obilate")
    network.run("ask", client, kind, 5, A, "delay60.test")
    seen = Seen.of(probe)

    assert outcomes(seen, client) == {("A", "timeout"): 5}
    assert anomalies(seen, client) == {}


def test_a_number_that_is_used_again_after_its_time_is_two_questions(start, network, serve, kind, unique):
    probe = start(dns_timeout_s=0.02)
    serve(kind)
    client = unique("obiagain")
    network.run("late", client, kind, 60)
    probe.retune(NetworkSettings(dns_timeout_s=5))
    seen = Seen.of(probe)

    assert outcomes(seen, client) == {("A", "timeout"): 1, ("AAAA", ""): 1}


def test_a_question_asked_again_is_one_question_and_its_further_answers_answer_nothing(start, network, serve, kind, unique):
    probe = start()
    serve(kind)
    client = unique("obiinsist")
    network.run("insist", client, kind, 4, "delay60.test")
    network.run("ask", client, kind, 3, A, "twice.test", 2)
    seen = Seen.of(probe)

    assert outcomes(seen, client) == {("A", ""): 4}
    assert anomalies(seen, client) == {"retransmitted": 3, "unexpected": 3 + 3}


def test_truncated_answers_edns_and_answers_without_their_question_upset_nothing(start, network, serve, kind, unique):
    probe = start()
    serve(kind)
    client = unique("obiodd")
    network.run("ask", client, kind, 3, A, "truncated.test")
    network.run("ask", client, kind, 5, A, "edns.test", 1, "edns")
    network.run("ask", client, kind, 7, A, "bare.test")
    network.run("ask", client, kind, 2, A, "broken.test")
    seen = Seen.of(probe)

    assert outcomes(seen, client) == {("A", ""): 8, ("A", "server_failure"): 7}
    assert anomalies(seen, client) == {"malformed": 2}


def test_random_bytes_to_the_port_are_malformed_each_of_them(start, network, unique):
    probe = start()
    client = unique("obinoise")
    network.run("noise", client, 997, 4)
    seen = Seen.of(probe)

    assert anomalies(seen, client) == {"malformed": 997}
    assert outcomes(seen, client) == {}


def test_answers_that_nobody_asked_for_are_unexpected(start, network, unique):
    probe = start()
    client = unique("obispoof")
    network.run("uninvited", client, 13)

    assert anomalies(Seen.of(probe), client) == {"unexpected": 13}


def test_names_are_kept_on_demand_in_small_letters_by_their_last_labels(start, network, serve, unique):
    probe = start(dns_names=True)
    serve("4")
    client = unique("obiname")
    network.run("ask", client, "4", 3, A, "Fine.Example.ORG")
    network.run("ask", client, "4", 2, A, "fine.example.org")
    network.run("ask", client, "4", 5, A, "fine." + "x" * 40 + "." + "y" * 30 + ".example.org")

    assert outcomes(Seen.of(probe), client, "dns.question.name") == {
        ("fine.example.org", ""): 5,
        ("y" * 30 + ".example.org", ""): 5,
    }


def test_names_without_room_still_count_and_are_counted_as_lost(start, network, serve, unique):
    probe = start(dns_names=True, max_dns_rows=16)
    serve("4")
    client = unique("obimany")
    network.run("ask", client, "4", 1, A, "fine.test")
    for number in range(29):
        network.run("ask", client, "4", 1, A, f"fine{number}.test")
    seen = Seen.of(probe)

    assert seen.durations(DURATION, client) + seen.losses()["dns_answers_full"] == 30
    assert seen.losses()["dns_names_full"] + seen.losses()["dns_answers_full"] >= 30 - 16


def test_questions_beyond_the_table_are_counted_as_lost(start, network, serve, unique):
    probe = start(max_dns_questions=16, dns_timeout_s=0.3)
    serve("4")
    client = unique("obifull")
    network.run("ask", client, "4", 23, A, "silent.test", 0)
    seen = until(probe, lambda seen: outcomes(seen, client))

    assert outcomes(seen, client)["A", "timeout"] + seen.losses()["dns_questions_full"] == 23
    assert seen.losses()["dns_questions_full"] >= 7


def test_it_can_be_turned_off(start, network, serve, unique):
    probe = start(dns=False)
    serve("4")
    client = unique("obioff")
    network.run("ask", client, "4", 3, A, "fine.test")
    network.run("noise", client, 7, 4)
    seen = Seen.of(probe)

    assert outcomes(seen, client) == {}
    assert anomalies(seen, client) == {}


def test_sampled_packets_leave_dns_exact(start, network, serve, unique):
    probe = start(sample_every=1000)
    serve("4")
    client = unique("obiexact")
    network.run("ask", client, "4", 101, A, "fine.test")

    assert outcomes(Seen.of(probe), client) == {("A", ""): 101}


def test_anomalies_beyond_the_table_are_counted_as_lost(start, network, unique):
    probe = start(max_dns_anomalies=16)
    names = [unique(f"obi{number}x") for number in range(23)]
    for name in names:
        network.run("noise", name, 3, 4)
    seen = Seen.of(probe)

    counted = sum(sum(anomalies(seen, name).values()) for name in names)
    assert counted + seen.losses()["dns_anomalies_full"] >= 23 * 3
    assert counted <= 16 * 3


def test_at_an_interface_questions_and_answers_find_each_other_by_their_addresses(start, unique):
    probe = start(interfaces=("lo",))
    script, client = Path(__file__).with_name("dns_steps.py"), unique("obidnstc")
    command = [sys.executable, str(script), "serve", unique("obidnssrv"), "h"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == "serving\n"
            for count, name in ((23, "fine.test"), (7, "nxdomain.test")):
                subprocess.run([sys.executable, str(script), "ask", client, "h", str(count), str(A), name], check=True)
        finally:
            server.kill()
    seen = Seen.of(probe)

    assert outcomes(seen, client) == {("A", ""): 23, ("A", "nx_domain"): 7}
    assert anomalies(seen, client) == {}
