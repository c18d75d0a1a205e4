"""All built-in probes in one agent: each sees its part of one workload, and what each saw adds up."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

pytestmark = pytest.mark.kernel(needs=("cap:bpf", "cap:perfmon", "cap:net_admin", "btf", "tracefs", "cgroup2"))

PROBES = ("limits", "network", "syscall", "tcp")
WORK = """
import ctypes, errno, os, resource, socket, sys
ctypes.CDLL(None).prctl(15, sys.argv[1].encode(), 0, 0, 0)
for _ in range(23):
    try: os.open("/no/such/file/anywhere", os.O_RDONLY)
    except FileNotFoundError: pass
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
    receiver.bind(("127.0.0.1", 0))
    for _ in range(17):
        sender.sendto(bytes(100), receiver.getsockname())
        receiver.recv(100)
with socket.create_server(("127.0.0.1", 0)) as server:
    for _ in range(13):
        with socket.create_connection(server.getsockname()):
            server.accept()[0].close()
fds = []
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
failed = 0
while failed < 11:
    try: fds.append(os.open("/dev/null", os.O_RDONLY))
    except OSError as error:
        assert error.errno == errno.EMFILE
        failed += 1
"""


def free_ports(count):
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in held]
    for each in held:
        each.close()
    return ports


@pytest.fixture
def agent():
    """`obi run` with everything that is built in; its metrics as {name: [(labels, value)]}."""
    metrics, health = free_ports(2)
    command = [sys.executable, "-m", "obi_core", "run", "--view", "off", "--interval", "500ms"]
    environment = {**os.environ, "OBI_HTTP__REQUIRED": ",".join(PROBES)}
    running = subprocess.Popen(
        [*command, "--metrics-listen", f"127.0.0.1:{metrics}", "--http-listen", f"127.0.0.1:{health}"], env=environment
    )

    def ready():
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{health}/ready", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False

    def read():
        with urllib.request.urlopen(f"http://127.0.0.1:{metrics}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        return {
            family.name: [(sample.labels, sample.value) for sample in family.samples]
            for family in text_string_to_metric_families(text)
        }

    try:
        until(ready)
        yield read
    finally:
        running.send_signal(signal.SIGTERM)
        assert running.wait(20) == 0


def until(true, seconds=20):
    end = time.monotonic() + seconds
    while not (last := true()):
        assert time.monotonic() < end
        time.sleep(0.1)
    return last


def total(metrics, name, **labels):
    """Sum of the series that have these labels."""
    return sum(value for found, value in metrics.get(name, ()) if labels.items() <= found.items())


def test_one_workload_is_seen_by_every_probe_exactly_and_every_account_balances(agent):
    name = f"obifour{os.getpid() % 100000}"
    subprocess.run([sys.executable, "-c", WORK, name], check=True, timeout=20)
    who = {"process_executable_name": name}

    udp = {"network_transport": "udp", **who}
    failed = {"process_syscall_name": "openat", **who}
    expected = {
        ("obi_tcp_connects", "network_tcp_handshake_role", "client"): 13,
        ("obi_tcp_connects", "network_tcp_handshake_role", "server"): 13,
        ("obi_network_packets", "network_io_direction", "transmit"): 17,
        ("obi_network_packets", "network_io_direction", "receive"): 17,
        ("obi_network_io_bytes", "network_io_direction", "receive"): 17 * 128,
        ("obi_syscall_errors", "error_type", "EMFILE"): 11,
        ("obi_limits_exhaustion", "error_type", "EMFILE"): 11,
    }

    def seen():
        now = agent()
        scopes = {"obi_network_packets": udp, "obi_network_io_bytes": udp, "obi_syscall_errors": failed}
        return {
            (name, label, value): total(now, name, **{label: value}, **scopes.get(name, who))
            for name, label, value in expected
        }

    # Each probe collects in its own time.
    until(lambda: all(seen().values()))
    assert seen() == expected
    assert total(agent(), "obi_syscall_errors", error_type="ENOENT", **failed) >= 23

    def balanced():
        events = {(labels["probe"], labels["outcome"]): value for labels, value in agent()["obi_probe_events"]}
        return all(
            events[probe, "seen"] > 0
            and events[probe, "seen"]
            == sum(events[probe, outcome] for outcome in ("exported", "filtered", "sampled_out", "lost"))
            for probe in PROBES
        )

    until(balanced)
