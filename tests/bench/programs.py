"""What each BPF program of the agent costs per run, by the kernel's own clock.

The statistics are switched on for as long as a descriptor is open (`BPF_ENABLE_STATS`), so they end with this process however
it ends, and `kernel.bpf_stats_enabled` stays as it is. They are dear themselves: an empty program reads about 55 ns. So they
are on in a block of their own, and what they say is not what a ratio says.
"""

import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from agent import agent
from workload import Reading, Workload

_RUN_TIME = 0  # BPF_STATS_RUN_TIME
_SWITCH = Path("/proc/sys/kernel/bpf_stats_enabled")
# Nothing is collected while we look, so the programs that user space runs (iterators) do not count.
_QUIET = ("--interval", "600s")


@dataclass(frozen=True, slots=True)
class Cost:
    """One program during one workload."""

    workload: str
    program: str
    runs: int
    ns: int
    """In all its runs."""
    reading: Reading
    """The workload; its own times are inflated by the statistics."""

    @property
    def per_run(self) -> float:
        """ns of one run."""
        return self.ns / self.runs

    @property
    def per_operation(self) -> float:
        """ns of one operation of the workload."""
        return self.ns / self.reading.operations


def costs(workload: Workload, extra: Sequence[str] = ()) -> list[Cost]:
    """Run each workload once, and say which programs of the agent ran."""
    found = []
    with agent((*_QUIET, *extra)) as running, _statistics():
        names = _programs(running.pid)
        for each in workload.counts:
            before = _read(running.pid)
            reading = workload.run([each])[each]
            for program, (runs, ns) in _read(running.pid).items():
                runs_before, ns_before = before.get(program, (0, 0))
                # One that is not named was loaded meanwhile: somebody looked at a view.
                if program in names and (run := runs - runs_before):
                    found.append(Cost(each, names[program], run, ns - ns_before, reading))
    return found


def statistics_are_on() -> bool:
    """Whether somebody has switched the statistics on for the whole machine: ratios would be those of the statistics."""
    return _SWITCH.read_text().strip() != "0"


@contextmanager
def _statistics() -> Iterator[None]:
    fd = ctypes.CDLL("libbpf.so.1", use_errno=True).bpf_enable_stats(_RUN_TIME)
    if fd < 0:
        sys.exit(f"bench: the kernel keeps no BPF statistics: {os.strerror(ctypes.get_errno())}")
    try:
        yield
    finally:
        os.close(fd)


def _read(pid: int) -> dict[int, tuple[int, int]]:
    """Runs and ns of each program that the process holds, by id."""
    found = {}
    for path in Path(f"/proc/{pid}/fdinfo").iterdir():
        try:
            lines = path.read_text().splitlines()
        except FileNotFoundError:
            continue  # closed meanwhile
        fields = {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if "run_cnt" in fields:
            found[int(fields["prog_id"])] = (int(fields["run_cnt"]), int(fields["run_time_ns"]))
    return found


def _programs(pid: int) -> dict[int, str]:
    done = subprocess.run(["bpftool", "--json", "prog", "show"], check=True, capture_output=True, text=True)
    ours = _read(pid)
    return {each["id"]: each.get("name", "?") for each in json.loads(done.stdout) if each["id"] in ours}
