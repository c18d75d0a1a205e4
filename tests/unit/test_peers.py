"""The other end of a connection is named where its address stands: on spans, log events and series."""

import pytest

from obi_core.bus import Bus, Limits
from obi_core.model import Instrument, Kind, LogEvent, Observation, Owner, Span
from obi_core.resolver import Subject

FLOWS = Instrument("obi.x.flows", Kind.COUNTER, "{flow}", "Flows.", ("source.address", "destination.address"))
KNOWN = {
    "10.1.0.1": {"k8s.namespace.name": "shop", "k8s.pod.name": "web-1"},
    "10.96.7.7": {"k8s.namespace.name": "shop", "k8s.service.name": "db"},
}


class Names:
    """A resolver that knows addresses."""

    def __init__(self) -> None:
        self.asked = []

    def resolve(self, owner):
        return Subject({"container.id": "c"})

    def details(self, owner):
        return {}

    def peer(self, address):
        self.asked.append(address)
        return KNOWN.get(address, {})


@pytest.fixture
def names():
    return Names()


@pytest.fixture
def bus(names):
    made = Bus(names, Limits())
    made.register("x", "d", (FLOWS,))
    made.start()
    yield made
    assert made.stop(10)


def flow(key, source, destination, value=1):
    return Observation(FLOWS, key, value, Owner(1, 1, 1, "x"), {"source.address": source, "destination.address": destination})


def test_both_ends_of_a_series_are_named_once_and_never_per_point(bus, names):
    for value in (1, 2, 3):
        assert bus.publish("x", 1, [flow("a", "10.1.0.1", "10.96.7.7", value), flow("b", "10.1.0.1", "8.8.8.8", value)])
    (metric,) = [metric for metric in bus.metrics() if metric.instrument is FLOWS]
    common = {
        "container.id": "c",
        "source.address": "10.1.0.1",
        "source.k8s.namespace.name": "shop",
        "source.k8s.pod.name": "web-1",
    }
    assert {tuple(sorted(dict(point.attributes).items())): point.value for point in metric.points} == {
        tuple(sorted({**common, "destination.address": "8.8.8.8"}.items())): 3,
        tuple(
            sorted(
                {
                    **common,
                    "destination.address": "10.96.7.7",
                    "destination.k8s.namespace.name": "shop",
                    "destination.k8s.service.name": "db",
                }.items()
            )
        ): 3,
    }
    assert len(names.asked) == 4


@pytest.mark.parametrize("owner", [Owner(1, 1, 1, "x"), None])
def test_spans_and_log_events_name_their_peer(bus, owner):
    bus.watch(lambda: None)
    ends = {"network.peer.address": "10.1.0.1", "network.local.address": "10.96.7.7"}
    bus.publish("x", 1, [Span("s", 1, 2, owner, ends), LogEvent("e", 3, "x", owner, ends), Span("t", 1, 2, owner)])
    named = {"network.peer.k8s.namespace.name": "shop", "network.peer.k8s.pod.name": "web-1"}
    whose = {"container.id": "c"} if owner else {}
    assert [dict(each.subject) for each in bus.happenings(10)] == [{**named, **whose}, {**named, **whose}, whose]


def test_an_address_that_nobody_knows_adds_nothing(bus):
    bus.watch(lambda: None)
    bus.publish("x", 1, [Span("s", 1, 2, None, {"network.peer.address": "no address"})])
    assert [each.subject for each in bus.happenings(10)] == [{}]
