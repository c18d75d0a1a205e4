"""Rows fold into series: nothing falls, nothing counts twice."""

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obi_core.bus import Limits, SeriesTable
from obi_core.bus.moment import Moment
from obi_core.errors import PluginError
from obi_core.model import Buckets, Fold, Instrument, Kind, Loss, Metric, Observation, Owner, Retired
from obi_core.resolver import Subject

SECOND = 1_000_000_000
CALLS = Instrument("obi.x.calls", Kind.COUNTER, "{call}", "Calls.", ("op",))
TIME = Instrument("obi.x.duration", Kind.HISTOGRAM, "s", "Time.", ("op",), buckets=Buckets(first=-4, count=3))
OPEN = Instrument("obi.x.open", Kind.UPDOWNCOUNTER, "{thing}", "Things.", ("op",))
LEVEL = Instrument("obi.x.level", Kind.GAUGE, "{thing}", "Level.", ("op",))
NEWEST = Instrument("obi.x.newest", Kind.GAUGE, "{thing}", "Newest.", ("op",), fold=Fold.LAST)
ALL = (CALLS, TIME, OPEN, LEVEL, NEWEST)


@dataclass
class Names:
    """Knows owners by comm, except those in `unknown`."""

    unknown: set[str] = field(default_factory=set)
    asked: list[Owner] = field(default_factory=list)

    def resolve(self, owner):
        self.asked.append(owner)
        if owner.comm in self.unknown:
            return Subject({"process.executable.name": owner.comm[:3]}, complete=False)
        return Subject({"process.executable.name": owner.comm})


def at(second):
    return Moment(int((1_000 + second) * SECOND), int(second * SECOND))


def owner(tgid, comm="curl"):
    return Owner(tgid, tgid * 10, 1, comm)


def table(names=None, instruments=ALL, **limits):
    made = SeriesTable(names or Names(), replace(Limits(), **limits))
    made.register("x", "obi-plugin-x 1.0", instruments, at(0))
    return made


def series(made, instrument):
    metric = next(metric for metric in made.read() if metric.instrument is instrument)
    return {point.attributes: point for point in metric.points}


def values(made, instrument):
    return {attributes: point.value for attributes, point in series(made, instrument).items()}


CURL = (("process.executable.name", "curl"),)


def test_two_processes_of_one_name_are_one_series():
    made = table()
    made.apply("x", 1, [Observation(CALLS, 1, 3, owner(1)), Observation(CALLS, 2, 4, owner(2))], at(1))
    made.apply("x", 1, [Observation(CALLS, 1, 5, owner(1)), Observation(CALLS, 2, 4, owner(2))], at(2))
    assert values(made, CALLS) == {CURL: 9}


def test_a_row_that_comes_back_smaller_is_a_new_start():
    made = table()
    for value in (10, 12, 4, 5):
        made.apply("x", 1, [Observation(CALLS, 1, value, owner(1))], at(1))
    assert values(made, CALLS) == {CURL: 17}


def test_a_row_that_retired_and_came_back_larger_counts_in_full():
    made = table()
    made.apply("x", 1, [Observation(CALLS, 1, 10, owner(1)), Retired(1)], at(1))
    made.apply("x", 1, [Observation(CALLS, 1, 11, owner(1))], at(2))
    assert values(made, CALLS) == {CURL: 21}


def test_retired_ends_the_key_for_every_instrument():
    made = table()
    batch = [
        Observation(CALLS, 1, 10, owner(1)),
        Observation(OPEN, 1, 2, owner(1)),
        Observation(TIME, 1, (1, 0, 0, 5), owner(1)),
    ]
    made.apply("x", 1, [*batch, Retired(1)], at(1))
    made.apply("x", 1, batch, at(2))
    assert values(made, CALLS) == {CURL: 20}
    assert values(made, OPEN) == {CURL: 2}
    assert values(made, TIME) == {CURL: (2, 0, 0, 10)}


def test_a_new_generation_continues_the_series_and_a_late_word_of_the_old_one_is_not_heard():
    made = table()
    made.apply("x", 1, [Observation(CALLS, 1, 10, owner(1))], at(1))
    made.end("x", 1, at(2))
    made.apply("x", 1, [Observation(CALLS, 1, 12, owner(1))], at(3))
    made.apply("x", 2, [Observation(CALLS, 1, 3, owner(1))], at(4))
    assert values(made, CALLS) == {CURL: 13}
    assert series(made, CALLS)[CURL].start_ns == at(1).real_ns
    assert series(made, CALLS)[CURL].time_ns == at(4).real_ns


