"""tests/obi/health-check.sh against agents that are well, and against each thing that can be wrong."""

import json
import re
import subprocess
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "tests/obi/health-check.sh"
WELL = """\
# TYPE obi_build_info gauge
obi_build_info{version="0.1.0"} 1
obi_probe_entries_total{probe="tcp",outcome="accepted"} 41
obi_probe_entries_total{probe="tcp",outcome="lost_queue"} 0
"""


def probe(state="attached", reason="ok", loses=()):
    return {"state": state, "reason": reason, "mode": "tp_btf", "without_bpf": False, "loses": list(loses)}


def exporter(signal="traces", *, capacity=60000, waiting=0, last=0.0):
    return (
        f'otlp_exporter_queue_capacity{{signal="{signal}"}} {capacity}\n'
        f'otlp_exporter_queue_size{{signal="{signal}"}} {waiting}\n'
        f'otlp_exporter_spool_items{{signal="{signal}"}} 0\n'
        f'otlp_exporter_last_success_timestamp_seconds{{signal="{signal}"}} {last!r}\n'
    )


@contextmanager
def agent(probes=None, metrics=WELL, *, loop_age_s=0.4):
    """One that answers on one port for both; gives the port."""
    probes = {"tcp": probe(), "limits": probe()} if probes is None else probes
    up = all(each["state"] == "attached" for each in probes.values())
    answers = {
        "/health": (200 if loop_age_s < 15 else 503, json.dumps({"healthy": loop_age_s < 15, "loop_age_s": loop_age_s})),
        "/ready": (200 if up else 503, json.dumps({"ready": up, "required": [], "probes": probes})),
        "/metrics": (200, metrics),
    }

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            status, body = answers[self.path]
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def check(port, *arguments):
    command = ["sh", SCRIPT, "--health-port", port, "--metrics-port", port, *arguments]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.returncode, done.stdout.splitlines()


def test_an_agent_that_is_well_is_one_line():
    with agent() as port:
        assert check(port) == (0, ["ok    127.0.0.1: tcp, limits; 3 series; exports nothing"])


def test_several_agents_are_a_line_each():
    with agent() as port:
        status, lines = check(port, "--agents", "127.0.0.1,localhost", "--at-least", "2")
    assert (status, [line.split()[:2] for line in lines]) == (0, [["ok", "127.0.0.1:"], ["ok", "localhost:"]])


def test_a_service_is_every_address_that_its_name_has():
    with agent() as port:
        status, lines = check(port, "--service", "127.0.0.1")
    assert (status, len(lines)) == (0, 1)


def test_one_that_does_not_answer_is_down():
    status, lines = check(9)
    assert status == 1
    assert lines == [
        "WRONG 127.0.0.1: nobody answers at port 9: the agent is down, or the network policy keeps us out"
    ]  # fmt: skip


def test_one_whose_loop_is_stuck_says_for_how_long():
    with agent(loop_age_s=31.5) as port:
        assert check(port) == (1, ["WRONG 127.0.0.1: /health says 503: its loop has not turned for 31.5 s"])


def test_one_that_is_not_ready_says_which_probe_and_why():
    with agent({"tcp": probe(), "syscall": probe("quarantined", "collect_deadline")}) as port:
        status, lines = check(port)
    assert status == 1
    assert lines == ["WRONG 127.0.0.1: not ready: tcp attached (ok), syscall quarantined (collect_deadline)"]


def test_a_required_probe_must_be_there_and_run():
    with agent() as port:
        assert check(port, "--require", "tcp,network") == (1, ["WRONG 127.0.0.1: probe network is not configured"])


def test_what_a_mode_loses_is_wrong_only_if_all_is_asked_for():
    with agent({"tcp": probe(loses=["obi.tcp.rtt"])}) as port:
        assert check(port)[0] == 0
        assert check(port, "--full") == (1, ["WRONG 127.0.0.1: tcp runs as tp_btf, which loses obi.tcp.rtt"])


def test_something_else_at_the_port_is_not_obi():
    with agent(metrics="up 1\n") as port:
        status, lines = check(port)
    assert (status, lines[0]) == (1, "WRONG 127.0.0.1: /metrics has no obi_build_info; is this OBI?")


def test_probes_that_hand_nothing_over_are_told():
    with agent(metrics='obi_build_info{version="1"} 1\n') as port:
        assert check(port) == (1, ["WRONG 127.0.0.1: its probes have handed over nothing yet"])


def test_an_export_that_gets_through_is_named():
    with agent(metrics=WELL + exporter("traces", last=time.time()) + exporter("logs", capacity=0)) as port:
        assert check(port, "--export") == (0, ["ok    127.0.0.1: tcp, limits; 3 series; exports traces"])


def test_an_export_that_waits_longer_than_it_may_is_wrong():
    with agent(metrics=WELL + exporter("metrics", waiting=12, last=time.time() - 750)) as port:
        status, (line,) = check(port)
        assert check(port, "--stale", "100000")[0] == 0
    assert status == 1
    sentence = "WRONG 127.0.0.1: 12 items of metrics wait and none got through for 7[45][0-9] s; "
    assert re.fullmatch(f"{sentence}obi test-export --type metrics says why", line)


def test_an_export_that_never_got_through_is_wrong():
    with agent(metrics=WELL + exporter("metrics", waiting=3)) as port:
        status, lines = check(port)
    assert (status, lines[0].partition(";")[0]) == (1, "WRONG 127.0.0.1: 3 items of metrics wait and none got through yet")


def test_an_agent_that_has_just_started_has_had_no_time_to_get_anything_through():
    with agent(metrics=f"{WELL}obi_process_start_time_seconds {time.time() - 30}\n{exporter('metrics', waiting=3)}") as port:
        assert check(port)[0] == 0
        assert check(port, "--stale", "20")[0] == 1


def test_no_export_at_all_is_wrong_only_if_it_is_asked_for():
    with agent() as port:
        assert check(port, "--export") == (1, ["WRONG 127.0.0.1: nothing is exported: otlp.endpoint is not set"])


def test_too_few_agents_are_wrong():
    with agent() as port:
        status, lines = check(port, "--at-least", "3")
    assert (status, lines[-1]) == (1, "WRONG 1 agents, and there should be 3")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--fly", "x"), "no option --fly; --help lists them"),
        (("--timeout",), "--timeout wants a value, or is no option; --help lists them"),
        (("--timeout", "soon"), '"soon" is not a number'),
        (("--service", "obi.invalid"),
         "obi.invalid resolves to nothing: no agent runs, or the name or the network policy for DNS is wrong"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_one_line_and_status_2(arguments, sentence):
    done = subprocess.run(["sh", SCRIPT, *arguments], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"health-check: {sentence}\n")


def test_help_is_the_head_of_the_script():
    done = subprocess.run(["sh", SCRIPT, "--help"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Ask running agents whether they are alive, ready, measuring")
    assert "--stale S" in done.stdout
