"""Probes that hang in each step, raise, leak descriptors, take memory and series without end, each in a real agent.

Each is isolated with the reason in `/ready`, in the metrics and in the log, and the probe beside it is exact throughout.
"""

import json
import re
import signal
import socket
import time
import urllib.error
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

PROBE = """
import os, threading, time
from obi_core import Instrument, Kind, Mode, Observation, Probe, hookimpl

THINGS = Instrument("obi.NAME.things", Kind.COUNTER, "{{thing}}", "Things.", ("kind",), headline=({{}},))
kept = []

def hang():
    threading.Event().wait()

def hoard():
    try:
        while True:
            kept.append(b"x" * (1 << 20))
            time.sleep(0.002)
    finally:
        kept.clear()

class P(Probe):
    name = "NAME"
    instruments = (THINGS,)
    modes = (Mode("proc"),)
    calls = 0

    def __init__(self, settings):
        super().__init__(settings)
        {construct}

    def load(self, loader, mode):
        {load}

    def attach(self, mode):
        {attach}

    def drain(self):
        {drain}
        return ()

    def collect(self):
        P.calls += 1
        {collect}
        yield Observation(THINGS, "row", P.calls)

@hookimpl
def obi_register_probes():
    return (P,)
"""
STEPS = ("construct", "load", "attach", "collect", "drain")
NOTHING = dict.fromkeys(STEPS, "pass")


def source(name, **steps):
    return PROBE.format(**{**NOTHING, **steps}).replace("NAME", name)


