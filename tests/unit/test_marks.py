"""Attributes that every point of a probe carries: those of the mode that it is in."""

from obi_core.bus import Bus
from obi_core.model import Instrument, Kind, Observation
from obi_core.resolver import Subject

THINGS = Instrument("obi.x.things", Kind.COUNTER, "{thing}", "Things.", ("kind",), headline=({"kind": "a"},))
FILES = {"obi.probe.mode": "files"}


class Nobody:
    def resolve(self, owner):
        return Subject({})


def points(bus):
    (metric,) = [metric for metric in bus.metrics() if metric.instrument is THINGS]
    return {tuple(point.attributes): point.value for point in metric.points}


def test_a_mode_without_bpf_marks_its_points_the_headline_s_too():
    bus = Bus(Nobody())
    bus.register("x", "obi-plugin-x", (THINGS,), marks=FILES)
    bus.start()
    bus.publish("x", 1, [Observation(THINGS, "b", 3, attributes={"kind": "b"})])
    bus.stop(10)
    assert points(bus) == {
        (("kind", "a"), ("obi.probe.mode", "files")): 0,
        (("kind", "b"), ("obi.probe.mode", "files")): 3,
    }


def test_a_step_to_another_mode_begins_other_series_and_no_counter_falls():
    bus = Bus(Nobody())
    bus.register("x", "obi-plugin-x", (THINGS,))
    bus.start()
    bus.publish("x", 1, [Observation(THINGS, "a", 3, attributes={"kind": "a"})])
    bus.end("x", 1)
    bus.register("x", "obi-plugin-x", (THINGS,), marks=FILES)
    bus.publish("x", 2, [Observation(THINGS, "a", 2, attributes={"kind": "a"})])
    bus.stop(10)
    assert points(bus) == {(("kind", "a"),): 3, (("kind", "a"), ("obi.probe.mode", "files")): 2}
