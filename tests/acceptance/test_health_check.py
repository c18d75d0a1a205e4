"""`health-check.sh`: green for a real agent, and red for each cause, one at a time."""

import json
import os
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from proving import free_ports, script

pytestmark = [
    pytest.mark.timeout(170),
    pytest.mark.kernel(needs=("cap:bpf", "cap:perfmon", "cap:net_admin", "btf")),
]
QUICK = ("--interval", "1s", "--max-cpu", "1000", "--max-memory", "2000", "--json")
"""What an agent costs is no matter of chance here: the machine may be busy."""


class Altered:
    """The real agent's answers, of which a test may change one thing."""

    def __init__(self, live):
        self.live = live
        self.alter = lambda _, status, body: (status, body)

    def __enter__(self):
        altered = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                port = altered.live.metrics if self.path == "/metrics" else altered.live.health
                try:
                    with urlopen(f"http://127.0.0.1:{port}{self.path}", timeout=10) as answer:
                        status, body = answer.status, answer.read().decode()
                except HTTPError as err:
                    status, body = err.code, err.read().decode()
                status, body = altered.alter(self.path, status, body)
                self.send_response(status)
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *words):
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()
        port = str(self.server.server_port)
        self.agents = {"OBI_AGENTS": "127.0.0.1", "OBI_HEALTH_PORT": port, "OBI_METRICS_PORT": port}
        return self

    def __exit__(self, *error):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(5)


@pytest.fixture
def altered(live):
    with Altered(live) as one:
        yield one


def instead(path, status, body):
    """Answer something else at a path."""
    return lambda asked, *given: (status, body) if asked == path else given


def ready(change):
    """Change what /ready says of the probes."""

    def alter(path, status, body):
        if path != "/ready":
            return status, body
        document = json.loads(body)
        change(document["probes"])
        return status, json.dumps(document)

    return alter


def metrics(pattern, by):
    """Change lines of /metrics."""
    return lambda path, status, body: (status, re.sub(pattern, by, body, flags=re.MULTILINE) if path == "/metrics" else body)


def test_a_real_agent_that_exports_is_well(live):
    ran = script("health-check.sh", *QUICK, "--export", "--full", **live.agents)
    assert (ran.status, ran.failed, ran.err) == (0, [], ""), ran.out
    names = [check["name"] for check in ran.document["checks"]]
    assert names == ["health", "ready", "programs", "restarts", "cpu", "memory", "export", "export", "export"]
    programs = ran.document["checks"][2]["seen"]
    assert re.fullmatch(r"127\.0\.0\.1: (\w+ \w+ with [1-9]\d* KiB of maps(, |$)){4}", programs)
    assert re.search(r"[1-9]\d* MB, by its own measure$", ran.document["checks"][5]["seen"])


@pytest.mark.parametrize(
    ("flags", "name", "seen"),
    [
        (("--max-cpu", "0"), "cpu", r"[\d.]+ % of \d+ CPUs, not under 0 %, by its own measure"),
        (("--max-memory", "20"), "memory", r"\d+ MB, not under 20 MB, by its own measure"),
        (("--require", "tcp,disk"), "probe", r"disk is not configured"),
        (("--at-least", "2"), "agents", r"1 answer, and there should be 2"),
    ],
)
def test_a_bound_that_is_not_kept(live, flags, name, seen):
    ran = script("health-check.sh", *QUICK, *flags, **live.agents)
    assert ran.status == 1, ran.err
    ((found, text),) = ran.failed
    assert found == name
    assert re.search(f"{seen}$", text)