class Node:
    """A real agent with one good probe and one bad one."""

    def __init__(self, start_obi, install, bad, environ) -> None:
        held = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
        self.health, self.metrics = (each.getsockname()[1] for each in held)
        for each in held:
            each.close()
        install("good", source("good"))
        folder = install("bad", bad)
        words = ("--plugins", "bad,good", "--interval", "100ms", "--view", "off")
        ports = ("--http-listen", f"127.0.0.1:{self.health}", "--metrics-listen", f"127.0.0.1:{self.metrics}")
        self.process = start_obi("run", *words, *ports, PYTHONPATH=str(folder), **environ)

    def ready(self):
        """The document of /ready; nothing before there is one."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.health}/ready", timeout=5) as answer:
                return json.load(answer)["probes"]
        except urllib.error.HTTPError as answer:
            return json.load(answer)["probes"]
        except OSError:
            assert self.process.poll() is None, self.process.communicate()
            return {}

    def values(self, name, **labels):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics}/metrics", timeout=10) as answer:
            families = text_string_to_metric_families(answer.read().decode())
            samples = [sample for family in families for sample in family.samples if sample.name == name]
        return [sample.value for sample in samples if labels.items() <= sample.labels.items()]

    def until(self, true):
        while not (found := true()):
            time.sleep(0.05)
        return found

    def good_goes_on(self):
        """The probe beside the bad one collects, and what it says is what it counted."""
        before = self.values("obi_good_things_total")
        self.until(lambda: self.values("obi_good_things_total")[0] >= before[0] + 3)
        assert self.ready()["good"] == {
            "state": "attached", "reason": "ok", "mode": "proc", "without_bpf": True, "loses": []
        }  # fmt: skip
        assert self.values("obi_probe_restarts_total", probe="good") == [0]
        with urllib.request.urlopen(f"http://127.0.0.1:{self.health}/health", timeout=5) as answer:
            assert answer.status == 200
        with urllib.request.urlopen(f"http://127.0.0.1:{self.health}/", timeout=5) as answer:
            assert "<td>good</td><td>attached</td>" in answer.read().decode()

    def end(self):
        """What it said, in the end."""
        self.process.send_signal(signal.SIGTERM)
        _, said = self.process.communicate(timeout=20)
        assert self.process.returncode == 0, said
        return said


@pytest.fixture
def start(start_obi, plugin_folder):
    deadlines = {"OBI_AGENT__STEP_DEADLINE_S": "1s", "OBI_AGENT__COLLECT_DEADLINE_S": "1s"}

    def run(bad, **environ):
        return Node(start_obi, plugin_folder, bad, {**deadlines, **environ})

    return run


def stands(node, state, reason):
    """Wait until /ready says so; the metrics say the same."""
    node.until(lambda: (node.ready().get("bad") or {}).get("reason") == reason)
    node.until(lambda: node.values("obi_probe_state", probe="bad", state=state, reason=reason) == [1])
    assert node.ready()["bad"]["state"] == state


@pytest.mark.parametrize("step", STEPS)
def test_one_that_hangs_in_a_step_is_quarantined(start, step):
    # Each collection drains as well: the third drain is the second one of its own.
    code = "P.drains = getattr(P, 'drains', 0) + 1; P.drains < 3 or hang()" if step == "drain" else "hang()"
    node = start(source("bad", **{step: code}), OBI_BAD__INTERVAL_S="1h")
    stands(node, "quarantined", "step_hung")
    node.good_goes_on()
    said = node.end()
    assert f"probe bad: quarantined (step_hung): {step} did not come back in time" in said
    assert "nothing can end a thread that hangs; obi-bad stays" in said


def test_one_that_hangs_in_its_detach_does_not_hold_the_end(start):
    node = start(source("bad", load="self._open.callback(hang)"), OBI_AGENT__SHUTDOWN_DEADLINE_S="2s")
    node.until(lambda: node.ready().get("bad", {}).get("state") == "attached")
    node.good_goes_on()
    assert "probe bad: quarantined (step_hung): detach did not come back before the end of the agent" in node.end()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("step", STEPS)
def test_one_that_raises_in_a_step_is_tried_again_and_then_given_up(start, step):
    node = start(source("bad", **{step: "raise RuntimeError('no luck')"}))
    stands(node, "failed", "step_raised")
    node.good_goes_on()
    if step == "collect":
        stands(node, "quarantined", "step_raised")
        assert node.values("obi_probe_restarts_total", probe="bad") == [4]
        node.good_goes_on()
    said = node.end()
    assert "probe bad: failed (step_raised): RuntimeError: no luck; next try in 1" in said
    if step == "collect":
        assert "probe bad: quarantined (step_raised): RuntimeError: no luck (5 times in a row)" in said


def test_one_that_leaks_descriptors_is_given_up(start):
    leak = "kept.extend(os.open('/dev/null', os.O_RDONLY) for _ in range(10))"
    node = start(source("bad", collect=leak), OBI_BUDGETS__DESCRIPTORS="200")
    stands(node, "quarantined", "descriptor_leak")
    node.good_goes_on()
    (left,) = node.values("obi_probe_left_open_descriptors", probe="bad")
    calls = node.values("obi_bad_things_total")[0]
    assert abs(left - 10 * calls) < 10, "what others opened meanwhile is counted along"
    assert node.values("obi_process_open_descriptors")[0] > 200
    assert abs(node.values("obi_probe_left_open_descriptors", probe="good")[0]) < 10
    found = re.search(
        r"bad: quarantined \(descriptor_leak\): its last collections have left (\d+) file descriptors open", node.end()
    )
    assert 16 <= int(found[1]) <= 160, "ten each, of the last sixteen"


def test_one_that_takes_memory_without_end_is_stopped_in_the_middle_of_it(start):
    node = start(source("bad", collect="hoard()"), OBI_BUDGETS__MEMORY="150MiB", OBI_AGENT__COLLECT_DEADLINE_S="20s")
    stands(node, "failed", "step_raised")
    node.good_goes_on()
    said = node.end()
    assert "while a probe was in collect; stopping that" in said
    assert "probe bad: failed (step_raised): FloodError: it took more memory in one step than the agent can spare" in said


def test_one_that_yields_more_than_a_collection_can_hold_is_stopped_at_the_bound(start):
    node = start(source("bad", collect="yield from (Observation(THINGS, n, 1) for n in range(1_000_000))"))
    stands(node, "failed", "step_raised")
    node.good_goes_on()
    assert "OverflowError: one collect yielded more than 200000 entries" in node.end()


MILLION = """
        P.calls -= 1
        for n in range(50_000 if P.calls < 20 else 0):
            yield Observation(THINGS, (P.calls, n), 1, None, {"kind": f"{P.calls}-{n}"})
        P.calls += P.calls < 20
        return
""".strip()


@pytest.mark.timeout(90)
def test_one_that_emits_a_million_series_gets_its_share_and_the_sum_stays_right(start):
    # not as fast as it can: what the bus has no room for would be lost, and counted as that
    paced = {"OBI_BAD__INTERVAL_S": "700ms", "OBI_AGENT__COLLECT_DEADLINE_S": "30s"}
    node = start(source("bad", collect=MILLION), OBI_METRICS__SERIES_LIMIT="500", **paced)
    node.until(lambda: node.ready().get("bad", {}).get("state") == "attached")
    node.until(lambda: sum(node.values("obi_bad_things_total")) >= 1_000_000)
    assert sum(node.values("obi_bad_things_total")) == 1_000_000
    assert len(node.values("obi_bad_things_total")) <= 502
    assert node.values("obi_bad_things_total", otel_metric_overflow="true")[0] >= 1_000_000 - 501
    assert node.values("obi_series", probe="bad")[0] <= 502
    assert node.values("obi_series_overflow_total", probe="bad")[0] >= 999_000
    node.good_goes_on()
    assert node.values("obi_process_resident_memory_bytes")[0] < 400e6
    node.end()
