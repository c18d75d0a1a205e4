"""The main job: `obi run` without arguments or backend shows this machine's TCP connections, by process."""

import fcntl
import os
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from obi_core.testing.otlp import OtlpReceiver

pytestmark = pytest.mark.kernel(needs=("cap:bpf", "cap:perfmon", "btf"))

CONNECT = """
import ctypes, socket, sys
name, count = sys.argv[1], int(sys.argv[2])
ctypes.CDLL(None).prctl(15, name.encode(), 0, 0, 0)
with socket.create_server(("127.0.0.1", 0)) as server:
    for _ in range(count):
        with socket.create_connection(server.getsockname()) as client:
            peer, _ = server.accept()
            client.sendall(bytes(1000))
            while client.getsockname() and len(peer.recv(1000, socket.MSG_WAITALL)) < 1000: pass
            peer.close()
    if len(sys.argv) > 3:
        client = socket.create_connection(server.getsockname())
        peer, _ = server.accept()
        print("open", flush=True)
        sys.stdin.readline()
"""


@pytest.fixture
def ports():
    taken = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    numbers = [each.getsockname()[1] for each in taken]
    for each in taken:
        each.close()
    return numbers


def flags(ports):
    health, metrics = ports
    return ("--http-listen", f"127.0.0.1:{health}", "--metrics-listen", f"127.0.0.1:{metrics}")


def get(port, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
        return answer.read().decode()


def wait_until(condition, what, deadline_s=15):
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        try:
            if found := condition():
                return found
        except OSError:
            pass
        time.sleep(0.05)
    raise AssertionError(f"never: {what}")


def connect(name, count):
    subprocess.run([sys.executable, "-c", CONNECT, name, str(count)], check=True, timeout=20)


def samples(text, name, **labels):
    """Sum of the samples of one name whose labels include these."""
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def test_the_agent_counts_known_connections_and_ends_cleanly_on_sigterm(start_obi, ports):
    agent = start_obi("run", "--interval", "1s", *flags(ports), OBI_HTTP__REQUIRED="tcp")
    wait_until(lambda: get(ports[0], "/ready"), "ready")
    first = get(ports[1], "/metrics")
    name = f"obimain{os.getpid() % 100000}"
    connect(name, 23)

    text = wait_until(
        lambda: (page := get(ports[1], "/metrics")) and name in page and page,
        "the workload's name on /metrics",
    )
    wait_until(
        lambda: samples(get(ports[1], "/metrics"), "obi_tcp_io_bytes_total", process_executable_name=name) == 46000,
        "23,000 bytes sent and received",
    )

    assert samples(first, "obi_tcp_connects_total", process_executable_name=name) == 0
    assert 'obi_tcp_connects_total{network_tcp_handshake_role="client"}' in first, (
        "headline series exist from the first scrape"
    )
    text = get(ports[1], "/metrics")
    role = "network_tcp_handshake_role"
    assert samples(text, "obi_tcp_connects_total", process_executable_name=name, **{role: "client"}) == 23
    assert samples(text, "obi_tcp_connects_total", process_executable_name=name, **{role: "server"}) == 23
    assert samples(text, "obi_tcp_connection_duration_seconds_count", process_executable_name=name) == 46

    agent.send_signal(signal.SIGTERM)
    out, err = agent.communicate(timeout=15)
    assert agent.returncode == 0, err
    assert "Traceback" not in err
    lines = [line for line in out.splitlines() if "connect" in line]
    assert lines, "not on a terminal there is one line per interval"


def test_a_terminal_shows_the_process_and_its_peer_in_a_table_that_is_redrawn_in_place(ports):
    name = f"obitty{os.getpid() % 100000}"
    holder = subprocess.Popen(
        [sys.executable, "-c", CONNECT, name, "1", "hold"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "open\n"
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 140, 0, 0))
    agent = subprocess.Popen(
        [sys.executable, "-m", "obi_core", "run", *flags(ports)],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env={**os.environ, "TERM": "xterm-256color"},
    )
    os.close(slave)
    seen = b""
    end = time.monotonic() + 20
    try:
        while seen.count(name.encode()) < 4 and time.monotonic() < end:
            if select.select([master], [], [], 0.2)[0]:
                seen += os.read(master, 65536)
        agent.send_signal(signal.SIGINT)
        while agent.poll() is None and time.monotonic() < end + 10:
            if select.select([master], [], [], 0.2)[0]:
                try:
                    seen += os.read(master, 65536)
                except OSError:
                    break
        assert agent.wait(timeout=10) == 0
    finally:
        agent.kill()
        agent.wait()
        os.close(master)
        holder.kill()
        holder.communicate()

    text = re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", seen).decode(errors="replace")
    assert seen.count(name.encode()) >= 4, text[-2000:]
    assert re.search(rf"{name}.*127\.0\.0\.1:\d+.*established", text), text[-2000:]
    assert b"\x1b[?25h" in seen, "the cursor is given back"


def test_metrics_reach_an_otlp_backend_that_is_named_on_the_command_line(start_obi, ports):
    name = f"obiotlp{os.getpid() % 100000}"
    with OtlpReceiver() as receiver:
        command = ("run", "--interval", "1s", "--otlp-endpoint", receiver.http)
        agent = start_obi(*command, *flags(ports), OBI_HTTP__REQUIRED="tcp")
        wait_until(lambda: get(ports[0], "/ready"), "ready")
        connect(name, 7)
        agent.send_signal(signal.SIGTERM)
        _, err = agent.communicate(timeout=15)
        assert agent.returncode == 0, err
        points = receiver.points()["obi.tcp.connects"]

    mine = {
        dict(labels)["network.tcp.handshake.role"]: value for labels, value in points.items() if name in dict(labels).values()
    }
    assert mine == {"client": 7, "server": 7}
