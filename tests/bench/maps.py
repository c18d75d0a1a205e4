"""What one count costs in each kind of map, and what the map takes: `.venv/bin/python tests/bench/maps.py [ROUNDS]`.

A program at every exit of a system call counts it under its owner and number (maps.bpf.c). One thread calls getppid, then
does so while another of its name does on a second CPU, so that they meet in one row: ns of process CPU time that each call
takes beside what it takes with no program before and after; the median of the rounds, of a minute each. Memory is the kernel's
own sum, for 2 and for 64 CPUs. docs/adr/0006 is about this. Needs root, two CPUs, and a machine that nobody else uses.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from table import Cell, table
from workload import Workload

from obi_core.hatch import build
from obi_core.host import Host
from obi_core.kernel.libbpf import LibbpfLoader
from obi_core.kernel.memory import MapShape
from obi_core.kernel.node import node_constants
from obi_core.kernel.shipped import Shipped
from obi_core.model import LoadPlan, Mode, Program

WAYS = {
    "nothing": ("an empty program", ""),
    "key_new": ("shared hash, atomic, 48-byte key made anew", "maps_key_shared"),
    "key_shared": ("shared hash, atomic, 48-byte key from task storage", "maps_key_shared"),
    "key_percpu": ("per-CPU hash, 48-byte key from task storage", "maps_key_percpu"),
    "key_lru": ("shared LRU, atomic, 48-byte key from task storage", "maps_key_lru"),
    "pair_shared": ("shared hash, atomic, 8-byte key from task storage", "maps_pair_shared"),
    "pair_percpu": ("per-CPU hash, 8-byte key from task storage", "maps_pair_percpu"),
    "slot_shared": ("shared array, atomic, index from task storage", "maps_slot_shared"),
    "slot_percpu": ("per-CPU array, index from task storage", "maps_slot_percpu"),
}
"""By the end of its program's name: what it is, and the map it counts in."""
PACKAGE = "maps_bench"


@dataclass(frozen=True, slots=True)
class Added:
    """What one way adds to a call, ns."""

    alone: float
    together: float


class Calls:
    """The workload on one CPU, alone and beside another of its name on a second CPU."""

    def __init__(self, folder: Path) -> None:
        self._workload = Workload(folder, 0.25)
        self._program = folder / "workload"
        self._other = min(os.sched_getaffinity(0))

    def alone(self) -> float:
        """CPU time of one call, ns: the middle one of three runs."""
        return median(self._workload.run(["getppid"])["getppid"].ns for _ in range(3))

    def together(self) -> float:
        """The same while the other CPU makes the same calls without a pause."""
        neighbour = subprocess.Popen([str(self._program), str(self._other), "10", "getppid", str(1 << 40)])
        try:
            while int(Path(f"/proc/{neighbour.pid}/stat").read_text().split()[14]) < 10:  # stime, in ticks of 10 ms
                time.sleep(0.01)
            return self.alone()
        finally:
            neighbour.kill()
            neighbour.wait()

    def both(self) -> tuple[float, float]:
        """Alone, and together."""
        return self.alone(), self.together()


def measure(calls: Calls, rounds: int) -> dict[str, Added]:
    """Measure all ways, round by round, each between two runs without it."""
    host = Host()
    loader = LibbpfLoader(host, node_constants(host))
    found: dict[str, list[Added]] = {way: [] for way in WAYS}
    before = calls.both()
    for _ in range(rounds):
        for way in WAYS:
            program = f"maps_do_{way}"
            with loader.load(PACKAGE, "maps", Mode(way, (Program(program),)), LoadPlan({}, {}, {})) as loaded:
                loaded.attach(program)
                during = calls.both()
            after = calls.both()
            found[way].append(Added(*(on - (a + b) / 2 for a, on, b in zip(before, during, after, strict=True))))
            before = after
    return {
        way: Added(median(each.alone for each in added), median(each.together for each in added))
        for way, added in found.items()
    }


def mebibytes(shipped: Shipped, map_name: str, cpus: int) -> float | None:
    """Memory of a full map on a machine of so many CPUs, MiB."""
    return MapShape.of(shipped.map_types[map_name]).bytes(cpus) / (1 << 20) if map_name else None


def main() -> None:
    """Measure, and print the table."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with tempfile.TemporaryDirectory(prefix="obi-bench-") as folder:
        package = Path(folder, PACKAGE)
        package.mkdir()
        package.joinpath("__init__.py").touch()
        shutil.copy(Path(__file__).with_name("maps.bpf.c"), package)
        build([package])
        sys.path.insert(0, folder)
        added = measure(Calls(Path(folder)), rounds)
        shipped = Shipped.read(PACKAGE, "maps")
        rows: list[list[Cell]] = [
            [what, added[way].alone, added[way].together, mebibytes(shipped, name, 2), mebibytes(shipped, name, 64)]
            for way, (what, name) in WAYS.items()
        ]
    heads = ("one count per call", "1 CPU, ns", "2 CPUs, ns", "MiB at 2 CPUs", "at 64")
    print(table(f"Added to getppid, {rounds} rounds", heads, rows))


if __name__ == "__main__":
    main()
