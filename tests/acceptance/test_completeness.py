"""`data-completeness.sh`: exactly what was made in the kernel is found in the stores; what is not found fails by its name."""

import re
import sys

import pytest
from proving import ROOT, script

from obi_core.testing.otlp import attributes_of

pytestmark = [
    pytest.mark.timeout(170),
    pytest.mark.kernel(needs=("cap:bpf", "cap:perfmon", "cap:net_admin", "btf")),
]
EMIT = f"{sys.executable} -m obi_core emit-known"


def completeness(live, *flags, **environ):
    return script(
        "data-completeness.sh",
        "--emit",
        EMIT,
        "--json",
        *flags,
        **live.urls | {"OBI_WAIT": "90s", "PYTHONPATH": str(ROOT)} | environ,
    )


def test_all_of_it_is_found_at_two_rates_with_its_latency_and_throughput(live):
    ran = completeness(live, "--rates", "20,200", "--runs", "1")
    assert (ran.status, ran.failed, ran.err) == (0, [], ""), ran.out
    found = ran.document
    assert sorted(check["name"] for check in found["checks"]) == sorted(
        ["metrics", "traces", "logs"] * 2 + ["latency"] * 3 + ["throughput"] * 2
    )
    for check in found["checks"]:
        if check["name"] == "metrics":
            assert "all 9 counts exact" in check["seen"]
    for signal in ("metrics", "traces", "logs"):
        latency = found["latency_s"][signal]
        assert latency["samples"] == 2
        assert 0 <= latency["p50"] <= latency["p95"] <= latency["max"]
    assert [(each["rate"], each["events"], each["complete"]) for each in found["throughput"]] == [(20, 70, 1), (200, 610, 1)]
    assert all(each["events_per_s"] > 0 for each in found["throughput"])


def test_what_does_not_arrive_is_named_with_how_much_of_it_did(live):
    """Of each run a span is hidden, and all log events."""
    first = {}

    def one_of_each_run(_, span):
        process = attributes_of(span).get("process.executable.name")
        return span.name == "tcp connect" and first.setdefault(process, span.span_id) == span.span_id

    live.tempo.hidden, live.loki.hidden = one_of_each_run, lambda labels, _: labels.get("network_io_direction") == "transmit"
    try:
        ran = completeness(live, "--rates", "50", "--runs", "1", "--signals", "traces,logs", OBI_WAIT="8s")
    finally:
        live.tempo.hidden = live.loki.hidden = None
    assert ran.status == 1, ran.err
    found = [(name, re.sub(r"known-\w+", "known-X", seen)) for name, seen in ran.failed]
    assert sorted(found[:2]) == [
        ("logs", "known-X at 50/s: 0 of 5 obi.tcp.reset{network.io.direction=transmit}"),
        ("traces", "known-X at 50/s: 4 of 5 tcp connect{error.type=refused}"),
    ]
    assert [name for name, _ in found[2:]] == ["latency", "latency", "throughput"]
    assert found[-1][1].endswith(", 40 % found")


def test_a_latency_over_the_bound_fails(live):
    ran = completeness(live, "--rates", "50", "--runs", "1", "--signals", "logs", "--max-latency", "0s")
    assert ran.status == 1
    ((name, seen),) = ran.failed
    assert name == "latency"
    assert seen.endswith(", more than 0s")


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("false", '"false" did not run'),
        ("echo hello", '"echo hello" does not say what it did: hello'),
        ("/no/such/program", "did not run"),
    ],
)
def test_a_workload_that_cannot_be_made_is_no_result(live, command, words):
    ran = script("data-completeness.sh", "--emit", command, "--signals", "metrics", **live.urls)
    assert (ran.status, ran.out) == (3, "")
    assert ran.err.startswith("data-completeness.sh: could not check: ")
    assert words in ran.err
