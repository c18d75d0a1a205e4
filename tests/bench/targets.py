"""What the figures stand beside: targets, and floors measured once (2 vCPU, kernel 6.18): the least that any program pays."""

from collections.abc import Mapping

RATIOS: Mapping[str, float] = {"churn": 1.20, "request": 1.25, "bulk": 1.15}
"""Target of on/off with every probe on."""

ADDED_NS: Mapping[str, Mapping[str, float]] = {"syscall": {"getppid": 330.0}, "tcp": {"churn": 2_000.0}}
"""Target of what one probe alone adds to one operation, ns."""

EVENTS: Mapping[str, tuple[str, float, float]] = {
    "getppid": ("call", 156.0, 330.0),
    "churn": ("connection", 800.0, 2_000.0),
    "request": ("segment", 150.0, 200.0),
    "bulk": ("segment", 150.0, 200.0),
}
"""By workload: its event, measured floor and target, ns per event. The floors: both raw system call hooks with empty programs;
an empty hook at every change of state (1,400 with counts and latency); one round-trip time read per received segment."""

STATISTICS_NS = 55.0
"""What the kernel's BPF statistics read for an empty program, ns per run."""

MICRO_MS: Mapping[str, float] = {
    "read and decode 8,192 map rows": 5.0,
    "OTLP encoding of 10,000 points": 30.0,
    "text scrape of 10,000 series": 60.0,
}
"""Targets of user space, ms."""

READY_S = 1.0
RSS_KB = 60_000
IDLE_PERCENT = 0.1
"""Of one core."""
