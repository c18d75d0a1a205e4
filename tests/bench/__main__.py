"""`make bench`: what the agent costs, beside floors and targets.

    tests/bench [--rounds 5] [--scale 1] [--idle 60] [--only PART,...] [--json FILE]

Parts: control (noise), ratios (on against off), programs (ns per BPF run), micro (user space), footprint (memory, time to
ready, idle CPU). Needs root. docs/performance.md has the method.
"""

import argparse
import fcntl
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent import probes
from footprint import footprint, imports
from identity import naming
from micro import ROWS, SERIES, pieces
from programs import costs, statistics_are_on
from ratios import control, with_agent
from report import Report
from workload import Workload

PARTS = ("control", "ratios", "programs", "micro", "footprint")


def main() -> None:
    """Measure what was asked for and print it."""
    chosen = _arguments()
    with _alone(), tempfile.TemporaryDirectory(prefix="obi-bench-") as folder:
        report = _measure(chosen, Workload(Path(folder), chosen.scale))
    print(report.text())
    if chosen.json:
        chosen.json.write_text(json.dumps(report.json(), indent=2) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="rounds of off, on, off (default: 5; 2 is quick)")
    parser.add_argument("--scale", type=float, default=1, help="factor on the counts of every workload (default: 1)")
    parser.add_argument("--idle", type=float, default=60, help="seconds to watch the idle agent (default: 60)")
    parser.add_argument("--only", default=",".join(PARTS), help=f"parts, comma-separated (default: {','.join(PARTS)})")
    parser.add_argument("--json", type=Path, help="also write everything to this file")
    chosen = parser.parse_args()
    chosen.only = chosen.only.split(",")
    if unknown := set(chosen.only) - set(PARTS):
        parser.error(f"no part {', '.join(sorted(unknown))}: choose from {', '.join(PARTS)}")
    if chosen.rounds < 1 or chosen.scale <= 0 or chosen.idle <= 0:
        parser.error("--rounds, --scale and --idle must be more than 0")
    return chosen


@contextmanager
def _alone() -> Iterator[None]:
    """Two benchmarks at once would measure each other. The lock goes with the process."""
    path = Path(tempfile.gettempdir(), "obi-bench.lock")
    with path.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit(f"bench: another one is running (it holds {path}): wait for it")
        yield


def _measure(chosen: argparse.Namespace, workload: Workload) -> Report:
    installed = probes()
    report = Report(installed, chosen.rounds, chosen.scale)
    if report.load_before > 0.5:
        report.notes.append("somebody else was working on this machine")
    if statistics_are_on():
        report.notes.append("kernel.bpf_stats_enabled is on: every ratio holds the cost of the statistics")

    def on(part: str) -> bool:
        if part in chosen.only:
            print(f"bench: {part}", file=sys.stderr, flush=True)
        return part in chosen.only

    if on("micro"):
        small = min(chosen.scale, 1)
        series = max(64, int(SERIES * small))
        report.micro = [*pieces(max(64, int(ROWS * small)), series), *naming(series)]
    if on("control"):
        report.control = control(workload, chosen.rounds)
    if on("ratios"):
        alone = {name: ("--plugins", name) for name in installed} if len(installed) > 1 else {}
        variants: dict[str, tuple[str, ...]] = {"all": (), **alone}
        report.ratios = {name: with_agent(workload, chosen.rounds, extra) for name, extra in variants.items()}
    if on("programs"):
        report.programs = costs(workload)
    if on("footprint"):
        report.footprint = footprint(chosen.idle)
        report.imports = imports()
    report.load_after = os.getloadavg()[0]
    return report


if __name__ == "__main__":
    main()
