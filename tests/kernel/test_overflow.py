"""A ring buffer of one page that overflows: what was taken and what was counted as lost are what was fired."""

import importlib
import queue
import threading

import pytest

from obi_core.host import Host
from obi_core.model import LogEvent, Observation, ProbeState
from obi_core.runtime.agent import Agent
from obi_core.settings import load_settings
from obi_core.testing.site import Site

pytestmark = pytest.mark.kernel(needs=("cap:bpf", "cap:perfmon", "btf", "tracefs", "root", "cmd:clang"))

FIRED = 5_000
ROOM = 4096 // 16 - 1
"""Records of 16 bytes with their header in a page that is never quite full."""

PLUGIN = """
    import queue
    from obi_core import hookimpl
    from obi_core.testing.sinks import InMemorySink
    from {probe} import obi_register_probes

    changes, sinks = queue.Queue(), []

    class Paper(InMemorySink):
        def __init__(self):
            super().__init__()
            sinks.append(self)

    @hookimpl
    def obi_register_sinks():
        return (Paper,)

    @hookimpl
    def obi_probe_changed(probe, state, reason, mode):
        changes.put(state)
"""


@pytest.fixture
def site(limits, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    made = Site(tmp_path)
    made.install("obi-plugin-limits", "limits", PLUGIN.format(probe=limits.probe.__name__))
    yield made
    made.forget()


def test_records_taken_and_records_lost_are_all_that_were_fired(loader, limits):
    with limits.running(loader, "queue") as loaded:
        limits.call(range(FIRED))
        first = [record.key for record in loaded.drain("limits_ring")]
        assert first == list(range(ROOM))
        assert limits.lost(loaded) == {"token": 0, "key": 0, "record": FIRED - ROOM}
        # The ring that was emptied has room again, and the count goes on.
        limits.call(range(FIRED))
        assert len(list(loaded.drain("limits_ring"))) == ROOM
        assert limits.lost(loaded)["record"] == 2 * (FIRED - ROOM)


def test_a_reader_that_keeps_up_in_part_still_accounts_for_all(loader, limits):
    taken = 0
    with limits.running(loader, "queue") as loaded:
        firing = threading.Thread(target=limits.call, args=(range(20 * FIRED),))
        firing.start()
        while firing.is_alive():
            taken += len(list(loaded.drain("limits_ring")))
        firing.join()
        while rest := list(loaded.drain("limits_ring")):
            taken += len(rest)
        assert taken >= ROOM
        assert taken + limits.lost(loaded)["record"] == 20 * FIRED


def test_the_agent_exports_what_was_taken_and_what_was_lost_and_they_add_up(loader, limits, site):
    settings = {
        "agent.plugins": ("limits",),
        "agent.view": "off",
        "agent.interval_s": 1000.0,
        "metrics.enabled": False,
        "http.listen": "127.0.0.1:0",
    }
    chosen = limits.settings().model_dump(exclude_none=True)
    settings |= {f"limits.{name}": value for name, value in chosen.items()}
    agent = Agent(load_settings(None, {}, settings), Host(), loader=loader, entry_points=site.entry_points, environ={})
    plugin, result = importlib.import_module(site.modules[0]), queue.Queue()
    threading.Thread(target=lambda: result.put(agent.run()), daemon=True).start()
    while plugin.changes.get(timeout=20) is not ProbeState.ATTACHED:
        pass
    limits.call(range(FIRED))
    agent.stop()
    assert result.get(timeout=20) == 0
    [sink] = plugin.sinks
    [(_, taken)] = sink.flushed["obi.limits.records"].items()
    lost = sink.flushed["obi_probe_lost_total"][("cause", "ring_full"), ("place", "kernel"), ("probe", "limits")]
    outcomes = {dict(labels)["outcome"]: number for labels, number in sink.flushed["obi_probe_entries_total"].items()}
    assert taken >= ROOM
    assert lost >= FIRED // 2
    assert taken + lost == FIRED
    assert (outcomes["lost_kernel"], outcomes["undeclared"], outcomes["lost_queue"]) == (lost, 0, 0)
    assert outcomes["accepted"] >= taken
    assert agent.status()["probes"]["limits"]["lost"]["kernel"] == lost


def test_the_probe_s_events_carry_the_records_in_order(loader, limits):
    probe = limits.probe.LimitsProbe(limits.settings())
    try:
        probe.load(loader, probe.modes[0])
        probe.attach(probe.modes[0])
        limits.call(range(7))
        *events, seen = probe.drain()
    finally:
        probe.detach()
    assert [event.body for event in events] == [str(number) for number in range(7)]
    assert all(isinstance(event, LogEvent) for event in events)
    assert isinstance(seen, Observation)
    assert seen.value == 7