def test_a_histogram_folds_bucket_by_bucket_and_restarts_as_a_whole():
    made = table()
    for counts in ((1, 0, 2, 30), (2, 0, 2, 35), (1, 3, 0, 20)):
        made.apply("x", 1, [Observation(TIME, 1, counts, owner(1), {"op": "r"})], at(1))
    assert values(made, TIME) == {(("op", "r"), *CURL): (3, 3, 2, 55)}


def test_an_updowncounter_is_the_sum_of_the_rows_that_live():
    made = table()
    made.apply("x", 1, [Observation(OPEN, 1, 5, owner(1)), Observation(OPEN, 2, 7, owner(2))], at(1))
    assert values(made, OPEN) == {CURL: 12}
    made.apply("x", 1, [Observation(OPEN, 1, 2, owner(1))], at(2))
    assert values(made, OPEN) == {CURL: 9}
    made.apply("x", 1, [Retired(2)], at(3))
    assert values(made, OPEN) == {CURL: 2}
    made.end("x", 1, at(4))
    assert values(made, OPEN) == {CURL: 0}


def test_a_gauge_ends_with_its_last_row():
    made = table()
    made.apply("x", 1, [Observation(LEVEL, 1, 0.5, owner(1)), Observation(LEVEL, 2, 0.25, owner(2))], at(1))
    assert values(made, LEVEL) == {CURL: 0.75}
    made.apply("x", 1, [Retired(1), Retired(2)], at(2))
    assert values(made, LEVEL) == {}


def test_a_gauge_that_folds_by_last_shows_the_newest_reading():
    made = table()
    made.apply("x", 1, [Observation(NEWEST, 1, 5, owner(1)), Observation(NEWEST, 2, 7, owner(2))], at(1))
    made.apply("x", 1, [Observation(NEWEST, 1, 3, owner(1))], at(2))
    assert values(made, NEWEST) == {CURL: 3}


def test_attributes_are_worked_out_when_the_key_is_first_seen_and_only_then():
    names = Names()
    made = table(names)
    made.apply("x", 1, [Observation(CALLS, 1, 1, owner(1), {"op": "read"})], at(1))
    made.apply("x", 1, [Observation(CALLS, 1, 3, owner(1), {"op": "write"})], at(2))
    assert values(made, CALLS) == {(("op", "read"), *CURL): 3}
    assert names.asked == [owner(1)]


def test_headline_series_are_zero_from_registration():
    counted = replace(CALLS, headline=({"op": "read"}, {}))
    made = table(instruments=(counted, replace(TIME, headline=({},))))
    assert values(made, counted) == {(("op", "read"),): 0, (): 0}
    assert series(made, counted)[()].start_ns == at(0).real_ns
    assert made.read()[1].points[0].value == (0, 0, 0, 0)
    made.apply("x", 1, [Observation(counted, 1, 2, None, {"op": "read"})], at(5))
    assert values(made, counted) == {(("op", "read"),): 2, (): 0}


def test_what_is_beyond_the_limit_goes_to_one_overflow_series():
    made = table(series=2)
    made.apply("x", 1, [Observation(CALLS, n, 10, None, {"op": f"o{n}"}) for n in range(5)], at(1))
    made.apply("x", 1, [Observation(CALLS, n, 11, None, {"op": f"o{n}"}) for n in range(5)], at(2))
    assert values(made, CALLS) == {(("op", "o0"),): 11, (("op", "o1"),): 11, (("otel.metric.overflow", True),): 33}
    assert made.sizes() == [("x", 3, 3)]


def test_a_probe_has_so_many_series_over_all_its_metrics_and_each_metric_one_for_the_rest():
    made = table(probe_series=3)
    rows = [Observation(instrument, n, 11, attributes={"op": f"o{n}"}) for instrument in (CALLS, OPEN) for n in range(3)]
    made.apply("x", 1, rows, at(1))
    assert values(made, CALLS) == {(("op", f"o{n}"),): 11 for n in range(3)}
    assert values(made, OPEN) == {(("otel.metric.overflow", True),): 33}, "nothing is lost"


def test_an_undeclared_attribute_is_refused_counted_and_reported():
    made = table()
    made.apply("x", 7, [Observation(CALLS, 1, 1, None, {"op": "a", "peer": "b"}), Observation(CALLS, 2, 1)], at(1))
    assert values(made, CALLS) == {(): 1}
    assert made.refused() == {"x": 1}
    assert made.taken() == {"x": 1}
    assert made.fault("x", 7) == "obi.x.calls does not declare the attribute peer"
    assert made.fault("x", 8) is None


