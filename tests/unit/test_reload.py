"""A changed configuration under a running agent: what follows live, what starts anew, what is refused whole."""

import http.client
import json
import os
import sys
import threading
from collections.abc import Iterator

import pytest

from obi_core.errors import ConfigError
from obi_core.host import Host
from obi_core.model import ProbeState, Reason
from obi_core.runtime.agent import Agent
from obi_core.runtime.costs import Budget
from obi_core.runtime.orders import Restore, Shed
from obi_core.settings import load_settings
from obi_core.testing.fakes import FakeLoader
from obi_core.testing.site import Site

PROBE = """
    from typing import Annotated
    from obi_core import Instrument, Kind, KernelError, Live, Mode, Observation, Probe, ProbeSettings, Program, hookimpl
    from obi_core.testing.fakes import FakeLoader

    kernel = FakeLoader()

    class Settings(ProbeSettings):
        every: Annotated[int, Live("{name}_every", shed=True)] = 1
        size: int = 1

    class P(Probe):
        name = "{name}"
        settings_type = Settings
        instruments = (Instrument("obi.{name}.things", Kind.COUNTER, "{{thing}}", "Things.", headline=({{}},)),)
        modes = (Mode("tp_btf", (Program("{name}_hook"),)),)

        def load(self, loader, mode):
            if self.settings.size > 100:
                raise KernelError("no memory for its maps")
            self._bpf = self._open.enter_context(kernel.load("x", "x", mode, self.settings.plan()))

        def collect(self):
            yield Observation(self.instruments[0], "row", 1)

    @hookimpl
    def obi_register_probes():
        return (P,)
"""
SINK = """
    from obi_core import Sink, hookimpl

    made = []

    class {name}(Sink):
        name = "{name}"
        sections = {sections}

        @classmethod
        def create(cls, settings, resource):
            made.append(settings)
            return cls()

        def start(self, source):
            self.source = source

    @hookimpl
    def obi_register_sinks():
        return ({name},)
"""


class Running:
    """An agent on a thread of its own, whose configuration the test changes."""

    def __init__(self, site) -> None:
        self.site = site
        self.values = {
            "agent.plugins": ("good", "other"),
            "agent.view": "off",
            "agent.interval_s": 0.05,
            "metrics.enabled": False,
            "http.listen": "127.0.0.1:0",
        }
        self.changed = threading.Event()
        for name in ("good", "other", "third"):
            site.install(f"dist-{name}", name, PROBE.format(name=name))
        self.thread = threading.Thread(target=self.run, daemon=True)

    def read(self):
        return load_settings(None, {}, self.values)

    def run(self):
        self.agent.run()

    def start(self):
        self.agent = Agent(
            self.read(),
            Host(),
            loader=FakeLoader(),
            entry_points=self.site.entry_points,
            environ={},
            reread=self.read,
            changed=lambda: False,
        )
        self.thread.start()
        self.until(lambda: all(status.active for status in self.agent.statuses()) and self.agent.statuses())

    def reload(self, **values):
        """Change, ask, and wait for the result."""
        self.values |= {key.replace("__", "."): value for key, value in values.items()}
        before = self.results()
        self.agent.reload()
        self.until(lambda: self.results() != before)
        return next(name for name, number in self.results().items() if number != before[name])

    def own(self, name):
        return {p.attributes: p.value for m in self.agent._bus.metrics() if m.instrument.name == name for p in m.points}

    def results(self):
        return {dict(labels)["result"]: value for labels, value in self.own("obi_config_reloads_total").items()}

    def status(self, name):
        return next((status for status in self.agent.statuses() if status.probe == name), None)

    def until(self, condition):
        end = threading.Event()
        for _ in range(2000):
            if found := condition():
                return found
            end.wait(0.005)
        raise AssertionError([status.full() for status in self.agent.statuses()])


@pytest.fixture
def running(tmp_path, monkeypatch) -> Iterator[Running]:
    monkeypatch.syspath_prepend(str(tmp_path))
    site = Site(tmp_path)
    running = Running(site)
    yield running
    running.agent.stop()
    running.thread.join(10)
    site.forget()


def test_a_live_setting_takes_effect_in_the_object_that_runs(running):
    running.start()
    kernel = sys.modules["site_dist_good"].kernel
    objects = list(kernel.loaded)
    assert running.reload(good__every=8) == "applied"
    running.until(lambda: any(loaded.tuned.get("good_every") == 8 for loaded in objects))
    assert kernel.loaded == objects, "nothing was loaded anew"
    assert running.status("good").generation == 1


