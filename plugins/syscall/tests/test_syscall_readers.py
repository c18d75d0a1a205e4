"""Readers of the syscall probe, fed with rows as the kernel lays them out."""

from dataclasses import dataclass, field

import pytest

from obi_core import LogEvent, Loss, Owner, Retired, Span
from obi_plugin_syscall import catalogue, readers, records
from obi_plugin_syscall.slots import Slot
from obi_plugin_syscall.table import Table

CURL = Owner(0, 0, 7, "curl")
CLASSES = ("_OTHER", "openat", "read")


def slot(number: int = 3, calls: tuple[int, ...] = (5, 0, 11)) -> Slot:
    return Slot(number, CURL, 2, calls)


class Key:
    def __init__(self, slot: int = 3, call: int = 1, error: int = 0) -> None:
        self.slot, self.error = slot, error
        setattr(self, "class", call)


@dataclass
class Durations:
    counts: tuple[int, ...]
    sum_ns: int
    max_ns: int


@dataclass
class OwnerRecord:
    cgroup_id: int = 7
    start_ns: int = 0
    tgid: int = 23
    comm: bytes = b"curl"


@dataclass
class Event:
    owner: OwnerRecord = field(default_factory=OwnerRecord)
    start_ns: int = 1_000
    end_ns: int = 2_500_001_000
    result: int = 0
    number: int = 0
    thread: int = 24


def test_calls_are_named_by_their_class_and_what_was_not_called_is_not_there() -> None:
    other, read = readers.calls([slot()], CLASSES)

    assert (other.value, other.attributes, other.owner) == (5, {catalogue.NAME: "_OTHER"}, CURL)
    assert (read.value, read.attributes) == (11, {catalogue.NAME: "read"})
    assert other.key != read.key


def test_the_next_owner_of_a_slot_has_other_keys() -> None:
    (first, _) = readers.calls([slot()], CLASSES)
    (second, _) = readers.calls([Slot(3, CURL, 3, (5, 0, 11))], CLASSES)

    assert first.key != second.key


@pytest.mark.parametrize(
    ("number", "name"),
    [(2, "ENOENT"), (11, "EAGAIN"), (512, "ERESTARTSYS"), (516, "ERESTART_RESTARTBLOCK"), (524, "ENOTSUPP"), (4000, "4000")],
)
def test_an_error_has_the_name_of_its_errno(number: int, name: str) -> None:
    (seen,) = readers.errors([(Key(error=number), 4)], {3: slot()}, CLASSES)

    assert (seen.value, seen.attributes) == (4, {catalogue.NAME: "openat", catalogue.ERROR: name})


def test_a_duration_is_its_counts_and_then_its_sum_and_success_has_no_error() -> None:
    (seen,) = readers.durations([(Key(), Durations((1, 0, 2), 77, 50))], {3: slot()}, CLASSES)

    assert (seen.value, seen.attributes) == ((1, 0, 2, 77), {catalogue.NAME: "openat"})


def test_rows_of_a_slot_without_owner_say_nothing() -> None:
    assert list(readers.errors([(Key(slot=4), 4)], {3: slot()}, CLASSES)) == []
    assert list(readers.durations([(Key(slot=4), Durations((1,), 7, 5))], {3: slot()}, CLASSES)) == []


def test_only_what_was_said_of_a_released_slot_is_over() -> None:
    stays, goes = slot(3), slot(4)
    keys = [each.key for each in readers.calls([stays, goes], CLASSES)]

    over = list(readers.over(keys, [4], {3: stays, 4: goes}))

    assert over == [Retired((4, 2, 0), ended=True), Retired((4, 2, 2), ended=True)]


def test_losses_are_named_by_their_cause() -> None:
    assert list(readers.losses([(0, 1), (5, 2), (6, 3)])) == [
        Loss("owners_full", 1),
        Loss("events_limited", 2),
        Loss("_OTHER", 3),
    ]


def test_a_row_of_the_view_sums_over_errors_and_knows_its_tail() -> None:
    fast, slow = [0] * 104, [0] * 104
    fast[40], slow[60] = 98, 2
    errors = [(Key(error=2), 3), (Key(error=11), 4)]
    durations = [(Key(), Durations(tuple(fast), 9_800, 120)), (Key(error=11), Durations(tuple(slow), 9_000_200, 6_000_000))]

    (row,) = records.call_rows({3: slot(calls=(0, 100, 0))}, errors, durations, CLASSES)
    name, calls, failed, mean, p99, longest = row.cells

    assert (name, calls, failed, longest) == ("openat", 100, 7, 0.006)
    assert mean == pytest.approx(9_010_000 / 100 / 1e9)
    assert p99 == pytest.approx(2 ** ((-92 + 61) / 4)), "the upper bound of the bucket that the 99th of 100 is in"


def test_a_call_without_latency_leaves_the_cells_empty() -> None:
    (row,) = records.call_rows({3: slot(calls=(5,))}, [], [], CLASSES)
    assert row.cells == ("_OTHER", 5, 0, None, None, None)


def test_a_slow_call_is_a_span_and_an_event_without_arguments() -> None:
    table = Table.of(["read"], machine="x86_64")
    span, event = records.events([Event(result=-11)], table, 10)

    assert span == Span(
        "syscall read",
        1_010,
        2_500_001_010,
        Owner(23, 0, 7, "curl"),
        {catalogue.NAME: "read", "thread.id": 24},
        "EAGAIN",
        ("syscall", 24, 1_010),
        catalogue.DURATION,
    )
    assert event == LogEvent(
        "obi.syscall.slow",
        2_500_001_010,
        "read took 2.500 s and failed with EAGAIN",
        Owner(23, 0, 7, "curl"),
        {catalogue.NAME: "read", "thread.id": 24, catalogue.ERROR: "EAGAIN"},
        span.link,
    )


def test_a_slow_call_that_succeeds_has_no_error() -> None:
    span, event = records.events([Event(result=4096)], Table.of(["read"], machine="x86_64"), 0)

    assert (span.error_type, event.body) == ("", "read took 2.500 s")
    assert catalogue.ERROR not in event.attributes
