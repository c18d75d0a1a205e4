"""The bus: threads, refused batches, snapshots, shutdown."""

from dataclasses import dataclass, field
from threading import Event, Thread

import pytest

from obi_core.bus import Bus, Limits, Place, own_metric
from obi_core.errors import PluginError
from obi_core.model import Account, Column, Instrument, Kind, LogEvent, Loss, Observation, Owner, Retired, Row, Span, View
from obi_core.resolver import Subject

A = Instrument("obi.x.a", Kind.COUNTER, "{a}", "A.", headline=({},))
B = Instrument("obi.x.b", Kind.COUNTER, "{b}", "B.", headline=({},))
OPEN = Instrument("obi.x.open", Kind.UPDOWNCOUNTER, "{o}", "Open.", headline=({},))
VIEW = View("things", "Things.", (Column("name"),))


@dataclass
class Names:
    """Blocks the bus thread while `gate` is closed."""

    complete: bool = True
    gate: Event = field(default_factory=Event)
    reached: Event = field(default_factory=Event)

    def resolve(self, owner):
        self.reached.set()
        self.gate.wait(10)
        return Subject({"process.executable.name": owner.comm}, complete=self.complete)


@pytest.fixture
def names():
    made = Names()
    made.gate.set()
    return made


@pytest.fixture
def make(names):
    buses = []

    def made(**options):
        bus = Bus(names, Limits(**options))
        bus.register("x", "obi-plugin-x 1.0", (A, B, OPEN), (VIEW,))
        bus.start()
        buses.append(bus)
        return bus

    yield made
    names.gate.set()
    for bus in buses:
        assert bus.stop(10)


def total(bus, instrument):
    return sum(point.value for metric in bus.metrics() if metric.instrument is instrument for point in metric.points)


def own(bus, name, **labels):
    metric = next(metric for metric in bus.metrics() if metric.instrument.name == name)
    return next(point.value for point in metric.points if dict(point.attributes) == labels)


def block(bus, names):
    """Hold the bus thread in the middle of a batch."""
    names.gate.clear()
    assert bus.publish("x", 1, [Observation(A, "gate", 0, Owner(1, 1, 1, "gate"))])
    assert names.reached.wait(10)


def test_a_snapshot_holds_everything_published_before_it(make):
    bus = make()
    for value in range(1, 101):
        while not bus.publish("x", 1, [Observation(A, 1, value)]):
            bus.flush(10)
        if value % 10 == 0:
            assert total(bus, A) == value


