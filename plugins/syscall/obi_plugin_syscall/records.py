"""What people look at: rows of the view, and single slow calls as spans and log events. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from obi_core import LogEvent, OwnerRecord, Row, Span, owner
from obi_plugin_syscall.catalogue import CALLS_VIEW, DURATION, ERROR, NAME
from obi_plugin_syscall.readers import DurationsRow, Key, class_of, error_name
from obi_plugin_syscall.slots import Slot
from obi_plugin_syscall.table import Table

_MOST_ERRNO: Final = 4095


class EventRecord(Protocol):
    """`struct syscall_event`, 72 bytes, from ring buffer `syscall_events`; times are ns, monotonic clock."""

    owner: OwnerRecord
    start_ns: int
    end_ns: int
    result: int
    number: int
    thread: int


@dataclass(slots=True)
class _Times:
    """Durations of one owner's calls of one name, whatever came of them."""

    counts: list[int] = field(default_factory=lambda: [0] * (DURATION.buckets.count if DURATION.buckets else 0))
    sum_ns: int = 0
    max_ns: int = 0

    def add(self, row: DurationsRow) -> None:
        self.counts = [mine + more for mine, more in zip(self.counts, row.counts, strict=True)]
        self.sum_ns += row.sum_ns
        self.max_ns = max(self.max_ns, row.max_ns)

    def mean_s(self) -> float | None:
        total = sum(self.counts)
        return self.sum_ns / total / 1e9 if total else None

    def quantile_s(self, share: float) -> float | None:
        """Upper bound of the bucket that the quantile is in, but no more than the longest, s."""
        total, passed = sum(self.counts), 0
        if not total or DURATION.buckets is None:
            return None
        for at, count in enumerate(self.counts):
            passed += count
            if passed >= share * total:
                return min(2 ** ((DURATION.buckets.first + at + 1) / 4), self.max_ns / 1e9)
        return None


def call_rows(
    slots: Mapping[int, Slot],
    errors: Iterable[tuple[Key, int]],
    durations: Iterable[tuple[Key, DurationsRow]],
    classes: Sequence[str],
) -> Iterator[Row]:
    """Make the view `calls`.

    Args:
        slots: The slots that have an owner, by number.
        errors: `(struct syscall_key, u64)` from map `syscall_errors`.
        durations: `(struct syscall_key, struct syscall_durations)` from map `syscall_duration`.
        classes: Names by class.
    """
    failed: defaultdict[tuple[int, int], int] = defaultdict(int)
    times: defaultdict[tuple[int, int], _Times] = defaultdict(_Times)
    for key, count in errors:
        failed[key.slot, class_of(key)] += count
    for key, row in durations:
        times[key.slot, class_of(key)].add(row)
    for slot in slots.values():
        for number, count in enumerate(slot.calls[: len(classes)]):
            if not count:
                continue
            place = slot.number, number
            took = times.get(place, _Times())
            seconds = (took.mean_s(), took.quantile_s(0.99), took.max_ns / 1e9 if took.max_ns else None)
            yield Row(CALLS_VIEW, slot.key(number), slot.owner, (classes[number], count, failed.get(place, 0), *seconds))


def events(records: Iterable[EventRecord], table: Table, realtime_ns: int) -> Iterator[Span | LogEvent]:
    """Make a span and a log event of each slow call; neither has its arguments.

    Args:
        records: `struct syscall_event`, from ring buffer `syscall_events`.
        table: Names the calls.
        realtime_ns: What to add to the monotonic clock to get the realtime clock, ns.
    """
    for record in records:
        name, who = table.name(record.number), owner(record.owner)
        start_ns, end_ns = record.start_ns + realtime_ns, record.end_ns + realtime_ns
        error = error_name(-record.result) if -_MOST_ERRNO <= record.result < 0 else ""
        attributes: dict[str, str | int | float] = {NAME: name, "thread.id": record.thread}
        link = ("syscall", record.thread, start_ns)
        yield Span(f"syscall {name}", start_ns, end_ns, who, attributes, error, link, DURATION)
        body = f"{name} took {(end_ns - start_ns) / 1e9:.3f} s" + (f" and failed with {error}" if error else "")
        yield LogEvent("obi.syscall.slow", end_ns, body, who, attributes | ({ERROR: error} if error else {}), link)
