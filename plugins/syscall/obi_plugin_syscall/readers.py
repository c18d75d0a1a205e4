"""Rows of the syscall maps → observations. Pure: no kernel, no clock, no state."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, Protocol

from obi_core import Loss, Observation, Retired, errno_name
from obi_plugin_syscall.catalogue import CALLS, DURATION, ERROR, ERRORS, LOSSES, NAME
from obi_plugin_syscall.slots import Slot
from obi_plugin_syscall.table import OTHER

_INSIDE: Final = {
    512: "ERESTARTSYS",
    513: "ERESTARTNOINTR",
    514: "ERESTARTNOHAND",
    515: "ENOIOCTLCMD",
    516: "ERESTART_RESTARTBLOCK",
    524: "ENOTSUPP",
    530: "EIOCBQUEUED",
}
"""include/linux/errno.h: of a call that a signal broke off. What its caller sees is EINTR, or the call runs again."""


class Key(Protocol):
    """`struct syscall_key`, 8 bytes: `class` is a word of Python's, so that field is read by `getattr`."""

    slot: int
    error: int


class DurationsRow(Protocol):
    """`struct syscall_durations`: `u64 counts[104]`, `u64 sum_ns`, `u64 max_ns`."""

    counts: Sequence[int]
    sum_ns: int
    max_ns: int


def calls(slots: Iterable[Slot], classes: Sequence[str]) -> Iterator[Observation]:
    """Count calls by owner and name.

    Args:
        slots: Rows of array `syscall_calls`, `u64[256]` each, with the owners that `syscall_owners` gives them.
        classes: Names by class.

    Yields:
        One observation per class that was called. Unit: {call}, cumulative for its row, monotonic.
    Source: raw_syscalls:sys_exit; sched:sched_process_exit for exit and exit_group.
    Gaps: A call that is under way counts when it returns.
    """
    attributes = [{NAME: name} for name in classes]
    for slot in slots:
        for number, count in enumerate(slot.calls[: len(classes)]):
            if count:
                yield Observation(CALLS, slot.key(number), count, slot.owner, attributes[number])


def errors(rows: Iterable[tuple[Key, int]], slots: Mapping[int, Slot], classes: Sequence[str]) -> Iterator[Observation]:
    """Count failed calls by owner, name and errno.

    Args:
        rows: `(struct syscall_key, u64)` from map `syscall_errors`.
        slots: The slots that have an owner, by number.
        classes: Names by class.

    Yields:
        One observation per key. Unit: {call}, cumulative for its row, monotonic.
    Source: a result of raw_syscalls:sys_exit from -4095 to -1.
    """
    for key, count in rows:
        if (slot := slots.get(key.slot)) is not None:
            yield Observation(ERRORS, row_key(slot, key), count, slot.owner, attributes_of(key, classes))


def durations(
    rows: Iterable[tuple[Key, DurationsRow]], slots: Mapping[int, Slot], classes: Sequence[str]
) -> Iterator[Observation]:
    """Read how long calls took.

    Args:
        rows: `(struct syscall_key, struct syscall_durations)` from map `syscall_duration`; ns, weighted by sampling.
        slots: The slots that have an owner, by number.
        classes: Names by class.

    Yields:
        One observation per key: 104 bucket counts, then the sum in ns.
    Source: raw_syscalls:sys_enter to sys_exit, monotonic clock.
    Gaps: Calls under way when the probe attached have no duration.
    """
    for key, row in rows:
        if (slot := slots.get(key.slot)) is not None:
            value = (*row.counts, row.sum_ns)
            yield Observation(DURATION, row_key(slot, key), value, slot.owner, attributes_of(key, classes))


def over(keys: Iterable[object], released: Iterable[int], slots: Mapping[int, Slot]) -> Iterator[Retired]:
    """End the observations of slots that were given back.

    Args:
        keys: Keys of the observations of this collection.
        released: Numbers of those slots.
        slots: The slots of this collection, by number.
    """
    begins = {slots[number].key() for number in released}
    for key in keys:
        if isinstance(key, tuple) and key[:2] in begins:
            yield Retired(key, ended=True)


def losses(rows: Iterable[tuple[int, int]]) -> Iterator[Loss]:
    """Read what did not fit.

    Args:
        rows: `(u32, u64)` from array `syscall_lost`; the index is `enum syscall_loss`.
    """
    for place, count in rows:
        yield Loss(LOSSES[place] if place < len(LOSSES) else OTHER, count)


def class_of(key: Key) -> int:
    """Class of a row's calls."""
    number: int = getattr(key, "class")
    return number


def row_key(slot: Slot, key: Key) -> object:
    """Key of an observation of a row."""
    return slot.key(class_of(key), key.error)


def attributes_of(key: Key, classes: Sequence[str]) -> dict[str, str]:
    """Attributes of an observation of a row."""
    number = class_of(key)
    attributes = {NAME: classes[number] if number < len(classes) else OTHER}
    if key.error:
        attributes[ERROR] = error_name(key.error)
    return attributes


def error_name(number: int) -> str:
    """Name an errno, also of those that only the kernel sees."""
    return _INSIDE.get(number) or errno_name(number)
