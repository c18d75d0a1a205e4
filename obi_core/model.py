"""Frozen values that everything else speaks in. Standard library only; no I/O, no clock, no kernel.

Three groups: what a probe declares (`Instrument`, `View`, `Program`, `Mode`), what it yields (`Observation`, `Retired`,
`Row`, `Span`, `LogEvent`, `Loss`, `Account`), and what the runtime says of it (`ProbeState`, `Reason`). `Metric` and `Point`
are what a sink reads from the bus.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from obi_core.reason import ProbeState, Reason

__all__ = [
    "API_VERSION",
    "OUTCOMES",
    "Account",
    "Buckets",
    "Column",
    "Fold",
    "Instrument",
    "Kind",
    "LoadPlan",
    "LogEvent",
    "Loss",
    "Metric",
    "Mode",
    "Observation",
    "Owner",
    "Point",
    "ProbeState",
    "Program",
    "Reason",
    "Retired",
    "Row",
    "Severity",
    "Span",
    "View",
    "Yielded",
]  # fmt: skip

API_VERSION: Final = (1, 0)
"""Version of the plugin contract, (major, minor). A plugin made for another major is refused."""


class Kind(Enum):
    """Kind of an instrument; values are OpenTelemetry's names."""

    COUNTER = "counter"
    UPDOWNCOUNTER = "updowncounter"
    GAUGE = "gauge"
    HISTOGRAM = "exponential_histogram"


class Fold(Enum):
    """How several kernel rows become one series of a gauge or updowncounter."""

    SUM = "sum"
    LAST = "last"


@dataclass(frozen=True, slots=True)
class Buckets:
    """Bucket layout of a kernel histogram: OTLP exponential buckets of one scale over a fixed range.

    Bucket `i` (from 0) holds values `v` with `base**(first+i) < v <= base**(first+i+1)`, `base = 2**(2**-scale)`, in the
    instrument's unit. Values outside the range land in the first or last bucket.
    """

    first: int
    """OTLP index of the first bucket."""
    count: int
    """Number of buckets."""
    scale: int = 2
    sum_unit: float = 1.0
    """What one unit of the kernel's integer sum is in the instrument's unit (`1e-9` for ns under `s`)."""


@dataclass(frozen=True, slots=True)
class Instrument:
    """One metric, declared once, in code. Names and units are those of the telemetry catalogue."""

    name: str
    """OpenTelemetry name, `obi.<probe>.<noun>`, without unit or `total`."""
    kind: Kind
    unit: str
    """UCUM: `s`, `By`, `{segment}`."""
    description: str
    attributes: tuple[str, ...] = ()
    """All attribute names that a point may carry beside its subject."""
    subject: bool = True
    """Whether points say whose they are (process, container, pod)."""
    fold: Fold = Fold.SUM
    buckets: Buckets | None = None
    """Layout of a histogram's counts; required for `Kind.HISTOGRAM`."""
    headline: tuple[Mapping[str, str], ...] = ()
    """Attribute sets that exist, as 0, from the first scrape."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Who caused something, as the kernel saw it: never a pid alone.

    Source: `struct obi_owner` in `bpf/obi/attribution.h`.
    """

    tgid: int
    start_ns: int
    """Start of the process (its group leader), ns, boot clock; with `tgid` it names one process for ever. 0: unknown."""
    cgroup_id: int
    """cgroup v2 id, or on v1 and hybrid nodes the memory controller's; 0: unknown."""
    comm: str
    """Name of the group leader, at most 15 bytes."""


@dataclass(frozen=True, slots=True)
class Observation:
    """One reading of one kernel row."""

    instrument: Instrument
    key: Hashable
    """Names one kernel row of one probe generation."""
    value: int | float | tuple[int, ...]
    """Cumulative for that row; a histogram gives its bucket counts, then the sum."""
    owner: Owner | None = None
    attributes: Mapping[str, str | int] = field(default_factory=dict)
    """Read when the key is first seen, and only then."""


@dataclass(frozen=True, slots=True)
class Retired:
    """The kernel row named by `key` is gone: the key ends for every instrument, their series stay."""

    key: Hashable
    ended: bool = False
    """Whether nothing more is to come (its owner is gone, or it was idle for long): a series without other rows goes soon."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a view."""

    name: str
    unit: str = ""
    """UCUM, or empty for text; decides how a person sees the cell."""
    width: int = 12


