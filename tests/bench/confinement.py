"""A cgroup with a limit of memory and a quota of CPU, v1 or v2, for everything that is started in it."""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from obi_core.cgroups import Cgroups
from obi_core.host import Host

_PERIOD_US = 100_000


@dataclass(frozen=True, slots=True)
class Usage:
    """What was used of it so far."""

    peak: int
    """Most memory at once, bytes: page cache and the kernel's memory, maps included."""
    oom_kills: int
    periods: int
    throttled: int
    """Periods in which the quota was used up."""
    throttled_s: float


@dataclass(frozen=True, slots=True)
class Confinement:
    """Both limits.

    Args:
        memory: Directory that limits memory.
        cpu: Directory that limits CPU; with v2 the same.
        version: 1 or 2.
    """

    memory: Path
    cpu: Path
    version: int

    def command(self, words: Sequence[str]) -> list[str]:
        """Make a command that runs `words` inside."""
        joins = "".join(f'echo $$ > "{folder}/cgroup.procs"; ' for folder in dict.fromkeys((self.memory, self.cpu)))
        return ["sh", "-ec", f'{joins}exec "$@"', "sh", *words]

    def usage(self) -> Usage:
        """Read the counters."""
        stat = _pairs(self.cpu / "cpu.stat")
        if self.version == 1:
            peak, kills = _number(self.memory / "memory.max_usage_in_bytes"), _pairs(self.memory / "memory.oom_control")
            throttled_s = stat["throttled_time"] / 1e9
        else:
            peak, kills = _number(self.memory / "memory.peak"), _pairs(self.memory / "memory.events")
            throttled_s = stat["throttled_usec"] / 1e6
        return Usage(peak, kills["oom_kill"], stat["nr_periods"], stat["nr_throttled"], throttled_s)


@contextmanager
def confined(memory_bytes: int, cpus: float) -> Iterator[Confinement]:
    """Make it below the cgroup of this process, and remove it when everything in it has ended."""
    cgroups, name = Cgroups(Host()), f"obi-confined-{os.getpid()}"
    version = cgroups.version("memory")
    own = {
        kinds: path for _, kinds, path in (line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines())
    }

    def below(controller: str) -> Path:
        root = cgroups.root(controller)
        if root is None:
            raise RuntimeError(f"no cgroup here has the controller {controller}")
        kinds = next((each for each in own if controller in each.split(",")), "") if version == 1 else ""
        return root / own[kinds].removeprefix("/") / name

    made = Confinement(below("memory"), below("cpu"), version)
    folders = list(dict.fromkeys((made.memory, made.cpu)))
    try:
        for folder in folders:
            folder.mkdir()
        quota = int(_PERIOD_US * cpus)
        if version == 1:
            (made.memory / "memory.limit_in_bytes").write_text(str(memory_bytes))
            (made.cpu / "cpu.cfs_period_us").write_text(str(_PERIOD_US))
            (made.cpu / "cpu.cfs_quota_us").write_text(str(quota))
        else:
            (made.memory / "memory.max").write_text(str(memory_bytes))
            (made.cpu / "cpu.max").write_text(f"{quota} {_PERIOD_US}")
        yield made
    finally:
        for folder in folders:
            for _ in range(100):
                with suppress(OSError):
                    folder.rmdir()
                if not folder.exists():
                    break
                time.sleep(0.05)


def _number(file: Path) -> int:
    return int(file.read_text())


def _pairs(file: Path) -> dict[str, int]:
    return {name: int(value) for name, value in map(str.split, file.read_text().splitlines())}
