"""What the agent itself uses, and what its cgroup allows."""

from pathlib import Path, PurePosixPath
from typing import Final

from obi_core.cgroups import Cgroups
from obi_core.host import Host

_FILES: Final = {1: "memory.limit_in_bytes", 2: "memory.max"}
_HUGE: Final = 1 << 60
"""v1 says "no limit" as the largest multiple of a page."""
_HEADROOM: Final = 0.9
"""Share of the cgroup's limit that we go to: the kernel kills at the limit, without asking."""


def memory_bytes(host: Host) -> int:
    """Memory of this process: its proportional share of what it has mapped; resident memory on kernels before 4.14."""
    for name, field in (("smaps_rollup", "Pss:"), ("status", "VmRSS:")):
        try:
            lines = (host.proc / "self" / name).read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            if line.startswith(field):
                return int(line.split()[1]) << 10
    return 0


def cgroup_limit(host: Host) -> int | None:
    """The least memory limit of our cgroup and of those above it; None: none that can be seen."""
    cgroups = Cgroups(host)
    root, version = cgroups.root("memory"), cgroups.version("memory")
    own = _own_path(host, version)
    if root is None or own is None:
        return None
    limits = [limit for path in (own, *own.parents) if (limit := _limit(root / path.relative_to("/") / _FILES[version]))]
    return min(limits, default=None)


def memory_limit(host: Host, budget: int) -> int:
    """What the agent may use with all its maps: its budget, or nine tenths of what its cgroup allows."""
    limit = cgroup_limit(host)
    return budget if limit is None else min(budget, int(_HEADROOM * limit))


def _own_path(host: Host, version: int) -> PurePosixPath | None:
    try:
        lines = (host.proc / "self/cgroup").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if ("memory" in controllers.split(",")) if version == 1 else not controllers:
            # A path that leaves our namespace begins with /..: what is there we cannot see.
            return PurePosixPath(path) if ".." not in path else PurePosixPath("/")
    return None


def _limit(file: Path) -> int | None:
    try:
        text = file.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() and int(text) < _HUGE else None