@dataclass(frozen=True, slots=True)
class View:
    """A table for people: what a probe can show live."""

    name: str
    description: str
    columns: tuple[Column, ...]
    order: str = ""
    """Column to sort by, largest first; empty: as they come."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a view. Rows that a collection does not yield again are gone from the view."""

    view: View
    key: Hashable
    owner: Owner | None
    cells: tuple[str | int | float | None, ...]
    """One per column, in order; None shows as empty."""


class Severity(Enum):
    """How bad a log event is; values are OpenTelemetry's severity numbers."""

    INFO, WARN, ERROR = 9, 13, 17


@dataclass(frozen=True, slots=True)
class Span:
    """A finished operation with a start and an end; both ns, realtime clock."""

    name: str
    start_ns: int
    end_ns: int
    owner: Owner | None = None
    attributes: Mapping[str, str | int | float] = field(default_factory=dict)
    error_type: str = ""
    link: Hashable = None
    """Names this one operation, in text and numbers: a log event with the same link leads to this span."""
    measured: Instrument | None = None
    """The histogram that counted the span's duration: the span becomes an exemplar of its series."""


@dataclass(frozen=True, slots=True)
class LogEvent:
    """Something that happened at one moment; ns, realtime clock."""

    name: str
    time_ns: int
    body: str
    owner: Owner | None = None
    attributes: Mapping[str, str | int | float] = field(default_factory=dict)
    link: Hashable = None  # of the span that it belongs to
    severity: Severity = Severity.INFO


@dataclass(frozen=True, slots=True)
class Loss:
    """What a probe lost before it could be observed."""

    cause: str
    """Snake case: `sockets_full`."""
    count: int
    """Cumulative for this generation of the probe."""
    place: str = "kernel"
    """`kernel` (a map or ring was full) or `decode` (a record did not fit its type)."""


OUTCOMES: Final = ("seen", "exported", "filtered", "sampled_out", "lost")
"""Entries of a probe's account; the first is the sum of the others."""


@dataclass(frozen=True, slots=True)
class Account:
    """One entry of a probe's balanced account: seen = exported + filtered + sampled_out + lost.

    Source: `struct obi_account` in `bpf/obi/account.h`.
    """

    outcome: str
    """One of `OUTCOMES`."""
    count: int
    """Things, cumulative for this generation of the probe."""


Yielded = Observation | Retired | Row | Span | LogEvent | Loss | Account
"""All that `Probe.collect` may yield."""


@dataclass(frozen=True, slots=True)
class Program:
    """One BPF program of a mode, by its C function name."""

    name: str
    loses: tuple[str, ...] = ()
    """What is lost if it will not load or attach. Empty: the mode cannot do without it."""


@dataclass(frozen=True, slots=True)
class Mode:
    """One way for a probe to work. A probe lists its modes best first."""

    name: str
    programs: tuple[Program, ...] = ()
    needs: tuple[str, ...] = ()
    """What the host must have: `cap:bpf`, `btf` (the kernel's own), `types` (its own or a file), `bcc`, `tracefs`, `cgroup2`.

    A mode that needs `bcc` is compiled on the node, by BCC; any other is CO-RE.
    """
    loses: tuple[str, ...] = ()
    """Instruments and attributes that this mode cannot give; empty: nothing, the probe is not degraded."""


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """What the settings ask of an object before it is loaded."""

    constants: Mapping[str, int]
    """Values of `OBI_SETTING` constants, by C name."""
    live: Mapping[str, int]
    """First values of `OBI_LIVE` settings, by C name."""
    entries: Mapping[str, int]
    """`max_entries` by map name (bytes for a ring buffer); a map not named keeps what its source says."""


@dataclass(frozen=True, slots=True)
class Point:
    """One series at one moment, as a sink reads it."""

    attributes: tuple[tuple[str, str | int | bool], ...]
    """Sorted by name; the same object for the life of the series, so that a sink may cache by it."""
    value: int | float | tuple[int, ...]
    start_ns: int
    """When the series was first seen; ns, realtime clock."""
    time_ns: int
    """When it was last observed; ns, realtime clock."""


@dataclass(frozen=True, slots=True)
class Metric:
    """All series of one instrument."""

    instrument: Instrument
    scope: str
    """The plugin's distribution, empty for the agent itself."""
    points: tuple[Point, ...]
