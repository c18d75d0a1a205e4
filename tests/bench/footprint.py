"""What `obi run` costs in memory and idle CPU, and how soon it is ready.

    .venv/bin/python tests/bench/footprint.py [--seconds 600]

Starts the installed program with its defaults on free ports, waits until `/ready` answers 200, reads its memory (smaps_rollup)
at the start and at the end and its CPU time in between, and stops it. Then adds the imports of the agent one by one in fresh
interpreters, so that a reader sees which of them the memory is. Needs root. `make bench` does the same in its table.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from agent import agent

STEPS = (
    "ctypes, logging, threading, http.server",
    "pluggy",
    "yaml",
    "pydantic",
    "pydantic_settings",
    "prometheus_client",
    "obi_core.runtime.agent",
    "obi_core.cli.main",
    "obi_plugin_tcp.probe",
)


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory of one process, kB."""

    rss: int
    pss: int
    uss: int


@dataclass(frozen=True, slots=True)
class Footprint:
    """One agent, from its start to the end of an idle time."""

    ready_s: float
    at_first: Memory
    at_last: Memory
    idle_s: float
    """For how long it was left alone."""
    cpu_s: float
    """CPU time of all its threads in that time, by the scheduler's clock."""


@dataclass(frozen=True, slots=True)
class Import:
    """A fresh interpreter after one more import."""

    step: str
    rss: int
    """kB."""
    added: int
    """kB on top of the step before."""


def footprint(idle_s: float, extra: Sequence[str] = ()) -> Footprint:
    """Run an agent for `idle_s` seconds after it is ready."""
    with agent(extra) as running:
        at_first, spent, began = _memory(running.pid), _cpu_ns(running.pid), time.monotonic()
        time.sleep(idle_s)
        cpu_ns, idle = _cpu_ns(running.pid) - spent, time.monotonic() - began
        return Footprint(running.ready_s, at_first, _memory(running.pid), idle, cpu_ns / 1e9)


def imports() -> list[Import]:
    """Add the agent's imports one by one."""
    found: list[Import] = []
    script = ""
    for step in ("", *STEPS):
        script += f"import {step}\n" if step else ""
        code = f"{script}\nprint(open('/proc/self/smaps_rollup').read())"
        text = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
        rss = next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Rss:"))
        found.append(Import(step or "bare interpreter", rss, rss - found[-1].rss if found else rss))
    return found


def _memory(pid: int) -> Memory:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    kb = {name.rstrip(":"): int(value) for name, value, *_ in map(str.split, lines)}
    return Memory(kb["Rss"], kb["Pss"], kb["Private_Dirty"] + kb["Private_Clean"])


def _cpu_ns(pid: int) -> int:
    return sum(int(path.read_text().split()[0]) for path in Path(f"/proc/{pid}/task").glob("*/schedstat"))


def main() -> None:
    """Print the footprint."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("extra", nargs="*", help="further arguments of `obi run`, after --")
    chosen = parser.parse_args()
    found = footprint(chosen.seconds, chosen.extra)
    print(f"start to ready: {found.ready_s:.2f} s")
    for when, memory in (("when ready", found.at_first), (f"after {found.idle_s:.0f} s", found.at_last)):
        print(f"memory {when}, kB: RSS {memory.rss}, PSS {memory.pss}, USS {memory.uss}")
    print(f"CPU over {found.idle_s:.0f} s: {100 * found.cpu_s / found.idle_s:.3f} % of one core")
    print("RSS by import, kB, each on top of the ones before:")
    for step in imports():
        print(f"  {step.rss:7d}  +{step.added:6d}  {step.step}")


if __name__ == "__main__":
    main()
