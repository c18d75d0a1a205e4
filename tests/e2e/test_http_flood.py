"""Ten thousand connections to a real agent, slow, oversized and malformed ones: its loop and its memory hardly notice."""

import json
import selectors
import socket
import time
import urllib.request
from collections import Counter
from contextlib import suppress

import pytest

CONNECTIONS = 10_000
AT_ONCE = 32
"""Connections made before one asks and waits: fewer than the kernel's queue holds, which has those beyond wait for seconds."""
PLUGIN = """
from obi_core import Instrument, Kind, Mode, Observation, Probe, hookimpl
CALLS = Instrument("obi.busy.calls", Kind.COUNTER, "{call}", "Calls.")
class Busy(Probe):
    name = "busy"
    instruments = (CALLS,)
    modes = (Mode("proc"),)
    calls = 0
    def collect(self):
        Busy.calls += 1
        yield Observation(CALLS, "row", Busy.calls)
@hookimpl
def obi_register_probes():
    return (Busy,)
"""
SENT = (
    b"GET /health HTTP/1.1\r\nX: ",  # and never the rest
    b"",
    b"GET /" + b"a" * 9_000,
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    b"GET /../../etc/shadow HTTP/1.1\r\n\r\n",
    b"GET /%2e%2e/%2e%2e/etc/shadow HTTP/1.1\r\n\r\n",
    b"POST /status HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n" + b"x" * 1_000,
    b"GET / HTTP/9.9\r\n\r\n",
)


@pytest.fixture
def agent(start_obi, plugin_folder):
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    ports = [each.getsockname()[1] for each in held]
    for each in held:
        each.close()
    folder = plugin_folder("busy", PLUGIN)
    words = ("--plugins", "busy", "--interval", "50ms", "--view", "off")
    listen = ("--http-listen", f"127.0.0.1:{ports[0]}", "--metrics-listen", f"127.0.0.1:{ports[1]}")
    process = start_obi("run", *words, *listen, PYTHONPATH=str(folder))
    while True:
        assert process.poll() is None, process.communicate()
        try:
            if get(ports[0], "/ready")["ready"] and calls(ports[1]):
                return process, *ports
        except OSError:
            time.sleep(0.05)


def get(port, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as answer:
        return json.load(answer)


def calls(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
        lines = answer.read().decode().splitlines()
    return next((float(line.split()[-1]) for line in lines if line.startswith("obi_busy_calls_total")), 0)


def resident(process):
    with open(f"/proc/{process.pid}/statm") as file:  # noqa: PTH123 - a file of the kernel's
        return int(file.read().split()[1]) * 4096


class Flood:
    """Connects again and again, sends its part, reads what comes, and keeps every connection as long as the agent does."""

    def __init__(self, port) -> None:
        self._port, self._selector, self._begun = port, selectors.DefaultSelector(), 0
        self._open, self._connecting, self.connected = set(), set(), 0
        self.answers, self._answered = Counter(), set()

    def turn(self):
        """Make some connections, do what can be done on all, then have one answered, behind those."""
        for _ in range(min(AT_ONCE, CONNECTIONS - self._begun)):
            each = socket.socket()
            each.setblocking(False)
            each.connect_ex(("127.0.0.1", self._port))
            self._selector.register(each, selectors.EVENT_WRITE, SENT[self._begun % len(SENT)])
            self._connecting.add(each)
            self._begun += 1
        while self._connecting:
            for key, events in self._selector.select():
                if events & selectors.EVENT_WRITE:
                    self._send(key)
                else:
                    self._read(key.fileobj)
        with socket.create_connection(("127.0.0.1", self._port), timeout=20) as patient:
            patient.sendall(b"GET /none HTTP/1.1\r\n\r\n")
            assert patient.recv(100).startswith(b"HTTP/1.0 404"), "who asks at once is answered"

    def _send(self, key):
        self._connecting.discard(key.fileobj)
        self.connected += 1
        with suppress(OSError):  # displaced already
            key.fileobj.send(key.data)
        self._open.add(key.fileobj)
        self._selector.modify(key.fileobj, selectors.EVENT_READ)

    def _read(self, each):
        try:
            answer = each.recv(65536)
        except OSError:
            answer = b""
        if answer:
            if each not in self._answered:
                self._answered.add(each)
                self.answers[answer.split(b" ", 2)[1]] += 1
            return
        self._answered.discard(each)
        self._selector.unregister(each)
        self._open.discard(each)
        each.close()

    def close(self):
        for each in [*self._open, *self._connecting]:
            each.close()
        self._selector.close()


@pytest.mark.timeout(180)
@pytest.mark.parametrize("which", ["health", "metrics"])
def test_ten_thousand_connections_disturb_neither_the_loop_nor_memory(agent, which):
    process, health, metrics = agent
    began, before = time.monotonic(), calls(metrics)
    time.sleep(2)
    paced = (calls(metrics) - before) / (time.monotonic() - began)
    memory = most = resident(process)
    flood = Flood(health if which == "health" else metrics)
    began, before, ages, asked = time.monotonic(), calls(metrics), [], 0
    try:
        while flood.connected < CONNECTIONS:
            flood.turn()
            if flood.connected >= asked:
                asked += 500
                ages.append(get(health, "/health")["loop_age_s"])
                most = max(most, resident(process))
        rate = (calls(metrics) - before) / (time.monotonic() - began)
    finally:
        flood.close()
    assert rate > 0.5 * paced, "collections go on as before"
    assert max(ages) < 5, "its loop turns once a second"
    assert most - memory < 32 << 20
    assert flood.answers
    assert all(answer.startswith(b"4") or answer in (b"501", b"505") for answer in flood.answers), flood.answers
    assert get(health, "/health")["healthy"]
    assert calls(metrics) > before
