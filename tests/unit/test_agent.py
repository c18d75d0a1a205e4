"""The whole agent with plugins from a folder, no kernel: what it isolates, what ends it, and in which order it ends."""

import http.client
import json
import os
import queue
import signal
import socket
import sys
import threading

import pytest

from obi_core.errors import ConfigError, HostError
from obi_core.host import Host
from obi_core.model import ProbeState, Reason
from obi_core.runtime.agent import Agent
from obi_core.settings import load_settings
from obi_core.testing.fakes import FakeLoader
from obi_core.testing.site import Site

PROBE = """
    import threading
    from obi_core import Instrument, Kind, Mode, Observation, Owner, Probe, ProbeSettings, hookimpl

    THINGS = Instrument("obi.{name}.things", Kind.COUNTER, "{{thing}}", "Things.", headline=({{}},))
    collects = 0
    entered, leave = threading.Event(), threading.Event()

    def hang():
        entered.set()
        leave.wait()

    class Settings(ProbeSettings):
        size: int = 1

    class P(Probe):
        name = "{name}"
        settings_type = Settings
        instruments = (THINGS,)
        modes = (Mode("proc", needs={needs}),)

        def load(self, loader, mode):
            {load}

        def collect(self):
            global collects
            collects += 1
            {collect}
            yield Observation(THINGS, "row", collects)

    @hookimpl
    def obi_register_probes():
        return (P,)
"""

WATCHER = """
    import queue
    from obi_core import Sink, hookimpl

    changes = queue.Queue()
    calls = []

    class Paper(Sink):
        name = "paper"

        @classmethod
        def create(cls, settings, resource):
            calls.append(("create", resource["service.name"]))
            return cls()

        def start(self, source):
            self.source = source
            calls.append("start")

        def flush(self, deadline_s):
            calls.append("flush")
            calls.append({m.instrument.name: [(dict(p.attributes), p.value) for p in m.points] for m in self.source.metrics()})

        def stop(self):
            calls.append("stop")

    @hookimpl
    def obi_register_sinks():
        return (Paper,)

    @hookimpl
    def obi_probe_changed(probe, state, reason, mode):
        changes.put((probe, state, reason, mode))
"""


class Bench:
    """An agent that runs on a thread of the test's."""

    def __init__(self, site) -> None:
        self.site, self.plugins, self.agent = site, [], None
        self.result: queue.Queue = queue.Queue()
        self.probe_module = {}
        self.install("watcher", WATCHER)

    def install(self, name, source) -> None:
        self.site.install(f"dist-{name}", name, source)
        self.plugins.append(name)

    def probe(self, name, *, load="pass", collect="pass", needs="()"):
        self.install(name, PROBE.format(name=name, load=load, collect=collect, needs=needs))

    def make(self, host=None, **overrides):
        settings = {
            "agent.plugins": tuple(self.plugins),
            "agent.view": "off",
            "agent.interval_s": 0.05,
            "agent.shutdown_deadline_s": 2.0,
            "metrics.enabled": False,
            "http.listen": "127.0.0.1:0",
            **{key.replace("__", "."): value for key, value in overrides.items()},
        }
        self.agent = Agent(
            load_settings(None, {}, settings),
            host or Host(),
            loader=FakeLoader(),
            entry_points=self.site.entry_points,
            environ={},
        )
        return self.agent

    def start(self, **overrides):
        self.make(**overrides)
        threading.Thread(target=lambda: self.result.put(self.agent.run()), daemon=True).start()

    def module(self, name):
        return sys.modules[f"site_dist_{name}"]

    def until(self, *wanted):
        """Wait for a change of state: (probe, state, reason)."""
        while True:
            change = self.changes().get(timeout=10)
            if change[: len(wanted)] == wanted:
                return change

    def changes(self):
        while "site_dist_watcher" not in sys.modules or not hasattr(self.module("watcher"), "calls"):
            threading.Event().wait(0.005)
        return self.module("watcher").changes

    def end(self):
        self.agent.stop()
        return self.result.get(timeout=20)

    def get(self, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.agent.http_port, timeout=10)
        connection.request("GET", path)
        response = connection.getresponse()
        document = json.loads(response.read())
        connection.close()
        return response.status, document