@pytest.mark.parametrize(
    ("observation", "fault"),
    [
        (
            Observation(replace(CALLS, name="obi.x.other"), 1, 1),
            "obi.x.other is not among the instruments that the probe declares",
        ),
        (Observation(replace(CALLS, unit="s"), 1, 1), "obi.x.calls is declared otherwise than it is observed"),
        (
            Observation(TIME, 1, (1, 2)),
            "obi.x.duration was given (1, 2) under key 1: 2 numbers for a histogram of 3 buckets and a sum",
        ),
        (Observation(CALLS, 1, -1), "obi.x.calls was given -1 under key 1: a counter cannot be -1"),
        (Observation(CALLS, 1, float("nan")), "obi.x.calls was given nan under key 1: a counter cannot be nan"),
    ],
)
def test_what_does_not_fit_its_declaration_is_refused(observation, fault):
    made = table()
    made.apply("x", 1, [observation, Observation(CALLS, 2, 1, None, {"op": "good"})], at(1))
    assert made.fault("x", 1) == fault
    assert values(made, CALLS)[("op", "good"),] == 1


def test_a_late_identity_counts_unbound_and_binds_once_to_what_is_known():
    names = Names(unknown={"verylongcomm"})
    made = table(names, bind_grace_s=5.0)
    late = owner(1, "verylongcomm")
    made.apply(
        "x",
        1,
        [Observation(CALLS, 1, 10, late), Observation(TIME, 1, (1, 0, 0, 9), late), Observation(OPEN, 1, 2, late)],
        at(1),
    )
    made.apply("x", 1, [Observation(CALLS, 1, 14, late)], at(2))
    assert values(made, CALLS) == {}
    assert len(made.late) == 3
    made.late.settle(at(3))
    assert values(made, CALLS) == {}
    names.unknown.clear()
    made.late.settle(at(4))
    bound = (("process.executable.name", "verylongcomm"),)
    assert (values(made, CALLS), values(made, TIME), values(made, OPEN)) == ({bound: 14}, {bound: (1, 0, 0, 9)}, {bound: 2})
    assert series(made, CALLS)[bound].start_ns == at(1).real_ns
    assert len(made.late) == 0
    assert {k: n for k, n in made.late.unresolved.items() if k in ("late", "full")} == {"late": 0, "full": 0}
    made.apply("x", 1, [Observation(CALLS, 1, 15, late), Observation(OPEN, 1, 1, late)], at(5))
    assert (values(made, CALLS), values(made, OPEN)) == ({bound: 15}, {bound: 1})


def test_a_late_identity_that_never_comes_binds_after_the_grace_to_what_is_known():
    made = table(Names(unknown={"python"}), bind_grace_s=5.0)
    made.apply("x", 1, [Observation(CALLS, 1, 10, owner(1, "python"))], at(1))
    made.late.settle(at(5.9))
    assert values(made, CALLS) == {}
    made.late.settle(at(6))
    assert values(made, CALLS) == {(("process.executable.name", "pyt"),): 10}
    assert {k: n for k, n in made.late.unresolved.items() if k in ("late", "full")} == {"late": 1, "full": 0}


def test_a_row_that_ends_while_it_waits_is_counted_but_leaves_no_level():
    names = Names(unknown={"sh"})
    made = table(names)
    made.apply("x", 1, [Observation(CALLS, 1, 10, owner(1, "sh")), Observation(OPEN, 1, 1, owner(1, "sh")), Retired(1)], at(1))
    made.late.settle(at(9))
    assert values(made, CALLS) == {(("process.executable.name", "sh"),): 10}
    assert values(made, OPEN) == {}


def test_when_too_many_wait_one_more_is_bound_at_once():
    made = table(Names(unknown={"python"}), waiting=1)
    made.apply("x", 1, [Observation(CALLS, n, 1, owner(n, "python")) for n in (1, 2, 3)], at(1))
    assert values(made, CALLS) == {(("process.executable.name", "pyt"),): 2}
    assert {k: n for k, n in made.late.unresolved.items() if k in ("late", "full")} == {"late": 0, "full": 2}


def test_an_idle_series_without_rows_is_dropped_and_starts_anew():
    made = table(series_idle_s=60.0, instruments=(replace(CALLS, headline=({},)),))
    counted = made.read()[0].instrument
    made.apply("x", 1, [Observation(counted, 1, 10, owner(1)), Observation(counted, 2, 1, owner(2, "dd"))], at(1))
    made.apply("x", 1, [Retired(1)], at(2))
    made.retire(at(61))
    assert values(made, counted) == {(): 0, CURL: 10, (("process.executable.name", "dd"),): 1}
    made.retire(at(63))
    assert values(made, counted) == {(): 0, (("process.executable.name", "dd"),): 1}
    made.apply("x", 1, [Observation(counted, 1, 4, owner(1))], at(70))
    assert values(made, counted)[CURL] == 4
    assert series(made, counted)[CURL].start_ns == at(70).real_ns


