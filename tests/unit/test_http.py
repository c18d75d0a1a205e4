"""The health endpoint over real sockets."""

import http.client
import json
import os
import socket
from pathlib import Path

import pytest

from obi_core.errors import HostError
from obi_core.host import Host
from obi_core.model import ProbeState, Reason
from obi_core.runtime.health import readiness, routes
from obi_core.runtime.http import HealthServer
from obi_core.runtime.status import Status
from obi_core.settings import Listen
from obi_core.sinks import bounded as endpoint

RUNS = Status("tcp", ProbeState.ATTACHED, Reason.OK, "tracepoint", ("obi.tcp.rtt",), "tp_btf: no BTF", 2)
BROKEN = Status("limits", ProbeState.QUARANTINED, Reason.STEP_HUNG, detail="attach did not come back in time")


@pytest.fixture
def serve():
    servers = []

    def start(statuses=(RUNS,), required=(), age=0.4, listen=None):
        made = routes(lambda: age, lambda: statuses, required, lambda: {"everything": True})
        server = HealthServer(listen or Listen("127.0.0.1", 0), made, Host())
        server.start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.stop()


def ask(server, path, method="GET", host="127.0.0.1"):
    connection = http.client.HTTPConnection(host, server.port, timeout=10)
    connection.request(method, path)
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response.status, json.loads(body) if body else None, response


def raw(server, data, *, close=False):
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(data)
        if close:
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        while part := connection.recv(65536):
            answer += part
        return answer


def test_health_says_whether_the_loop_turns(serve):
    assert ask(serve(age=0.4), "/health")[:2] == (200, {"healthy": True, "loop_age_s": 0.4})
    assert ask(serve(age=15.0), "/health")[:2] == (503, {"healthy": False, "loop_age_s": 15.0})


def test_ready_gives_a_reason_code_per_probe_and_no_free_text(serve):
    status, document, response = ask(serve((RUNS, BROKEN)), "/ready")
    assert status == 200
    assert document == {
        "ready": True,
        "required": [],
        "probes": {
            "limits": {"state": "quarantined", "reason": "step_hung", "mode": "", "without_bpf": False, "loses": []},
            "tcp": {"state": "attached", "reason": "ok", "mode": "tracepoint", "without_bpf": False, "loses": ["obi.tcp.rtt"]},
        },
    }
    assert response.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    ("statuses", "required", "ready"),
    [
        ((RUNS,), (), True),
        ((RUNS,), ("tcp",), True),
        ((RUNS, BROKEN), ("tcp", "limits"), False),
        ((BROKEN,), (), False),
        ((), (), False),
        ((RUNS,), ("network",), False),
    ],
)
def test_ready_means_every_required_probe_runs_and_at_least_one(serve, statuses, required, ready):
    status, document, _ = ask(serve(statuses, required), "/ready")
    assert (status, document["ready"]) == (200 if ready else 503, ready)


def test_a_required_probe_that_is_not_listed_is_named():
    document = readiness((RUNS,), ("network",))
    assert document["probes"]["network"]["reason"] == "not_listed"


def test_an_unknown_path_names_the_known_ones(serve):
    assert ask(serve(), "/metrics")[:2] == (
        404,
        {"error": "no such path: /metrics", "paths": ["/health", "/ready", "/status"]},
    )


def test_head_gives_the_status_and_length_without_the_document(serve):
    server = serve((BROKEN,))
    status, body, response = ask(server, "/ready", "HEAD")
    assert (status, body) == (503, None)
    assert int(response.headers["Content-Length"]) > 0


def test_a_query_is_ignored_and_status_is_everything(serve):
    assert ask(serve(), "/status?pretty=1")[:2] == (200, {"everything": True})


def test_other_methods_are_refused(serve):
    assert raw(serve(), b"POST /health HTTP/1.1\r\nHost: x\r\n\r\n").startswith(b"HTTP/1.0 501 ")


def test_a_request_that_is_too_long_is_refused(serve):
    answer = raw(serve(), b"GET /health HTTP/1.1\r\n" + b"X: " + b"x" * endpoint.REQUEST_BYTES)
    assert answer.startswith(b"HTTP/1.0 431 ")


def test_half_a_request_is_refused(serve):
    assert b" 431 " in raw(serve(), b"GET /health HTTP/1.1\r\nHost:", close=True).splitlines()[0]


def test_a_slow_request_is_ended(serve, monkeypatch):
    monkeypatch.setattr(endpoint, "REQUEST_S", 0.05)
    assert b" 431 " in raw(serve(), b"GET /health HTTP/1.1\r\n").splitlines()[0]


def test_a_port_that_is_taken_is_a_sentence_with_its_holder_and_the_flag(serve):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(HostError) as caught:
            serve(listen=Listen("127.0.0.1", port))
    name = Path("/proc/self/comm").read_text().strip()
    assert str(caught.value) == (
        f"health address 127.0.0.1:{port}: taken by {name} (pid {os.getpid()}); "
        "choose another with --http-listen or OBI_HTTP__LISTEN"
    )


def test_an_address_that_is_not_ours_is_a_sentence(serve):
    with pytest.raises(HostError, match=r"health address 192\.0\.2\.1:8080: Cannot assign requested address; choose another"):
        serve(listen=Listen("192.0.2.1", 8080))


def test_it_listens_on_ipv6_too(serve):
    assert ask(serve(listen=Listen("::1", 0)), "/health", host="::1")[0] == 200


def test_the_port_is_free_after_stop_and_stop_is_idempotent(serve):
    server = serve()
    port = server.port
    server.stop()
    server.stop()
    socket.create_server(("127.0.0.1", port)).close()
