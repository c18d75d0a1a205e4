"""How rows of kernel maps end."""

import ctypes
from dataclasses import dataclass

import pytest

from obi_core.kernel.ages import RowAges
from obi_core.model import LoadPlan, Mode, Retired
from obi_core.testing.fakes import FakeBpfObject, FakeClock

ROOT, POD, OTHER = 1, 77, 99


@dataclass(frozen=True)
class Owner:
    cgroup_id: int


@dataclass(frozen=True)
class Key:
    """A key that begins with an owner."""

    owner: Owner
    name: str = "row"

    def __bytes__(self):
        return f"{self.owner.cgroup_id} {self.name}".encode()


class Histogram(ctypes.Structure):
    _fields_ = (("counts", ctypes.c_uint64 * 2),)


def key(cgroup_id, name="row"):
    return Key(Owner(cgroup_id), name)


class Map:
    """One map under ages, read as a probe reads it."""

    def __init__(self, rows, *, living=frozenset({ROOT, POD, OTHER}), idle_s=600.0):
        self.rows, self.living, self.clock = rows, living, FakeClock()
        self.bpf = FakeBpfObject(Mode("m"), LoadPlan({}, {}, {}), {"x_calls": rows})
        self.ages = RowAges(lambda: self.living, idle_s, clock=self.clock)

    def read(self, after=0.0):
        self.clock.advance(after)
        return dict(self.ages.rows(self.bpf, "x_calls"))

    def retired(self):
        return self.ages.retired()


def test_rows_of_living_cgroups_that_move_stay():
    calls = Map({key(POD): 1, key(OTHER): 5})
    for count in range(2, 20):
        calls.rows[key(POD)] = calls.rows[key(OTHER)] = count
        assert calls.read(after=60) == {key(POD): count, key(OTHER): count}
    assert calls.retired() == []


def test_a_row_of_an_ended_cgroup_is_taken_at_the_second_look_and_given_a_last_time():
    calls = Map({key(POD): 1, key(OTHER): 5})
    assert calls.read() == {key(POD): 1, key(OTHER): 5}
    calls.living = frozenset({ROOT, OTHER})
    calls.rows[key(POD)] = 3
    assert calls.read(after=60) == {key(POD): 3, key(OTHER): 5}
    assert calls.retired() == []
    calls.rows[key(POD)] = 4
    assert calls.read(after=60) == {key(POD): 4, key(OTHER): 5}
    assert calls.retired() == [Retired(("x_calls", bytes(key(POD))), ended=True)]
    assert calls.rows == {key(OTHER): 5}
    assert calls.retired() == []


def test_between_two_looks_rows_pass_through_untouched():
    calls = Map({key(POD): 1})
    calls.read()
    calls.living = frozenset({ROOT})
    for _ in range(50):
        assert calls.read(after=1) == {key(POD): 1}
    assert calls.retired() == []


@pytest.mark.parametrize("cgroup_id", [0, ROOT])
def test_nobody_s_rows_and_the_root_s_never_end_with_a_cgroup(cgroup_id):
    calls = Map({key(cgroup_id): 1}, living=frozenset({ROOT}))
    for _ in range(5):
        assert calls.read(after=60) == {key(cgroup_id): 1}
    assert calls.retired() == []


def test_where_the_living_are_not_known_nothing_ends_but_what_is_idle():
    calls = Map({key(POD): 1, key(OTHER): 1}, living=None, idle_s=300)
    for count in range(2, 8):
        calls.rows[key(OTHER)] = count
        calls.read(after=60)
    assert [each.key for each in calls.retired()] == [("x_calls", bytes(key(POD)))]


def test_a_row_that_has_not_moved_for_long_is_taken_and_one_that_moves_late_is_not():
    calls = Map({key(POD): 7, key(OTHER): 1}, idle_s=120)
    assert calls.read() == {key(POD): 7, key(OTHER): 1}
    assert calls.read(after=60) == {key(POD): 7, key(OTHER): 1}
    calls.rows[key(OTHER)] = 2
    assert calls.read(after=60) == {key(POD): 7, key(OTHER): 2}
    assert calls.rows == {key(OTHER): 2}
    assert [each.key for each in calls.retired()] == [("x_calls", bytes(key(POD)))]


def test_a_row_that_comes_back_is_a_new_one():
    calls = Map({key(POD): 7}, idle_s=60)
    calls.read()
    calls.read(after=60)
    assert calls.rows == {}
    calls.rows[key(POD)] = 1
    calls.retired()
    assert calls.read(after=60) == {key(POD): 1}
    assert calls.retired() == []


def test_a_histogram_moves_when_any_of_its_buckets_does():
    calls = Map({key(POD): Histogram((1, 0))}, idle_s=60)
    calls.read()
    calls.rows[key(POD)] = Histogram((1, 1))
    calls.read(after=60)
    assert calls.retired() == []
    calls.read(after=60)
    assert len(calls.retired()) == 1


def test_what_is_counted_while_the_row_is_taken_is_not_lost():
    """The reader sees the value that the kernel gave with the row, not the one that was read before."""
    calls = Map({key(POD): 7}, idle_s=60)
    calls.read()
    real = calls.bpf.take

    def take(map_name, taken):
        calls.rows[taken] = 9
        return real(map_name, taken)

    calls.bpf = type("Racing", (), {"rows": calls.bpf.rows, "take": staticmethod(take)})()
    assert calls.read(after=60) == {key(POD): 9}