def test_only_the_probe_that_changed_starts_anew(running):
    running.start()
    assert running.reload(good__size=2) == "applied"
    running.until(lambda: (running.status("good").generation, running.status("good").active) == (2, True))
    assert running.status("other").generation == 1
    assert running.own("obi_probe_restarts_total") == {(("probe", "good"),): 1, (("probe", "other"),): 0}


def test_a_reload_while_a_probe_sheds_keeps_the_new_settings_and_the_steps_taken(running):
    running.start()
    kernel = sys.modules["site_dist_good"].kernel
    runner = next(runner for runner in running.agent._fleet if runner.name == "good")
    objects = list(kernel.loaded)

    def sampled():
        return [loaded.tuned.get("good_every") for loaded in kernel.loaded]

    for every in (2, 4):
        runner.order(Shed(Budget.KERNEL_CPU))
        running.until(lambda every=every: sampled() == [every])
    steps = running.status("good").sheds
    assert steps == ("samples 2 times less", "samples 4 times less")
    assert running.reload(good__every=10) == "applied"
    running.until(lambda: sampled() == [40])
    assert (kernel.loaded, running.status("good").generation, running.status("good").sheds) == (objects, 1, steps)
    # a change that needs a new start keeps them too
    assert running.reload(good__size=2) == "applied"
    running.until(lambda: (running.status("good").generation, running.status("good").active) == (2, True))
    running.until(lambda: sampled()[-1] == 40)
    assert running.status("good").sheds == steps
    for every in (20, 10):
        runner.order(Restore())
        running.until(lambda every=every: sampled()[-1] == every)
    assert running.status("good").sheds == ()


def test_a_reload_while_a_probe_is_paused_counts_when_it_runs_again(running):
    running.start()
    kernel = sys.modules["site_dist_good"].kernel
    runner = next(runner for runner in running.agent._fleet if runner.name == "good")
    for level in range(1, 6):  # four times less, then not at all
        runner.order(Shed(Budget.KERNEL_CPU))
        running.until(lambda level=level: len(running.status("good").sheds) == level)
    running.until(lambda: running.status("good").state is ProbeState.DETACHED)
    paused = running.status("good")
    assert (paused.reason, paused.sheds[-1]) == (Reason.OVER_BUDGET, "paused")
    assert running.reload(good__every=10) == "applied"
    assert running.status("good") == paused, "it stays so"
    runner.order(Restore())
    running.until(lambda: running.status("good").active and kernel.loaded[-1].tuned.get("good_every") == 160)
    assert running.status("good").sheds == paused.sheds[:-1]


def test_a_changed_budget_alone_starts_no_probe_anew(running):
    running.start()
    before = running.own("obi_config_info")
    assert running.reload(budgets__cpu=0.5, budgets__series=17, budgets__events_per_s=9) == "applied"
    assert running.own("obi_config_info") != before
    document = running.agent.status()["budgets"]
    assert document["cpus_allowed"] == 0.5 * (os.cpu_count() or 1), "the governor heeds it"
    running.until(lambda: all(status.active for status in running.agent.statuses()))
    assert [status.generation for status in running.agent.statuses()] == [1, 1]
    # a budget that is heeded when maps are made is another matter
    assert running.reload(budgets__map_memory=32 << 20) == "applied"
    running.until(lambda: [(s.generation, s.active) for s in running.agent.statuses()] == [(2, True)] * 2)


def test_an_interval_takes_effect_without_a_start(running):
    running.start()
    assert running.reload(agent__interval_s=1000.0) == "applied"
    assert [status.generation for status in running.agent.statuses()] == [1, 1]


def test_probes_come_and_go_with_the_list(running):
    running.start()
    assert running.reload(agent__plugins=("good", "third")) == "applied"
    running.until(lambda: running.status("third") is not None and running.status("third").active)
    assert {status.probe for status in running.agent.statuses()} == {"good", "third"}
    names = lambda: {m.instrument.name for m in running.agent._bus.metrics()}  # noqa: E731
    running.until(lambda: "obi.other.things" not in names())
    assert {"obi.good.things", "obi.third.things"} <= names()
    assert running.reload(agent__plugins=("good", "other")) == "applied"
    running.until(lambda: running.status("other") is not None and running.status("other").active)


@pytest.mark.parametrize(("key", "value"), [("pod_labels", ("app",)), ("image", True)])
def test_what_names_series_starts_their_probes_anew(running, key, value):
    running.start()
    assert running.reload(**{f"kubernetes__{key}": value}) == "applied"
    running.until(lambda: (running.status("good").generation, running.status("good").active) == (2, True))


