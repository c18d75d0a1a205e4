"""workload.c: compiled, run, and its lines read."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

COUNTS: Mapping[str, int] = {"getppid": 2_000_000, "pipe": 500_000, "churn": 30_000, "request": 60_000, "bulk": 20_000}
"""Operations of one run at scale 1: about 0.2 s each."""
_SOURCE = Path(__file__).with_suffix(".c")
_PRIORITY = 10


@dataclass(frozen=True, slots=True)
class Reading:
    """One workload, run once."""

    operations: int
    cpu_ns: int
    segments: int
    """TCP segments received in its network namespace."""

    @property
    def ns(self) -> float:
        """Process CPU time of one operation."""
        return self.cpu_ns / self.operations


class Workload:
    """The compiled workload.

    Args:
        folder: Where to put the program.
        scale: Factor on every count.
    """

    def __init__(self, folder: Path, scale: float) -> None:
        self.counts = {name: max(1, int(count * scale)) for name, count in COUNTS.items()}
        self.cpu = max(os.sched_getaffinity(0))
        self._program = folder / "workload"
        compiler = next(filter(None, map(shutil.which, ("gcc", "clang"))), None)
        if compiler is None:
            sys.exit("bench: no C compiler: install the Debian package clang")
        subprocess.run([compiler, "-O2", "-o", str(self._program), str(_SOURCE)], check=True)

    def run(self, names: Sequence[str] = tuple(COUNTS)) -> dict[str, Reading]:
        """Run the named workloads once each, in order."""
        pairs = [str(word) for name in names for word in (name, self.counts[name])]
        command = [str(self._program), str(self.cpu), str(_PRIORITY), *pairs]
        done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            sys.exit(f"bench: the workload ended with status {done.returncode}")
        lines = map(str.split, done.stdout.splitlines())
        return {name: Reading(*map(int, numbers)) for name, *numbers in lines}

    def block(self, times: int = 3) -> dict[str, float]:
        """Run everything `times` times; ns per operation of each workload's cheapest run."""
        runs = [self.run() for _ in range(times)]
        return {name: min(run[name].ns for run in runs) for name in self.counts}
