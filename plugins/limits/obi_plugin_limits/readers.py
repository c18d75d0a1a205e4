"""Rows of the limits maps → observations. Pure: no kernel, no clock, no state."""

import signal
from collections.abc import Iterable, Iterator
from typing import Protocol

from obi_core import Loss, Observation, OwnerRecord, errno_name, owner, text
from obi_plugin_limits.catalogue import (
    ERROR,
    EXHAUSTION,
    KERNEL,
    LOSSES,
    OOM_KILLS,
    OTHER,
    RESOURCE,
    RESOURCES,
    SENDER,
    SIGNAL,
    SIGNALS,
    name_of,
)


class Key(Protocol):
    """A key that begins with `struct obi_owner`."""

    owner: OwnerRecord

    def __bytes__(self) -> bytes: ...


class FailureKey(Key, Protocol):
    """`struct limits_failure_key`, 48 bytes."""

    error: int
    resource: int


class SignalKey(Key, Protocol):
    """`struct limits_signal_key`, 64 bytes."""

    sender: bytes
    """`char[16]`; empty: the kernel."""
    signal: int


def kills(rows: Iterable[tuple[Key, int]]) -> Iterator[Observation]:
    """Count OOM kills by victim.

    Args:
        rows: `(struct limits_kill_key, u64)` from map `limits_oom_kills`; the name is empty unless the settings ask for it.

    Yields:
        One observation per key. Unit: {kill}, as oom_kill in /proc/vmstat counts them, cumulative for its row.
    Source: oom:mark_victim (v4.15+) after signal:signal_generate in the same task.
    """
    for key, count in rows:
        yield Observation(OOM_KILLS, ("limits_oom_kills", bytes(key)), count, owner(key.owner))


def failures(rows: Iterable[tuple[FailureKey, int]]) -> Iterator[Observation]:
    """Count system calls that failed because something was used up.

    Args:
        rows: `(struct limits_failure_key, u64)` from map `limits_exhaustion`.

    Yields:
        One observation per key. Unit: {event}, cumulative for its row, monotonic.
    Source: syscalls:sys_exit_*, those that the settings list.
    Gaps: Why a call failed is taken from its error alone: EADDRNOTAVAIL of connect is mostly a want of ports, but not only.
    """
    for key, count in rows:
        attributes = {RESOURCE: name_of(RESOURCES, key.resource), ERROR: errno_name(key.error)}
        yield Observation(EXHAUSTION, ("limits_exhaustion", bytes(key)), count, owner(key.owner), attributes)


def signals(rows: Iterable[tuple[SignalKey, int]]) -> Iterator[Observation]:
    """Count signals that kill, by whom they were sent to.

    Args:
        rows: `(struct limits_signal_key, u64)` from map `limits_signals`.

    Yields:
        One observation per key. Unit: {signal}, cumulative for its row, monotonic.
    Source: signal:signal_generate.
    Gaps: A signal to a process whose first thread blocks it is taken as one that does not kill.
    """
    for key, count in rows:
        attributes = {SIGNAL: signal_name(key.signal), SENDER: text(key.sender) or KERNEL}
        yield Observation(SIGNALS, ("limits_signals", bytes(key)), count, owner(key.owner), attributes)


def losses(rows: Iterable[tuple[int, int]]) -> Iterator[Loss]:
    """Read what did not fit.

    Args:
        rows: `(u32, u64)` from array `limits_lost`; the index is `enum limits_loss`.
    """
    for place, count in rows:
        yield Loss(name_of(LOSSES, place), count)


def signal_name(number: int) -> str:
    """Name a signal: `SIGKILL`."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return OTHER
