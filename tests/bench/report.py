"""What `make bench` found, as tables for people and as JSON."""

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime

from footprint import Footprint, Import
from micro import Piece
from programs import Cost
from ratios import Ratio, Spread
from table import Cell, table
from targets import ADDED_NS, EVENTS, IDLE_PERCENT, MICRO_MS, RATIOS, READY_S, RSS_KB, STATISTICS_NS


@dataclass(slots=True)
class Report:
    """All results of one run."""

    probes: Sequence[str]
    rounds: int
    scale: float
    started: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    cpus: int = field(default_factory=lambda: os.cpu_count() or 0)
    kernel: str = field(default_factory=platform.release)
    load_before: float = field(default_factory=lambda: os.getloadavg()[0])
    """One-minute load average; above about 0.5 somebody else was working too."""
    load_after: float = 0.0
    """Our own workload makes 1 of it."""
    notes: list[str] = field(default_factory=list)
    control: Sequence[Ratio] = ()
    ratios: Mapping[str, Sequence[Ratio]] = field(default_factory=dict)
    """By what ran: `all`, or one probe."""
    programs: Sequence[Cost] = ()
    micro: Sequence[Piece] = ()
    footprint: Footprint | None = None
    imports: Sequence[Import] = ()

    def json(self) -> dict[str, object]:
        """Everything, JSON-ready."""
        return asdict(self)

    def text(self) -> str:
        """Everything, as tables."""
        head = (
            f"{self.started}, {self.cpus} CPUs, Linux {self.kernel}, load {self.load_before:.2f} before and "
            f"{self.load_after:.2f} after; probes: {', '.join(self.probes)}; {self.rounds} rounds at scale {self.scale:g}"
        )
        parts = [head, *(f"note: {note}" for note in self.notes)]
        if self.control:
            parts.append(table("Noise: off, off, off (no agent at all)", _RATIO_HEADS, _ratio_rows(self.control, {}, {})))
        for what, found in self.ratios.items():
            targets = RATIOS if what == "all" else {}
            added = ADDED_NS.get(what, {})
            parts.append(table(f"On against off, probes: {what}", _RATIO_HEADS, _ratio_rows(found, targets, added)))
        if self.programs:
            parts.append(table("BPF programs, ns by the kernel's statistics", _PROGRAM_HEADS, _program_rows(self.programs)))
            parts.append(table("BPF programs together, per event", _EVENT_HEADS, _event_rows(self.programs)))
            parts.append(f"(the statistics alone read about {STATISTICS_NS:.0f} ns for each run of an empty program)")
        if self.micro:
            parts.append(table("User space, ms", ("piece", "ms", "target", "x least", "least"), _micro_rows(self.micro)))
        if self.footprint:
            parts.append(table("Footprint", ("property", "measured", "target"), _footprint_rows(self.footprint)))
        if self.imports:
            rows: list[list[Cell]] = [[each.step, f"{each.rss:,}", f"{each.added:+,}"] for each in self.imports]
            parts.append(table("Memory by import, kB", ("on top of those above", "RSS", "added"), rows))
        return "\n".join(parts)


_RATIO_HEADS = ("workload", "off ns", "added ns", "[min..max]", "target", "ratio", "[min..max]", "target")
_PROGRAM_HEADS = ("workload, program", "ns/run", "runs/op", "ns/op")
_EVENT_HEADS = ("workload", "event", "events/op", "ns/event", "floor", "target")


def _ratio_rows(found: Sequence[Ratio], targets: Mapping[str, float], added: Mapping[str, float]) -> list[list[Cell]]:
    return [
        [
            each.workload,
            each.off_ns,
            each.added_ns.middle,
            _range(each.added_ns, ".0f"),
            added.get(each.workload),
            f"{each.ratio.middle:.3f}",
            _range(each.ratio, ".3f"),
            targets.get(each.workload),
        ]
        for each in found
    ]


def _range(spread: Spread, form: str) -> str:
    return f"[{spread.least:{form}}..{spread.most:{form}}]"


def _program_rows(costs: Sequence[Cost]) -> list[list[Cell]]:
    return [
        [f"{each.workload}, {each.program}", each.per_run, each.runs / each.reading.operations, each.per_operation]
        for each in costs
    ]


def _event_rows(costs: Sequence[Cost]) -> list[list[Cell]]:
    rows: list[list[Cell]] = []
    for workload, (event, floor, target) in EVENTS.items():
        ours = [each for each in costs if each.workload == workload]
        if ours:
            reading = ours[0].reading
            events = reading.segments if event == "segment" else reading.operations
            ns = sum(each.ns for each in ours) / events
            rows.append([workload, event, events / reading.operations, ns, floor, target])
    return rows


def _micro_rows(pieces: Sequence[Piece]) -> list[list[Cell]]:
    return [[each.name, each.ms, MICRO_MS.get(each.name), each.ms / each.least_ms, each.least] for each in pieces]


def _footprint_rows(found: Footprint) -> list[list[Cell]]:
    idle = f"CPU over {found.idle_s:.0f} s idle, % of one core"
    return [
        ["start to ready, s", found.ready_s, READY_S],
        ["RSS when ready, kB", found.at_first.rss, RSS_KB],
        [f"RSS after {found.idle_s:.0f} s, kB", found.at_last.rss, RSS_KB],
        [f"PSS after {found.idle_s:.0f} s, kB", found.at_last.pss, None],
        [f"USS after {found.idle_s:.0f} s, kB", found.at_last.uss, None],
        [idle, f"{100 * found.cpu_s / found.idle_s:.3f}", IDLE_PERCENT],
    ]
