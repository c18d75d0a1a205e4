"""What the controllers' files say of one cgroup, in v1 and in v2."""

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from obi_plugin_limits.catalogue import (
    MEMORY,
    MEMORY_EVENT,
    MEMORY_EVENTS,
    OOM_KILLS,
    PERIODS,
    PRESSURE,
    PRESSURE_KIND,
    PRESSURE_RESOURCE,
    PROCESSES,
    REFUSED_FORKS,
    THROTTLED,
    THROTTLED_PERIODS,
)
from obi_plugin_limits.files import parse
from obi_plugin_limits.files.figures import Count, Figure, Level

Read = Callable[[str, str], str | None]
"""(controller, file name) → text; None: this cgroup has no such file. The controller of v2 is the empty name."""

_V2: Final = ""
_NANOSECONDS: Final = 1e-9
_MICROSECONDS: Final = 1e-6
_EVENTS: Final = ("low", "high", "max", "oom")
_PRESSED: Final = ("cpu", "memory", "io")


def cpu(read: Read) -> Iterator[Figure]:
    """Time without a CPU because of the quota; none of it where there never was a quota."""
    stat = read("cpu", "cpu.stat")
    if stat is not None:
        figures, unit, name = parse.keyed(stat), _NANOSECONDS, "throttled_time"
    elif (stat := read(_V2, "cpu.stat")) is not None:
        figures, unit, name = parse.keyed(stat), _MICROSECONDS, "throttled_usec"
    else:
        return
    if "nr_periods" not in figures or not (figures["nr_periods"] or cpu_quota(read)):
        return
    yield Count(THROTTLED, figures.get(name, 0) * unit)
    yield Count(THROTTLED_PERIODS, figures.get("nr_throttled", 0))
    yield Count(PERIODS, figures["nr_periods"])


def cpu_quota(read: Read) -> float | None:
    """CPUs that the cgroup may use; None: as many as there are."""
    if (text := read("cpu", "cpu.cfs_quota_us")) is not None:
        quota, period = parse.limit(text), read("cpu", "cpu.cfs_period_us")
        return quota / parse.number(period) if quota and period else None
    text = read(_V2, "cpu.max")
    return parse.quota(text) if text is not None else None


def cpu_seconds(read: Read) -> float | None:
    """CPU time that the cgroup has used, s."""
    if (text := read("cpuacct", "cpuacct.usage")) is not None:
        return parse.number(text) * _NANOSECONDS
    if (text := read(_V2, "cpu.stat")) is not None and (used := parse.keyed(text).get("usage_usec")) is not None:
        return used * _MICROSECONDS
    return None


def memory(read: Read) -> Iterator[Figure]:
    """Memory used, its limit, and how often that was met."""
    if (limit := read("memory", "memory.limit_in_bytes")) is None:
        limit = read(_V2, "memory.max")
    most = parse.limit(limit) if limit is not None else None
    events = _memory_events(read)
    for name in _EVENTS:
        # without a limit there is nothing to meet, and a row of zeros per cgroup would say so at some cost
        if name in events and (events[name] or (most is not None and name in {"max", "oom"})):
            yield Count(MEMORY_EVENTS, events[name], {MEMORY_EVENT: name})
    if (usage := read("memory", "memory.usage_in_bytes")) is None:
        usage = read(_V2, "memory.current")
    if usage is not None:
        yield Level(MEMORY, parse.number(usage), most, events.get("max"))


def oom_kills(read: Read) -> Iterator[Figure]:
    """OOM kills in this cgroup itself, not in those below it."""
    if (text := read("memory", "memory.oom_control")) is None:
        text = read(_V2, "memory.events.local")
    if text is not None and (kills := parse.keyed(text).get("oom_kill")):
        yield Count(OOM_KILLS, kills)


def processes(read: Read) -> Iterator[Figure]:
    """Processes and threads, how many there may be, and forks that failed for that."""
    controller = "pids"
    if (limit := read(controller, "pids.max")) is None:
        controller = _V2
        limit = read(controller, "pids.max")
    most = parse.limit(limit) if limit is not None else None
    events = read(controller, "pids.events")
    refused = parse.keyed(events).get("max") if events is not None else None
    if refused is not None and (refused or most is not None):
        yield Count(REFUSED_FORKS, refused)
    if (usage := read(controller, "pids.current")) is not None:
        yield Level(PROCESSES, parse.number(usage), most, refused)


def pressure(read: Read) -> Iterator[Figure]:
    """Time in which processes waited for a resource; v2 alone has it."""
    for resource in _PRESSED:
        if (text := read(_V2, f"{resource}.pressure")) is not None:
            yield from pressed(resource, text)


def pressed(resource: str, text: str) -> Iterator[Figure]:
    """Read one pressure file."""
    for kind, seconds in parse.pressure(text).items():
        yield Count(PRESSURE, seconds, {PRESSURE_RESOURCE: resource, PRESSURE_KIND: kind})


def _memory_events(read: Read) -> Mapping[str, int]:
    if (text := read(_V2, "memory.events")) is not None:
        return parse.keyed(text)
    if (text := read("memory", "memory.failcnt")) is not None:
        return {"max": parse.number(text)}
    return {}
