"""Attribute rules, and what each attribute costs."""

import pytest

from obi_core.bus.attributes import Rule, attribute_filter
from obi_core.bus.cardinality import AttributeCost, MetricCost, cardinality
from obi_core.bus.moment import Moment
from obi_core.bus.table import Limits, SeriesTable
from obi_core.cli.cardinality import lines
from obi_core.model import Fold, Instrument, Kind, Metric, Observation, Owner, Point
from obi_core.resolver import Subject
from obi_core.settings import load_settings

CALLS = Instrument("obi.tcp.calls", Kind.COUNTER, "{call}", "Calls.", ("role", "port"), headline=({"role": "client"},))
OPEN = Instrument("obi.tcp.open", Kind.UPDOWNCOUNTER, "{socket}", "Open.", ("role", "port"), fold=Fold.SUM)
NOW = Moment(10**18, 10**9)


class Named:
    def resolve(self, owner):
        return Subject({"process.executable.name": owner.comm, "k8s.pod.name": f"pod-{owner.cgroup_id}"})


def table(*rules):
    made = SeriesTable(Named(), Limits(rules=rules))
    made.register("tcp", "d", (CALLS, OPEN), NOW)
    return made


def observe(made):
    made.apply(
        "tcp",
        1,
        [
            Observation(
                instrument, (instrument.name, number), 10, Owner(0, 0, number % 2, "curl"), {"role": "client", "port": number}
            )
            for instrument in (CALLS, OPEN)
            for number in range(6)
        ],
        NOW,
    )
    return {metric.instrument.name: {point.attributes: point.value for point in metric.points} for metric in made.read()}


@pytest.mark.parametrize(
    ("rules", "kept"),
    [
        ((), {"k8s.pod.name", "port", "process.executable.name", "role"}),
        ((Rule("obi.tcp.*", deny=("port",)),), {"k8s.pod.name", "process.executable.name", "role"}),
        ((Rule("obi.tcp.calls", deny=("k8s.*", "p*")),), {"role"}),
        ((Rule("*", allow=("role", "k8s.*")),), {"k8s.pod.name", "role"}),
        ((Rule("*", allow=("role", "k8s.*")), Rule("obi.tcp.calls", deny=("k8s.pod.*",))), {"role"}),
        ((Rule("*", allow=()),), set()),
        ((Rule("obi.syscall.*", deny=("*",)),), {"k8s.pod.name", "port", "process.executable.name", "role"}),
    ],
)
def test_an_attribute_stays_if_every_rule_that_fits_lets_it(rules, kept):
    keep = attribute_filter("obi.tcp.calls", rules)
    names = ("k8s.pod.name", "port", "process.executable.name", "role")
    assert {name for name, _ in keep(tuple((name, "x") for name in names))} == kept


def test_series_that_differ_in_nothing_else_add_up():
    values = observe(table(Rule("obi.tcp.*", deny=("port", "k8s.*"))))
    both = (("process.executable.name", "curl"), ("role", "client"))
    assert values["obi.tcp.calls"] == {both: 60, (("role", "client"),): 0}
    assert values["obi.tcp.open"] == {both: 60}


def test_a_rule_costs_nothing_per_point(monkeypatch):
    made = table(Rule("*", deny=("port",)))
    observe(made)
    asked = []
    monkeypatch.setattr(Rule, "keeps", lambda _, name: asked.append(name) or True)
    observe(made)
    assert asked == []


def test_rules_come_from_the_settings(tmp_path):
    (tmp_path / "obi.yaml").write_text(
        'metrics:\n  attributes:\n    "obi.tcp.*":\n      deny: [port, "k8s.*"]\n    "*":\n      allow: ["*"]\n'
    )
    rules = load_settings(tmp_path, {}, {}).core.metrics.attributes
    assert {name: (rule.allow, rule.deny) for name, rule in rules.items()} == {
        "obi.tcp.*": (None, ("port", "k8s.*")),
        "*": (("*",), ()),
    }


def metric(*sets):
    return Metric(CALLS, "d", tuple(Point(tuple(sorted(each.items())), 1, 0, 0) for each in sets))


def test_the_dearest_attribute_comes_first():
    found = cardinality([metric(*({"role": role, "port": port} for role in ("client", "server") for port in range(5)))])
    assert found == [
        MetricCost("obi.tcp.calls", 10, False, (AttributeCost("port", 5, 2), AttributeCost("role", 2, 5))),
    ]
    assert lines(found, 100_000) == [
        "10 series of 1 metrics",
        "",
        "obi.tcp.calls: 10 series",
        "  port       5 values       2 series without it,  80% fewer",
        "  role       2 values       5 series without it,  50% fewer",
        "",
        "To spare 8 series of obi.tcp.calls:",
        "",
        "metrics:",
        "  attributes:",
        "    obi.tcp.calls:",
        '      deny: ["port"]',
    ]


def test_what_is_not_told_apart_is_said():
    (found,) = cardinality([metric({"role": "a"}, {"otel.metric.overflow": True})])
    assert (found.series, found.overflowed) == (1, True)
    assert "obi.tcp.calls: 1 series and more: only 5 are told apart" in lines([found], 5)


def test_nothing_is_nothing():
    assert cardinality([Metric(CALLS, "d", ())]) == []
    assert lines([], 5) == ["no series: nothing happened that the listed probes count"]