@pytest.mark.parametrize(
    ("alter", "flags", "failed"),
    [
        (
            lambda path, status, body: (
                (503, '{"healthy": false, "loop_age_s": 61.2}') if path == "/health" else (status, body)
            ),
            (),
            {"health": "status 503, its loop stands for 61.2 s"},
        ),
        (
            lambda path, status, body: (503, body) if path == "/ready" else (status, body),
            (),
            {"ready": "status 503: limits attached (ok), network attached (ok), syscall attached (ok), tcp attached (ok)"},
        ),
        (
            ready(lambda probes: probes["tcp"].update(state="quarantined", reason="step_hung")),
            (),
            {"probe": "tcp is quarantined (step_hung)"},
        ),
        (
            ready(lambda probes: probes["tcp"].update(mode="netlink", loses=["bytes"])),
            ("--full",),
            {"mode": "tcp runs as netlink, which loses bytes"},
        ),
        (
            ready(lambda probes: [probe.update(without_bpf=True) for probe in probes.values()]),
            (),
            {"programs": "no probe has a program in the kernel"},
        ),
        (
            metrics(r'^obi_probe_map_bytes\{probe="syscall"\} .*$', 'obi_probe_map_bytes{probe="syscall"} 0'),
            (),
            {"programs": "no maps of syscall"},
        ),
        (
            metrics(r'^obi_probe_restarts_total\{probe="tcp"\} .*$', 'obi_probe_restarts_total{probe="tcp"} 3'),
            (),
            {"restarts": "3 of its probes, more than 0"},
        ),
        (
            metrics(r'^otlp_exporter_last_success_timestamp_seconds\{signal="metrics"\} .*$', ""),
            (),
            {"export": "metrics: never got through; obi test-export --type metrics says why"},
        ),
        (
            metrics(r"^obi_clock_seconds .*$", "obi_clock_seconds 9999999999"),
            ("--max-cpu", "100000"),
            {"export": r"metrics: the last \d+ s ago, and 1 items wait; obi test-export --type metrics says why"},
        ),
        (
            metrics(r"^otlp_exporter_enqueued_items_total.*$", ""),
            ("--export",),
            {"export": "nothing is exported: otlp.endpoint is not set"},
        ),
    ],
)
def test_each_cause_is_a_failure_of_its_own(altered, alter, flags, failed):
    altered.alter = alter
    ran = script("health-check.sh", *QUICK, *flags, **altered.agents)
    assert ran.status == 1, ran.err
    assert [name for name, _ in ran.failed] == list(failed), ran.out
    for name, seen in ran.failed:
        text = failed[name]
        assert re.fullmatch(text if "\\" in text else re.escape(text), seen.removeprefix("127.0.0.1: "))


def test_an_agent_that_is_down_is_a_failure(live):
    (port,) = free_ports(1)
    ran = script("health-check.sh", *QUICK, **live.agents | {"OBI_HEALTH_PORT": str(port)})
    assert ran.status == 1
    assert [name for name, _ in ran.failed] == ["health", "agents"]
    assert f"nobody answers at 127.0.0.1:{port}" in ran.failed[0][1]


@pytest.mark.parametrize(
    ("alter", "words"),
    [
        (
            instead("/health", 200, "<html>Sign in</html>"),
            "HTML instead of JSON",
        ),
        (instead("/health", 200, "{}"), "is this an agent's --health-port?"),
        (instead("/ready", 200, "[]"), "gives no list of probes"),
        (
            instead("/metrics", 200, "x 1"),
            "is this an agent's --metrics-port?",
        ),
        (instead("/metrics", 404, ""), "answers with status 404"),
        (metrics(r"^obi_process_cpu_seconds_total.*$", ""), "no obi_process_cpu_seconds_total"),
        (metrics(r"^obi_process_resident_memory_bytes.*$", ""), "no obi_process_resident_memory_bytes"),
    ],
)
def test_what_is_no_agent_cannot_be_checked(altered, alter, words):
    altered.alter = alter
    ran = script("health-check.sh", *QUICK[:-1], **altered.agents)
    assert ran.status == 3
    assert ran.err.startswith("health-check.sh: could not check: ")
    assert ran.err.count("\n") == 1
    assert words in ran.err


KUBECTL = """\
import json, os, sys
with open(os.environ["FAKE_CLUSTER"]) as file:
    cluster = json.load(file)
words = [word for word in sys.argv[1:] if word not in ("--namespace", "mop-system")]
if words[0] == "get":
    print(json.dumps(cluster[words[1]]))
elif words[0] == "top":
    if not cluster["top"]:
        sys.exit("error: Metrics API not available")
    print(cluster["top"])
elif words[0] == "port-forward":
    import socket, threading
    server = socket.create_server(("127.0.0.1", 0))
    to = cluster["ports"][words[-1]]
    print(f"Forwarding from 127.0.0.1:{server.getsockname()[1]} -> {to}", flush=True)
    def pump(one, other):
        while data := one.recv(65536):
            other.sendall(data)
        other.shutdown(socket.SHUT_WR)
    while True:
        here, _ = server.accept()
        there = socket.create_connection(("127.0.0.1", to))
        for pair in ((here, there), (there, here)):
            threading.Thread(target=pump, args=pair, daemon=True).start()
"""