@pytest.fixture
def bench(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    site = Site(tmp_path)
    bench = Bench(site)
    yield bench
    for name in bench.plugins:
        if hasattr(module := sys.modules.get(f"site_dist_{name}"), "leave"):
            module.leave.set()
    site.forget()


def test_it_runs_until_it_is_stopped_and_the_last_collection_is_exported(bench):
    bench.probe("good")
    bench.start(agent__interval_s=1000.0)
    assert bench.until("good", ProbeState.ATTACHED) == ("good", ProbeState.ATTACHED, Reason.OK, "proc")
    assert bench.end() == 0
    assert bench.until("good", ProbeState.DETACHED) == ("good", ProbeState.DETACHED, Reason.STOPPED, "")
    calls = bench.module("watcher").calls
    assert [call for call in calls if not isinstance(call, dict)] == [("create", "obi"), "start", "flush", "stop"]
    final = next(call for call in calls if isinstance(call, dict))
    assert bench.module("good").collects == 2, "one at the start, one at the end"
    assert final["obi.good.things"] == [({"obi.probe.mode": "proc"}, 2)], "its mode has no BPF, and says so"


def test_its_own_metrics_exist(bench):
    bench.probe("good")
    bench.start()
    bench.until("good", ProbeState.ATTACHED)
    bench.end()
    final = next(call for call in bench.module("watcher").calls if isinstance(call, dict))
    assert final["obi_probe_state"] == [({"probe": "good", "state": "attached", "reason": "ok"}, 1)]
    assert final["obi_probe_mode"] == [({"probe": "good", "mode": "proc"}, 1)]
    assert final["obi_probe_degraded"] == [({"probe": "good"}, 0)]
    assert final["obi_probe_restarts_total"] == [({"probe": "good"}, 0)]
    assert final["obi_probe_map_bytes"] == [({"probe": "good"}, 0)]
    (labels, cpu), kernel = final["obi_probe_cpu_seconds_total"]
    assert labels == {"probe": "good", "side": "user"}
    assert kernel == ({"probe": "good", "side": "kernel"}, 0)
    assert cpu > 0
    ((labels, one),) = final["obi_build_info"]
    assert (set(labels), one) == ({"version", "python_version"}, 1)
    ((_, resident),) = final["obi_process_resident_memory_bytes"]
    assert resident > 1_000_000
    assert {
        "obi_probe_collect_seconds",
        "obi_probe_events_total",
        "obi_probe_entries_total",
        "obi_process_cpu_seconds_total",
        "obi_process_start_time_seconds",
        "obi_series",
        "obi_series_overflow_total",
    } <= set(final)


def test_a_plugin_that_hangs_or_raises_leaves_the_others_running(bench):
    bench.probe("good")
    bench.probe("stuck", collect="hang()")
    bench.probe("angry", collect="1 / 0")
    bench.install("broken", "raise SystemExit(1)")
    bench.start(agent__collect_deadline_s=0.1, http__required=("good",))
    bench.until("stuck", ProbeState.QUARANTINED, Reason.STEP_HUNG)
    before = bench.module("good").collects
    while bench.module("good").collects < before + 3:
        threading.Event().wait(0.005)
    status, document = bench.get("/ready")
    assert (status, document["ready"]) == (200, True)
    assert {name: (probe["state"], probe["reason"]) for name, probe in document["probes"].items()} == {
        "good": ("attached", "ok"),
        "stuck": ("quarantined", "step_hung"),
        "angry": (document["probes"]["angry"]["state"], document["probes"]["angry"]["reason"]),
        "broken": ("quarantined", "import_raised"),
    }
    status, document = bench.get("/status")
    assert document["probes"]["stuck"]["detail"] == "collect did not come back in time"
    assert document["probes"]["broken"]["detail"] == "site_dist_broken raised SystemExit: 1; repair or unlist the plugin"
    assert document["probes"]["good"]["dist"] == "dist-good"
    assert bench.get("/health")[0] == 200
    assert bench.end() == 0


def test_a_required_probe_that_cannot_run_makes_it_not_ready_and_not_dead(bench):
    bench.probe("good")
    bench.probe("stuck", load="hang()")
    bench.start(agent__step_deadline_s=0.1, http__required=("stuck",))
    bench.until("stuck", ProbeState.QUARANTINED)
    assert bench.get("/ready")[0] == 503
    assert bench.get("/health")[0] == 200
    assert bench.end() == 0


def test_a_probe_that_hangs_does_not_hold_the_end(bench):
    bench.probe("stuck", collect="hang()")
    bench.start(agent__shutdown_deadline_s=0.3)
    while "site_dist_stuck" not in sys.modules:
        threading.Event().wait(0.005)
    assert bench.module("stuck").entered.wait(10)
    assert bench.end() == 0
    assert bench.until("stuck", ProbeState.QUARANTINED)[2] is Reason.STEP_HUNG
    assert bench.module("watcher").calls[-1] == "stop"


def test_a_sink_that_raises_costs_itself_alone(bench):
    bench.probe("good")
    source = WATCHER.replace('calls.append("start")', "1 / 0").replace('"paper"', '"torn"')
    bench.install("torn", source)
    bench.start()
    bench.until("good", ProbeState.ATTACHED)
    assert bench.get("/status")[1]["sinks"] == ["paper"]
    assert bench.end() == 0


def test_a_hook_that_raises_does_not_keep_the_others_from_hearing(bench):
    bench.probe("good")
    bench.install(
        "deaf", "from obi_core import hookimpl\n@hookimpl\ndef obi_probe_changed(probe, state, reason, mode):\n    1 / 0\n"
    )
    bench.start()
    bench.until("good", ProbeState.ATTACHED)
    assert bench.end() == 0


def test_when_no_probe_can_run_it_ends_with_every_reason_in_one_line(bench, tmp_path, caplog):
    bench.probe("good", needs='("cap:bpf",)')
    bench.probe("other", needs='("btf",)')
    bench.install("broken", "1 / 0")
    with pytest.raises(HostError) as caught:
        bench.make(host=Host(tmp_path / "proc", tmp_path / "sys")).run()
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("no probe can run here: broken: import_raised, site_dist_broken raised ZeroDivisionError")
    assert "; good: missing_capability, cap:bpf is missing: run it as root, or give the process CAP_BPF" in message
    assert "; other: no_btf, btf is missing: " in message
    assert caught.value.exit_status == 1
    assert caplog.records == [], "that line is all that is said"
    assert "flush" not in bench.module("watcher").calls
    assert bench.module("watcher").calls[-1] == "stop"


def test_a_probe_that_cannot_run_beside_one_that_can_is_told(bench, tmp_path, caplog):
    bench.probe("good")
    bench.probe("other", needs='("btf",)')
    bench.start(host=Host(tmp_path / "proc", tmp_path / "sys"))
    assert bench.until("other", ProbeState.UNSUPPORTED)[2] is Reason.NO_BTF
    assert bench.end() == 0
    (message,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert message.startswith("probe other: unsupported (no_btf): proc: btf is missing: use a kernel built with")


def test_when_only_broken_plugins_are_listed_it_ends(bench):
    bench.install("broken", "1 / 0")
    with pytest.raises(HostError, match="no probe can run here: broken: import_raised"):
        bench.make().run()


def test_a_list_without_a_probe_is_a_configuration_error(bench):
    with pytest.raises(ConfigError, match="no listed plugin has a probe"):
        bench.make().run()


def test_a_taken_port_is_found_before_any_probe_is_loaded(bench):
    bench.probe("good", load="entered.set()")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(HostError, match=rf"health address {address}: taken by .* \(pid {os.getpid()}\)"):
            bench.make(http__listen=address).run()
    assert not bench.module("good").entered.is_set()


def test_a_wrong_setting_of_a_probe_is_a_configuration_error(bench):
    bench.probe("good", load="entered.set()")
    with pytest.raises(ConfigError):
        bench.make(good__size="many").run()
    assert not bench.module("good").entered.is_set()


def test_an_unknown_plugin_is_a_configuration_error(bench):
    with pytest.raises(ConfigError, match='no plugin "gud" is installed'):
        bench.make(agent__plugins=("gud",)).run()


def test_a_signal_handler_may_stop_it(bench, monkeypatch):
    bench.probe("good", collect="import os, signal; os.kill(os.getpid(), signal.SIGUSR1)")
    agent = bench.make()
    before = signal.signal(signal.SIGUSR1, lambda *_: agent.stop())
    try:
        assert agent.run() == 0
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_resolver_of_a_plugin_adds_to_what_is_known_and_one_that_raises_is_asked_no_more(bench):
    bench.probe("good", collect='yield Observation(THINGS, "mine", 1, Owner(1, 0, 0, "x"))')
    bench.install(
        "names",
        """
        from obi_core import Subject, hookimpl

        class Names:
            def resolve(self, owner):
                return Subject({"k8s.pod.name": "pod-1"})

        class Torn:
            def resolve(self, owner):
                raise KeyError(owner)

        @hookimpl
        def obi_register_resolvers():
            return (Torn, Names)
        """,
    )
    bench.start(metrics__bind_grace_s=0.01)
    bench.until("good", ProbeState.ATTACHED)
    bench.end()
    final = next(call for call in bench.module("watcher").calls if isinstance(call, dict))
    assert any(labels.get("k8s.pod.name") == "pod-1" for labels, _ in final["obi.good.things"])