def test_rows_that_vanish_without_a_word_are_forgotten_when_there_are_too_many():
    made = table(keys=4)
    made.apply("x", 1, [Observation(OPEN, key, 1) for key in range(4)], at(1))
    made.apply("x", 1, [Observation(OPEN, 0, 1)], at(2))
    made.apply("x", 1, [Observation(OPEN, key, 1) for key in (0, 10, 11)], at(3))
    assert values(made, OPEN) == {(): 3}
    assert made.refused() == {"x": 0}


def test_losses_come_back_as_differences():
    made = table()
    assert made.apply("x", 1, [Loss("rows_full", 3)], at(1)) == [Loss("rows_full", 3)]
    assert made.apply("x", 1, [Loss("rows_full", 3), Loss("bad", 1, "decode")], at(2)) == [Loss("bad", 1, "decode")]
    assert made.apply("x", 1, [Loss("rows_full", 5), Loss("y", 1, "moon")], at(3)) == [Loss("rows_full", 2)]
    assert made.fault("x", 1) == "loss y is said to be at moon, not at kernel or decode"


def test_nothing_new_is_the_same_object():
    made = table()
    made.apply("x", 1, [Observation(CALLS, 1, 1), Observation(LEVEL, 1, 1)], at(1))
    before = made.read()
    assert made.read() is before
    made.apply("x", 1, [Observation(CALLS, 1, 1)], at(2))
    after = made.read()
    assert after[0].points[0].time_ns == at(2).real_ns
    assert after[0].points[0].attributes is before[0].points[0].attributes
    assert after[3] is before[3]


def test_instruments_that_cannot_be_kept_are_refused():
    with pytest.raises(PluginError, match=r"plugin x: obi\.x\.h is a histogram without a bucket layout; give it `buckets`"):
        table(instruments=(Instrument("obi.x.h", Kind.HISTOGRAM, "s", "d"),))
    with pytest.raises(PluginError, match="two of its instruments have the same name; rename one"):
        table(instruments=(CALLS, CALLS))


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("count"), st.integers(0, 3), st.integers(0, 50)),
        st.tuples(st.just("read"), st.just(0), st.just(0)),
        st.tuples(st.just("retire"), st.integers(0, 3), st.just(0)),
        st.tuples(st.just("restart"), st.just(0), st.just(0)),
    ),
    max_size=60,
)


@settings(deadline=None, max_examples=200)
@given(STEPS)
def test_the_series_total_is_the_sum_of_the_true_increments(steps):
    """Four rows of one name: all that they counted up to a reading is in the series, once, whatever ends in between."""
    made, generation, true, before = table(), 1, 0, 0
    rows: dict[int, int] = {}

    def read(*then):
        batch = [Observation(CALLS, key, value, owner(key)) for key, value in rows.items()]
        batch += [Observation(TIME, key, (0, value, 0, 2 * value), owner(key)) for key, value in rows.items()]
        made.apply("x", generation, [*batch, *then], at(1))

    for step, key, by in steps:
        if step == "count":
            rows[key] = rows.get(key, 0) + by
            true += by
        elif step == "read":
            read()
        elif step == "retire":
            read(Retired(key))
            rows.pop(key, None)
        else:
            read()
            made.end("x", generation, at(1))
            generation += 1
            rows.clear()
        now = values(made, CALLS).get(CURL, 0)
        assert now >= before
        before = now
    read()
    assert values(made, CALLS).get(CURL, 0) == true
    assert values(made, TIME).get(CURL, (0, 0, 0, 0)) == (0, true, 0, 2 * true)


def test_a_metric_names_its_scope():
    assert [type(metric) for metric in table().read()] == [Metric] * 5
    assert {metric.scope for metric in table().read()} == {"obi-plugin-x 1.0"}


def test_a_series_whose_owner_has_ended_goes_soon_and_others_stay():
    made = table(series_idle_s=3600.0, series_ended_s=60.0, instruments=(CALLS,))
    dd = (("process.executable.name", "dd"),)
    made.apply("x", 1, [Observation(CALLS, 1, 10, owner(1)), Observation(CALLS, 2, 1, owner(2, "dd"))], at(1))
    made.apply("x", 1, [Observation(CALLS, 1, 12, owner(1)), Retired(1, ended=True), Retired(2)], at(2))
    made.retire(at(61))
    assert values(made, CALLS) == {CURL: 12, dd: 1}, "every sink reads the last value"
    made.retire(at(63))
    assert values(made, CALLS) == {dd: 1}


def test_a_series_that_another_row_feeds_does_not_end_with_one_of_them():
    made = table(series_idle_s=3600.0, series_ended_s=60.0, instruments=(CALLS,))
    made.apply("x", 1, [Observation(CALLS, 1, 10, owner(1)), Observation(CALLS, 2, 5, owner(2))], at(1))
    made.apply("x", 1, [Retired(1, ended=True)], at(2))
    made.retire(at(1000))
    assert values(made, CALLS) == {CURL: 15}
