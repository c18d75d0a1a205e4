"""What the limits probe can say: its instruments and its view, in the telemetry catalogue's words."""

from typing import Final

from obi_core import Column, Instrument, Kind, View

RESOURCE: Final = "limit.resource"
ERROR: Final = "error.type"
SIGNAL: Final = "process.signal.name"
SENDER: Final = "process.signal.sender"
MEMORY_EVENT: Final = "container.memory.event.type"
PRESSURE_RESOURCE: Final = "container.pressure.resource"
PRESSURE_KIND: Final = "container.pressure.kind"
CGROUP: Final = "process.linux.cgroup"
PORT: Final = "server.port"

OTHER: Final = "_OTHER"
KERNEL: Final = "kernel"
"""Sender of a signal that no process sent."""

DESCRIPTORS: Final = "file_descriptors"
PROCESSES: Final = "processes"
MEMORY: Final = "memory"
CPU: Final = "cpu"
CONNTRACK: Final = "connection_tracking"
LISTEN_QUEUE: Final = "listen_queue"

RESOURCES: Final = (DESCRIPTORS, PROCESSES, MEMORY, "ports", "storage", "watches")
"""`enum limits_resource` in limits_maps.h."""
LOSSES: Final = ("rows_full", "events_full", "events_limited")
"""`enum limits_loss` in limits_maps.h."""

OOM_KILLS: Final = Instrument(
    "obi.limits.oom_kills",
    Kind.COUNTER,
    "{kill}",
    "Processes that the kernel killed for want of memory.",
    headline=({},),
)
EXHAUSTION: Final = Instrument(
    "obi.limits.exhaustion",
    Kind.COUNTER,
    "{event}",
    "System calls that failed because something was used up.",
    (RESOURCE, ERROR),
    headline=tuple({RESOURCE: resource} for resource in RESOURCES),
)
SIGNALS: Final = Instrument(
    "obi.limits.signals",
    Kind.COUNTER,
    "{signal}",
    "Signals that end the process that they were sent to, by who sent them.",
    (SIGNAL, SENDER),
    headline=({},),
)
THROTTLED: Final = Instrument(
    "obi.limits.cpu.throttled",
    Kind.COUNTER,
    "s",
    "Time that a group's processes had to wait because its CPU quota was used up.",
    (CGROUP,),
)
THROTTLED_PERIODS: Final = Instrument(
    "obi.limits.cpu.throttled.periods",
    Kind.COUNTER,
    "{period}",
    "Periods in which a group used up its CPU quota.",
    (CGROUP,),
)
PERIODS: Final = Instrument(
    "obi.limits.cpu.periods",
    Kind.COUNTER,
    "{period}",
    "Periods in which a group with a CPU quota was runnable.",
    (CGROUP,),
)
MEMORY_EVENTS: Final = Instrument(
    "obi.limits.memory.events",
    Kind.COUNTER,
    "{event}",
    "How often a group met its memory limits; those below it are counted in.",
    (MEMORY_EVENT, CGROUP),
)
REFUSED_FORKS: Final = Instrument(
    "obi.limits.pids.events",
    Kind.COUNTER,
    "{event}",
    "Forks that failed because a group has as many processes as it may have, as the kernel counts them for the group.",
    (CGROUP,),
)
PRESSURE: Final = Instrument(
    "obi.limits.pressure",
    Kind.COUNTER,
    "s",
    "Time in which some or all processes waited for a resource; without a subject: of the whole node.",
    (PRESSURE_RESOURCE, PRESSURE_KIND, CGROUP),
)
USAGE: Final = Instrument(
    "obi.limits.usage",
    Kind.GAUGE,
    "{unit}",
    "How much of a limited resource is used, in the unit of its limit; without a subject: of the whole node.",
    (RESOURCE, CGROUP, PORT),
)
LIMIT: Final = Instrument(
    "obi.limits.limit",
    Kind.GAUGE,
    "{unit}",
    "How much there may be of it: bytes, processes, CPUs, descriptors, connections.",
    (RESOURCE, CGROUP, PORT),
)

LIMITS_VIEW: Final = View(
    "limits",
    "What is closest to its limit",
    (
        Column("group", width=40),
        Column("resource", width=20),
        Column("used", "1", width=8),
        Column("usage", width=14),
        Column("limit", width=14),
        Column("events", "{event}", width=8),
    ),
    order="used",
)


def name_of(names: tuple[str, ...], number: int) -> str:
    """Name an enum of the kernel side; a number that this release does not know is `_OTHER`."""
    return names[number] if 0 <= number < len(names) else OTHER
