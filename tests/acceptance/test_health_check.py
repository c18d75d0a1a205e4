"""`health-check.sh`: green for a real agent, and red for each cause, one at a time."""

import json
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from proving import QUICK, free_ports, script

pytestmark = [
    pytest.mark.timeout(170),
    pytest.mark.kernel(needs=("cap:bpf", "cap:perfmon", "cap:net_admin", "btf")),
]


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