def test_four_workers_lose_nothing(make):
    bus = make()
    for n in range(4):
        bus.register(f"p{n}", "dist", (Instrument(f"obi.p{n}.a", Kind.COUNTER, "", "."),))

    def work(n):
        mine = Instrument(f"obi.p{n}.a", Kind.COUNTER, "", ".")
        for value in range(1, 501):
            bus.publish(f"p{n}", 1, [Observation(mine, key, value) for key in range(3)])
        while not bus.publish(f"p{n}", 1, [Observation(mine, key, 501) for key in range(3)]):
            bus.flush(10)

    threads = [Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = {metric.instrument.name: metric.points[0].value for metric in bus.metrics() if metric.scope == "dist"}
    assert found == {f"obi.p{n}.a": 1503 for n in range(4)}


def test_a_batch_is_in_a_snapshot_wholly_or_not_at_all(make):
    bus = make()
    stop = Event()

    def work():
        value = 0
        while not stop.is_set():
            value += 1
            bus.publish(
                "x", 1, [Observation(A, key, value) for key in range(50)] + [Observation(B, key, value) for key in range(50)]
            )

    worker = Thread(target=work)
    worker.start()
    for _ in range(200):
        found = {metric.instrument.name: metric.points[0].value for metric in bus.metrics() if metric.scope}
        assert found["obi.x.a"] == found["obi.x.b"]
    stop.set()
    worker.join()


def test_a_worker_never_waits_and_what_was_refused_is_counted(make, names):
    bus = make(batches=2)
    bus.register("y", "dist", ())
    block(bus, names)
    assert [bus.publish("x", 1, [Observation(A, 1, n), Observation(B, 1, n)]) for n in (1, 2, 3)] == [True, True, False]
    assert bus.losses()["x", "queue"] == 2
    assert bus.publish("y", 1, [])
    names.gate.set()
    assert bus.flush(10)
    assert (total(bus, A), total(bus, B)) == (2, 2)
    assert bus.publish("x", 1, [Observation(A, 1, 4), Observation(B, 1, 4)])
    assert (total(bus, A), total(bus, B)) == (4, 4)
    assert own(bus, "obi_probe_entries_total", probe="x", outcome="lost_queue") == 2


def test_rows_that_end_in_a_refused_batch_are_not_lost(make, names):
    bus = make(batches=1)
    assert bus.publish("x", 1, [Observation(A, 1, 5), Observation(OPEN, 1, 1)])
    assert bus.flush(10)
    block(bus, names)
    assert bus.publish("x", 1, [])
    assert not bus.publish("x", 1, [Observation(A, 1, 7), Observation(OPEN, 1, 1), Observation(A, 2, 100), Retired(1)])
    names.gate.set()
    assert bus.flush(10)
    assert (total(bus, A), total(bus, OPEN)) == (7, 0)
    assert bus.publish("x", 1, [Observation(A, 1, 9), Observation(A, 2, 101)])
    assert total(bus, A) == 7 + 9 + 101


def test_a_sink_reads_what_was_last_known_from_a_bus_that_is_stopped(make):
    bus = make()
    bus.publish("x", 1, [Observation(A, 1, 5)])
    assert bus.stop(10)
    assert total(bus, A) == 5
    assert not bus.publish("x", 1, [Observation(A, 1, 6)])
    assert bus.losses()["x", "queue"] == 1
    assert total(bus, A) == 5
    assert not bus.flush(1)


def test_stop_applies_what_was_published_and_binds_what_still_waits(make, names):
    names.complete = False
    bus = make(bind_grace_s=3600.0)
    bus.publish("x", 1, [Observation(A, 1, 5, Owner(1, 1, 1, "sh"))])
    assert total(bus, A) == 0
    bus.publish("x", 1, [Observation(A, 1, 6, Owner(1, 1, 1, "sh"))])
    assert bus.stop(10)
    assert total(bus, A) == 6
    assert own(bus, "obi_identity_unresolved_total", reason="late") == 1


def test_stop_that_takes_too_long_says_so(make, names):
    bus = make()
    block(bus, names)
    assert not bus.stop(0.05)


def test_a_late_identity_is_bound_by_the_bus_thread(make, names):
    names.complete = False
    bus = make(bind_grace_s=0.01)
    bus.publish("x", 1, [Observation(A, 1, 5, Owner(1, 1, 1, "sh"))])
    while total(bus, A) == 0:
        bus.flush(1)
    assert total(bus, A) == 5


def test_the_end_of_a_generation_comes_after_what_was_published_before(make):
    bus = make()
    bus.publish("x", 1, [Observation(A, 1, 5), Observation(OPEN, 1, 3)])
    bus.end("x", 1)
    bus.publish("x", 1, [Observation(A, 1, 50)])
    bus.publish("x", 2, [Observation(A, 1, 2), Observation(OPEN, 1, 1)])
    assert (total(bus, A), total(bus, OPEN)) == (7, 1)


def test_what_was_not_declared_is_reported_to_the_runner(make):
    bus = make()
    bus.publish("x", 3, [Observation(A, 1, 5, None, {"peer": "z"})])
    assert bus.flush(10)
    assert bus.undeclared("x", 3) == "obi.x.a does not declare the attribute peer"
    assert bus.undeclared("x", 4) is None
    assert own(bus, "obi_probe_entries_total", probe="x", outcome="undeclared") == 1


def test_a_batch_that_cannot_be_applied_costs_nobody_else(make, caplog):
    bus = make()
    bus.publish("nobody", 1, [Observation(A, 1, 5)])
    bus.publish("x", 1, [Observation(A, 1, 5)])
    assert total(bus, A) == 5
    assert bus.undeclared("nobody", 1) == "a batch could not be applied: KeyError('nobody')"
    assert "could not apply" in caplog.text


def test_losses_exist_as_zero_and_are_counted_by_place(make):
    bus = make()
    assert bus.losses() == {("x", place): 0 for place in ("kernel", "decode", "queue", "spool", "rejected")}
    bus.publish("x", 1, [Loss("rows_full", 4)])
    bus.publish("x", 1, [Loss("rows_full", 6)])
    bus.lose("x", Place.DECODE, 2)
    assert bus.flush(10)
    assert (bus.losses()["x", "kernel"], bus.losses()["x", "decode"]) == (6, 2)
    assert own(bus, "obi_probe_lost_total", probe="x", place="kernel", cause="rows_full") == 6


def test_an_account_exists_as_zero_and_adds_up_across_generations(make):
    bus = make()

    def outcomes():
        assert bus.flush(10)
        names = ("seen", "exported", "filtered", "sampled_out", "lost")
        return tuple(own(bus, "obi_probe_events_total", probe="x", outcome=name) for name in names)

    assert outcomes() == (0, 0, 0, 0, 0)
    bus.publish("x", 1, [Account("seen", 10), Account("exported", 7), Account("lost", 3)])
    bus.publish("x", 1, [Account("seen", 12), Account("exported", 9), Account("lost", 3)])
    bus.end("x", 1)
    bus.publish("x", 2, [Account("seen", 5), Account("filtered", 4), Account("sampled_out", 1)])
    assert outcomes() == (17, 9, 4, 1, 3)


def test_spans_and_log_events_wait_in_a_bounded_queue(make):
    bus = make(events=2)
    events = [Span("s1", 1, 2), LogEvent("e1", 3, "x"), Span("s2", 4, 5, Owner(7, 1, 1, "curl"))]
    bus.publish("x", 1, events)
    assert bus.happenings(10) == []  # nobody has asked for any: none is kept, none is lost
    assert bus.losses()["x", "queue"] == 0
    woken = []
    bus.watch(lambda: woken.append(1))
    bus.publish("x", 1, events)
    bus.note(LogEvent("of the agent", 6, "y"))
    taken = bus.happenings(10)
    assert bus.losses()["x", "queue"] == 2
    assert [(each.probe, each.what) for each in taken] == [("x", events[2]), ("", LogEvent("of the agent", 6, "y"))]
    assert woken
    assert (taken[0].scope, taken[1].scope) == ("obi-plugin-x 1.0", "")
    assert taken[0].subject == {"process.executable.name": "curl"}
    assert bus.happenings(10) == []


def test_views_travel_with_their_collection_and_what_is_drained_between_does_not_touch_them(make):
    bus = make()
    end = bus.subscribe("things")
    assert bus.wanted("x") == {"things"}
    bus.publish("x", 1, [Row(VIEW, 1, None, ("one",))])
    bus.publish("x", 1, [Span("s", 1, 2), Observation(A, 1, 5), Loss("ring_full", 3)], whole=False)
    bus.publish("x", 1, [], whole=False)
    assert bus.flush(10)
    assert [row.key for row, _ in bus.table("things").rows] == [1]
    assert (total(bus, A), bus.losses()["x", "kernel"]) == (5, 3)
    bus.publish("x", 1, [Span("s", 1, 2)])
    assert bus.flush(10)
    assert bus.table("things").rows == ()
    end()
    assert bus.table("things") is None
    assert bus.views() == (VIEW,)


def test_own_metrics_come_last_and_a_provider_that_raises_costs_only_itself(make, caplog):
    bus = make()
    bus.add_own(lambda: 1 / 0)
    bus.add_own(lambda: [own_metric("obi_build_info", Kind.GAUGE, "Build.", [({"version": "1"}, 1)])])
    assert [metric.instrument.name for metric in bus.metrics()] == [
        "obi.x.a",
        "obi.x.b",
        "obi.x.open",
        "obi_series",
        "obi_series_overflow_total",
        "obi_probe_events_total",
        "obi_probe_entries_total",
        "obi_probe_lost_total",
        "obi_identity_unresolved_total",
        "obi_build_info",
    ]
    assert "its metrics are missing" in caplog.text


def test_registration_refuses_what_cannot_be_kept_at_once(make):
    with pytest.raises(PluginError, match="give it `buckets`"):
        make().register("y", "d", (Instrument("obi.y.h", Kind.HISTOGRAM, "s", "."),))


def test_a_probe_registered_twice_is_registered_once(make):
    bus = make()
    bus.publish("x", 1, [Observation(A, 1, 5)])
    bus.register("x", "obi-plugin-x 1.0", (A, B, OPEN), (VIEW,))
    assert total(bus, A) == 5
    assert bus.views() == (VIEW,)
