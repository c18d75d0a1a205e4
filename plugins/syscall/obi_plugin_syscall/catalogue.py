"""What the syscall probe can say: its instruments and its view, in the telemetry catalogue's words."""

from typing import Final

from obi_core import Buckets, Column, Instrument, Kind, View

NAME: Final = "process.syscall.name"
ERROR: Final = "error.type"

LOSSES: Final = ("owners_full", "errors_full", "histograms_full", "no_memory", "events_full", "events_limited")
"""`enum syscall_loss` in syscall_maps.h."""

CALLS: Final = Instrument(
    "obi.syscall.calls",
    Kind.COUNTER,
    "{call}",
    "System calls that returned, or ended their thread; those that the settings do not name are _OTHER.",
    (NAME,),
    headline=({NAME: "_OTHER"},),
)
ERRORS: Final = Instrument(
    "obi.syscall.errors",
    Kind.COUNTER,
    "{call}",
    "System calls that failed, by errno.",
    (NAME, ERROR),
    headline=({NAME: "_OTHER"},),
)
DURATION: Final = Instrument(
    "obi.syscall.duration",
    Kind.HISTOGRAM,
    "s",
    "Time from entry to exit of the calls that the settings name, less those that wait for somebody else.",
    (NAME, ERROR),
    buckets=Buckets(first=-92, count=104, sum_unit=1e-9),
)

CALLS_VIEW: Final = View(
    "calls",
    "System calls by process name and call",
    (
        Column("syscall", width=18),
        Column("calls", "{call}", width=12),
        Column("errors", "{call}", width=10),
        Column("mean", "s", width=9),
        Column("p99", "s", width=9),
        Column("max", "s", width=9),
    ),
    order="calls",
)
