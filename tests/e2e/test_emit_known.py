"""`obi emit-known`: what it did in the kernel is, number for number, what a running agent shows of its process."""

import json
import re
import signal
import socket
import time
import urllib.request
from pathlib import Path

import pytest

NEEDS = ("cap:bpf", "cap:perfmon", "cap:net_admin", "btf")
FLAGS = ("--connections", "31", "--refused", "3", "--resets", "2", "--calls", "97", "--datagrams", "41", "--size", "77")


@pytest.fixture
def agent(start_obi):
    """Where a running agent's metrics are."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    metrics, health = (each.getsockname()[1] for each in held)
    for each in held:
        each.close()
    flags = ("--http-listen", f"127.0.0.1:{health}", "--metrics-listen", f"127.0.0.1:{metrics}")
    process = start_obi("run", "--interval", "500ms", "--view", "lines", *flags)
    attached = set()
    while len(attached) < 4:
        line = process.stderr.readline()
        assert line, "the agent has ended"
        attached |= set(re.findall(r"probe (\w+): attached", line))
    return f"127.0.0.1:{metrics}"


def series_of(address, process):
    """What /metrics has of a process: value by name and the other labels."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    found = {}
    for name, labels, value in re.findall(r"^(\w+)\{(.*)\} (\S+)$", text, re.MULTILINE):
        pairs = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        if pairs.pop("process_executable_name", "") == process:
            found[name, frozenset(pairs.items())] = found.get((name, frozenset(pairs.items())), 0) + float(value)
    return found


def shown(series, row):
    name = row["name"].replace(".", "_")
    wanted = {key.replace(".", "_"): value for key, value in row["attributes"].items()}
    return sum(
        value
        for (each, pairs), value in series.items()
        if each in {f"{name}_total", f"{name}_bytes_total"}
        and all(dict(pairs).get(key, "") == text for key, text in wanted.items())
    )


@pytest.mark.kernel(needs=NEEDS)
def test_every_number_is_the_one_that_a_running_agent_shows(obi, agent):
    done = obi("emit-known", *FLAGS, "--run-id", "e2e7", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["process"] == "known-e2e7"
    rows = [row for row in told["expected"] if row["signal"] == "metrics"]
    assert [(row["name"], row["value"]) for row in rows] == [
        ("obi.tcp.connects", 33),
        ("obi.tcp.connects", 33),
        ("obi.tcp.connects", 3),
        ("obi.tcp.resets", 2),
        ("obi.syscall.errors", 97),
        ("obi.network.packets", 41),
        ("obi.network.io", 41 * (77 + 28)),
        ("obi.network.packets", 41),
        ("obi.network.io", 41 * (77 + 28)),
    ]
    until = time.monotonic() + 20
    counted = []
    while time.monotonic() < until and counted != [row["value"] for row in rows]:
        time.sleep(0.2)
        counted = [shown(series_of(agent, "known-e2e7"), row) for row in rows]
    assert counted == [row["value"] for row in rows]


def test_without_json_each_kind_is_a_line(obi):
    done = obi("emit-known", *FLAGS, "--resets", "0", "--run-id", "lines")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.sub(r"[0-9.]+ s$", "N s", done.stdout.strip()).splitlines() == [
        "connections 31: made, accepted, closed",
        "refused 3: connects that nobody listened for",
        "calls 97: openat, ENOENT",
        "datagrams 41: of 77 bytes, sent and received",
        "by process known-lines in N s",
    ]


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (("--calls", "many"), "--calls: 'many' is not allowed; it must be a whole number from 0 to 1000000"),
        (("--connections", "20001"), "--connections: '20001' is not allowed; it must be a whole number from 0 to 20000"),
        (("--size", "-1"), "--size: '-1' is not allowed; it must be a whole number from 0 to 1400"),
        (("--rate", "fast"), "--rate: 'fast' is not allowed; it must be a number from 0 to 1000000"),
        (("--rate", "nan"), "--rate: 'nan' is not allowed; it must be a number from 0 to 1000000"),
        (("--run-id", "no spaces"), "--run-id: 'no spaces' is not allowed; it must be 1 to 8 of a-z and 0-9"),
        (("--run-id", "a" * 9), "--run-id: 'aaaaaaaaa' is not allowed; it must be 1 to 8 of a-z and 0-9"),
        (("--calls", "1000", "--rate", "1"), "that takes 1078 s, and at most 600 s are allowed; ask for less of it"),
    ],
)
def test_what_is_out_of_bounds_is_one_line_and_nothing_is_done(obi, flags, complaint):
    done = obi("emit-known", *flags)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"obi: {complaint}\n")


def test_who_asks_is_stopped_with_its_child(start_obi):
    process = start_obi("emit-known", "--calls", "100000", "--rate", "200", "--run-id", "stopped")
    child = None
    while child is None and process.poll() is None:
        listed = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
        child = next(iter(listed.split()), None)
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    until = time.monotonic() + 20
    while running(child):
        assert time.monotonic() < until
        time.sleep(0.05)


def running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