def pod(name, node, *, is_ready=True, restarts=0, reason=None):
    last = {"terminated": {"reason": reason}} if reason else {}
    return {
        "metadata": {"name": name},
        "spec": {"nodeName": node},
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True" if is_ready else "False"}],
            "containerStatuses": [{"restartCount": restarts, "lastState": last}],
        },
    }


@pytest.fixture
def cluster(live, tmp_path):
    """A kubectl that knows one node and one pod, behind which the real agent answers."""
    program = tmp_path / "bin/kubectl"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\n{KUBECTL}")
    program.chmod(0o755)
    known = {
        "daemonsets": {"items": [{"status": {"desiredNumberScheduled": 1}}]},
        "pods": {"items": [pod("obi-x", "n1")]},
        "node": {"status": {"capacity": {"cpu": "4"}}},
        "top": "",
        "ports": {":8080": live.health, ":9090": live.metrics},
    }

    def run(*flags, **changes):
        (tmp_path / "cluster").write_text(json.dumps(known | changes))
        path = f"{program.parent}:{os.environ['PATH']}"
        return script("health-check.sh", *QUICK, *flags, path=path, FAKE_CLUSTER=str(tmp_path / "cluster"))

    return run


def test_pods_are_found_by_kubectl_and_asked_one_by_one(cluster):
    ran = cluster()
    assert (ran.status, ran.failed, ran.err) == (0, [], ""), ran.out
    seen = [(check["name"], check["seen"]) for check in ran.document["checks"]]
    assert seen[:3] == [
        ("pods", "a Ready pod on 1 of 1 eligible nodes"),
        ("restarts", "at most 0 of any pod"),
        ("health", "obi-x: its loop turns"),
    ]
    assert re.fullmatch(r"obi-x: [\d.]+ % of 4 CPUs, by its own measure", dict(seen)["cpu"])


def test_the_metrics_server_is_asked_first(cluster):
    ran = cluster("--max-cpu", "5", "--max-memory", "200", top="obi-x 960m 250Mi")
    assert ran.status == 1
    (cpu, cpu_seen), (memory, memory_seen) = ran.failed
    assert (cpu, memory) == ("cpu", "memory")
    assert re.fullmatch(r"obi-x: 2\d\.\d\d % of 4 CPUs, not under 5 %, by the metrics server", cpu_seen)
    assert memory_seen == "obi-x: 262 MB, not under 200 MB, by the metrics server"


@pytest.mark.parametrize(
    ("changes", "failed"),
    [
        (
            {"daemonsets": {"items": [{"status": {"desiredNumberScheduled": 2}}]}},
            [("pods", "a Ready pod on 1 of 2 eligible nodes")],
        ),
        (
            {"pods": {"items": [pod("obi-x", "n1", is_ready=False)]}},
            [("pods", "a Ready pod on 0 of 1 eligible nodes; obi-x on n1: Running, not ready")],
        ),
        (
            {"pods": {"items": [pod("obi-x", "n1"), pod("obi-y", "n1")]}},
            [("pods", "more than one pod on n1")],
        ),
        (
            {"pods": {"items": [pod("obi-x", "n1", restarts=2, reason="OOMKilled")]}},
            [("restarts", "more than 0: obi-x: 2 (OOMKilled)")],
        ),
    ],
)
def test_pods_that_are_not_as_they_should_be(cluster, changes, failed):
    ran = cluster(**changes)
    assert (ran.status, ran.failed) == (1, failed), ran.err


def test_without_a_daemonset_or_a_cluster_nothing_is_checked(cluster, tmp_path):
    ran = cluster(daemonsets={"items": []})
    assert ran.status == 3
    assert "no DaemonSet with app=obi in namespace mop-system wants a node" in ran.err
    broken = tmp_path / "broken/kubectl"
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\necho 'connection refused' >&2\nexit 1\n")
    broken.chmod(0o755)
    ran = script("health-check.sh", path=f"{broken.parent}:{os.environ['PATH']}")
    assert ran.status == 3
    assert "kubectl get daemonsets failed: connection refused" in ran.err
    assert Path(broken).exists()
