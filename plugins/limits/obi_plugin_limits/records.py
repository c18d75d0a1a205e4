"""Records of single OOM kills and signals → log events. Pure."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from obi_core import LogEvent, OwnerRecord, owner
from obi_plugin_limits.catalogue import CGROUP, KERNEL, SENDER, SIGNAL
from obi_plugin_limits.readers import signal_name

CGROUP_SCOPE: Final = "cgroup"
SYSTEM_SCOPE: Final = "system"


class OomRecord(Protocol):
    """`struct limits_oom_event`, 328 bytes, from ring buffer `limits_oom_events`; time is ns, monotonic clock."""

    victim: OwnerRecord
    requester: OwnerRecord
    time_ns: int
    anon_pages: int
    file_pages: int
    shmem_pages: int
    limited_id: int
    limit_pages: int
    pid: int
    stack_bytes: int
    stack: Sequence[int]


class SignalRecord(Protocol):
    """`struct limits_signal_event`, 96 bytes, from ring buffer `limits_signal_events`; time is ns, monotonic clock."""

    target: OwnerRecord
    sender: OwnerRecord
    time_ns: int
    signal: int
    code: int


@dataclass(frozen=True, slots=True)
class Node:
    """What of this node the records do not hold."""

    page_bytes: int
    memory_bytes: int
    """All memory of the node: the limit of a kill that no cgroup is the cause of."""
    realtime_ns: int
    """What to add to the monotonic clock to get the realtime clock, ns."""
    path_of: Callable[[int], str]
    """Path of a cgroup by its id; empty: not known."""
    scope_of: Callable[[Sequence[int]], str]
    """`cgroup` or `system` by the kernel's stack; empty: it does not tell."""


def kills(records: Iterable[OomRecord], node: Node) -> Iterator[LogEvent]:
    """Tell of OOM kills.

    The scope is what the kernel's stack says: the OOM killer is called by the memory controller or by the page allocator.
    Where the stack cannot be read it is deduced: `cgroup` if a memory cgroup above the victim was full. Mode `bcc` does not
    know the victim's memory and cgroups: there is no scope then.

    Args:
        records: `struct limits_oom_event`, from ring buffer `limits_oom_events`.
        node: What the records do not hold.
    """
    for record in records:
        victim, requester = owner(record.victim), owner(record.requester)
        told = node.scope_of(record.stack[: max(0, record.stack_bytes) // 8])
        rss = (record.anon_pages + record.file_pages + record.shmem_pages) * node.page_bytes
        scope = told or (CGROUP_SCOPE if record.limit_pages else SYSTEM_SCOPE if rss else "")
        in_cgroup = scope != SYSTEM_SCOPE
        limit = record.limit_pages * node.page_bytes if in_cgroup else node.memory_bytes
        limited = node.path_of(record.limited_id) if in_cgroup else ""
        place = f"memory cgroup {limited or record.limited_id or 'unknown'}" if in_cgroup else "the whole system"
        where = place if scope else "a cgroup or the system"
        resident = f" with {rss // 1024} kB resident" if rss else ""
        body = (
            f"{victim.comm} (pid {victim.tgid}) was killed{resident}: "
            f"{where} was out of memory when {requester.comm} (pid {requester.tgid}) asked for more"
        )
        attributes: dict[str, str | int | float] = {
            "process.pid": victim.tgid,
            "process.executable.name": victim.comm,
            "obi.limits.oom.requester.pid": requester.tgid,
            "obi.limits.oom.requester.name": requester.comm,
        }
        if victim.cgroup_id:
            attributes[CGROUP] = node.path_of(victim.cgroup_id)
        if scope:
            attributes |= {"obi.limits.oom.scope": scope, "obi.limits.oom.scope.source": "stack" if told else "usage"}
        if rss:
            attributes["obi.limits.oom.rss"] = rss
        if limit:
            attributes["obi.limits.oom.limit"] = limit
        if limited:
            attributes["obi.limits.oom.limited_cgroup"] = limited
        yield LogEvent("obi.limits.oom_kill", record.time_ns + node.realtime_ns, body, victim, attributes)


def signals(records: Iterable[SignalRecord], realtime_ns: int) -> Iterator[LogEvent]:
    """Tell of signals that kill.

    Args:
        records: `struct limits_signal_event`, from ring buffer `limits_signal_events`.
        realtime_ns: What to add to the monotonic clock to get the realtime clock, ns.
    """
    for record in records:
        target, sender = owner(record.target), owner(record.sender)
        name, by = signal_name(record.signal), sender.comm or KERNEL
        who = f"{by} (pid {sender.tgid})" if sender.tgid else by
        attributes: dict[str, str | int | float] = {
            "process.pid": target.tgid,
            "process.executable.name": target.comm,
            SIGNAL: name,
            SENDER: by,
            "process.signal.code": record.code,
        }
        if sender.tgid:
            attributes["process.signal.sender.pid"] = sender.tgid
        body = f"{name} from {who} to {target.comm} (pid {target.tgid})"
        yield LogEvent("obi.limits.signal", record.time_ns + realtime_ns, body, target, attributes)