@pytest.mark.parametrize(("key", "value"), [("token_file", "/run/token"), ("ended_s", 60.0)])
def test_where_and_how_to_ask_for_names_starts_nothing_anew(running, key, value):
    running.start()
    assert running.reload(**{f"kubernetes__{key}": value}) == "applied"
    assert running.reload(metrics__process_pid=True) == "applied"  # this does
    running.until(lambda: running.status("good").generation > 1 and running.status("good").active)
    assert running.status("good").generation == 2


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("good.size", "many", 'good.size: "many" is not allowed; it must be a whole number'),
        ("agent.plugins", ("gud",), 'no plugin "gud" is installed; installed: good, other, third'),
        ("agent.interval_s", -1.0, "agent.interval_s: -1.0 is not allowed"),
        ("agent.plugins", (), "no listed plugin has a probe; list one, such as tcp"),
    ],
)
def test_a_wrong_configuration_is_refused_whole_and_said_once(running, caplog, key, value, sentence):
    running.start()
    before = running.own("obi_config_info")
    running.agent._bus.watch(lambda: None)
    # what is right beside what is wrong does not take effect either
    assert running.reload(other__size=2, **{key.replace(".", "__"): value}) == "refused"
    assert [(s.probe, s.generation, s.state) for s in running.agent.statuses()] == [
        ("good", 1, ProbeState.ATTACHED),
        ("other", 1, ProbeState.ATTACHED),
    ]
    assert running.own("obi_config_info") == before
    (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert "changed configuration refused, the one before stays: " in record.getMessage()
    assert sentence in record.getMessage()
    (event,) = running.until(
        lambda: [each.what for each in running.agent._bus.happenings(10) if each.what.name == "obi.config.reload"]
    )
    assert (event.name, event.attributes["obi.config.result"]) == ("obi.config.reload", "refused")


def test_settings_that_the_node_cannot_carry_go_back_to_those_before(running, caplog):
    running.start()
    assert running.reload(good__size=101) == "applied"
    running.until(lambda: running.status("good").generation >= 3 and running.status("good").active)
    assert any("goes on with the settings it had" in record.getMessage() for record in caplog.records)
    assert running.reload(good__size=3) == "applied"
    running.until(lambda: running.status("good").generation >= 4 and running.status("good").active)


def test_a_probe_that_was_given_up_starts_again_with_other_settings(running):
    running.values["good.size"] = 101
    running.values["agent.plugins"] = ("good", "other")
    running.agent = None
    running.agent = Agent(
        running.read(),
        Host(),
        loader=FakeLoader(),
        entry_points=running.site.entry_points,
        environ={},
        reread=running.read,
    )
    running.thread.start()
    running.until(lambda: running.status("good") and running.status("good").state is ProbeState.UNSUPPORTED)
    running.until(lambda: running.status("other").active)
    assert running.reload(good__size=1) == "applied"
    running.until(lambda: running.status("good").active)


def test_reading_the_same_again_changes_nothing(running):
    running.start()
    assert running.reload() == "unchanged"
    assert [status.generation for status in running.agent.statuses()] == [1, 1]


def test_only_sinks_whose_sections_changed_are_made_anew(running):
    running.site.install("dist-first", "first", SINK.format(name="First", sections='("metrics",)'))
    running.site.install("dist-second", "second", SINK.format(name="Second", sections='("resource",)'))
    running.values["agent.plugins"] = ("good", "other", "first", "second")
    running.start()
    made = {name: sys.modules[f"site_dist_{name}"].made for name in ("first", "second")}
    assert running.reload(metrics__series_limit=7) == "applied"
    assert {name: len(each) for name, each in made.items()} == {"first": 2, "second": 1}
    assert running.reload(resource__attributes={"a": "b"}) == "applied"
    assert {name: len(each) for name, each in made.items()} == {"first": 2, "second": 2}


def test_a_taken_port_refuses_the_whole_change(running):
    running.start()
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        assert running.reload(http__listen=address, good__size=2) == "refused"
        assert running.reload(http__listen="127.0.0.1:0", metrics__enabled=True, metrics__listen=address) == "refused"
    assert running.status("good").generation == 1


def test_health_moves_with_its_address_and_says_which_configuration_is_in_force(running):
    running.start()
    before = running.agent.http_port
    assert running.reload(http__listen="127.0.0.2:0", http__required=("good",)) == "applied"
    running.until(lambda: running.agent.http_port != before)
    connection = http.client.HTTPConnection("127.0.0.2", running.agent.http_port, timeout=10)
    connection.request("GET", "/status")
    document = json.loads(connection.getresponse().read())
    connection.close()
    ((labels, one),) = running.own("obi_config_info").items()
    assert (dict(labels)["hash"], one) == (document["config"]["hash"], 1)


def test_a_configuration_that_cannot_be_read_is_refused(running, monkeypatch):
    running.start()

    def broken():
        raise ConfigError("malformed YAML", file="obi.yaml", line=3)

    running.agent._reloads.read = broken
    assert running.reload() == "refused"
