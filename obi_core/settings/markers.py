"""Markers that say what a probe's setting becomes in its BPF object.

They stand in the annotation of a field::

    rtt_every: Annotated[int, Live("tcp_rtt_every", shed=True)] = Field(16, description="…")
    slow_s: Annotated[float, Constant("tcp_slow_ns", scale=1_000_000_000)] = Field(0.2, description="…")
    max_owners: Annotated[int, Entries("tcp_connects")] = Field(8192, description="…")
    resets: Annotated[bool, Switch("tcp_reset_out"), Switch("tcp_reset_in")] = Field(True, description="…")
    port: Annotated[bool, Constant("tcp_by_port"), OptIn()] = Field(False, description="…")

`ProbeSettings.plan` reads the first three, `ProbeSettings.switched_off` the fourth, `ProbeSettings.opted_in` the last.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Constant:
    """The field is an `OBI_SETTING`: fixed when the object is loaded; changing it restarts the probe."""

    c_name: str
    scale: float = 1
    """C value = setting * scale, rounded: 1_000_000_000 for seconds that C wants as nanoseconds."""


@dataclass(frozen=True, slots=True)
class Live:
    """The field is an `OBI_LIVE`: changed while the probe runs."""

    c_name: str
    scale: float = 1
    shed: bool = False
    """The field is a sampling factor, one in so many: each level of load shedding doubles it. 0 stays 0."""


@dataclass(frozen=True, slots=True)
class Entries:
    """The field is the `max_entries` of a map (bytes for a ring buffer)."""

    map_name: str
    scale: float = 1


@dataclass(frozen=True, slots=True)
class Switch:
    """The field says whether a BPF program is loaded and attached; of several fields that name it, one is enough."""

    program: str
    """C function name."""


@dataclass(frozen=True, slots=True)
class OptIn:
    """The field switches on an attribute of metrics, or more of their series: it is off again while the probe sheds."""

    off: bool | str = False
    """Its value when it is off."""


Marker = Constant | Live | Entries | Switch
"""What a field becomes in its BPF object; it may carry several."""
