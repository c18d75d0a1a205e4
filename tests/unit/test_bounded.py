"""Both HTTP servers against those who send slowly, too much, or nonsense, and against many of them."""

import socket
import threading
import time
import urllib.request
from contextlib import suppress

import pytest

from obi_core.bus import own_metric
from obi_core.host import Host
from obi_core.model import Kind, ProbeState, Reason
from obi_core.runtime.footprint import memory_bytes
from obi_core.runtime.health import routes
from obi_core.runtime.http import HealthServer
from obi_core.runtime.status import Status
from obi_core.settings import Listen
from obi_core.sinks import bounded
from obi_core.sinks.prometheus import PrometheusSink

HERE = Listen("127.0.0.1", 0)


class Numbers:
    def metrics(self):
        return (own_metric("obi_build_info", Kind.GAUGE, "Build.", [({"version": "1"}, 1)]),)


@pytest.fixture(params=["health", "metrics"])
def server(request):
    """(port, path) of each of the two."""
    if request.param == "health":
        runs = Status("tcp", ProbeState.ATTACHED, Reason.OK)
        health = HealthServer(HERE, routes(lambda: 0.0, lambda: (runs,), (), dict), Host())
        health.start()
        yield health.port, "/health"
        health.stop()
    else:
        sink = PrometheusSink(HERE, lambda _: None)
        sink.start(Numbers())
        yield sink.address.port, "/metrics"
        sink.stop()


def connect(port):
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def raw(port, data):
    with connect(port) as connection:
        connection.sendall(data)
        answer = b""
        try:
            while part := connection.recv(65536):
                answer += part
        except ConnectionResetError:
            pass  # it does not read what is too much
        return answer


def get(server):
    port, path = server
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        return answer.status


def status(answer):
    return int(answer.split(b" ", 2)[1])


def serving_threads():
    return sum("process_request_thread" in thread.name for thread in threading.enumerate())


def test_whoever_asks_at_once_is_answered_though_all_places_are_held_by_those_who_say_nothing(server):
    held = [connect(server[0]) for _ in range(3 * bounded.CONNECTIONS)]
    try:
        for number, each in enumerate(held):
            if number % 2:
                with suppress(OSError):  # it had to make room already
                    each.sendall(b"GET / HTTP/1.1\r\nX: ")
        assert [get(server) for _ in range(5)] == [200] * 5
        # a thread that has given its place back may be in its last instructions
        end = time.monotonic() + 10
        while (serving := serving_threads()) > bounded.CONNECTIONS and time.monotonic() < end:
            time.sleep(0.01)
        assert serving <= bounded.CONNECTIONS
    finally:
        for each in held:
            each.close()
    assert get(server) == 200


def test_a_request_that_never_ends_is_ended(server, monkeypatch):
    monkeypatch.setattr(bounded, "REQUEST_S", 0.1)
    with connect(server[0]) as slow:
        answer = b""
        try:
            while not answer:
                slow.sendall(b"G")
                slow.settimeout(0.02)
                try:
                    answer = slow.recv(65536) or b"closed"
                except TimeoutError:
                    continue
        except (ConnectionResetError, BrokenPipeError):
            answer = b"closed"
    assert answer == b"closed" or status(answer) == 431


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 505),
        (b"GET / SPDY/1\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\r\n\r\n", 400),
        (b"GET /" + b"a" * bounded.REQUEST_BYTES + b" HTTP/1.1\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"".join(b"H%d: x\r\n" % n for n in range(150)) + b"\r\n", 431),
        (b"GET /../../etc/passwd HTTP/1.1\r\n\r\n", 404),
        (b"GET /%2e%2e/etc/passwd HTTP/1.1\r\n\r\n", 404),
        (b"GET //metrics/.. HTTP/1.1\r\n\r\n", 404),
        (b"GET http://169.254.169.254/ HTTP/1.1\r\n\r\n", 404),
        (b"GET /\x00health HTTP/1.1\r\n\r\n", 404),
    ],
)
def test_nonsense_gets_a_short_clear_refusal(server, request_, expected):
    answer = raw(server[0], request_)
    if not answer and len(request_) > bounded.REQUEST_BYTES:
        return  # closed with what it did not read: a reset may overtake the answer
    assert status(answer) == expected
    assert len(answer) < 1_000
    assert get(server) == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_nothing_can_be_changed_here(server, method):
    port, path = server
    request = f"{method} {path} HTTP/1.1\r\nContent-Length: 999999\r\n\r\n".encode()
    assert status(raw(port, request)) in (405, 501)


def test_memory_stays_where_it_is_under_a_flood_of_connections(server):
    get(server)
    before = memory_bytes(Host())
    for _ in range(6):
        many = [connect(server[0]) for _ in range(50)]
        for each in many:
            try:
                each.sendall(b"GET / HTTP/1.1\r\n" + b"X" * 6_000)
            except OSError:
                continue
        for each in many:
            each.close()
    assert get(server) == 200
    assert memory_bytes(Host()) - before < 8 << 20
