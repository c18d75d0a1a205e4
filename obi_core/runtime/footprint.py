"""What the agent itself uses, and what its cgroup allows."""

from typing import Final

from obi_core.host import Host
from obi_core.kernel.headroom import cgroup_limit

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


def memory_limit(host: Host, budget: int) -> int:
    """What the agent may use with all its maps: its budget, or nine tenths of what its cgroup allows."""
    limit = cgroup_limit(host)
    return budget if limit is None else min(budget, int(_HEADROOM * limit))
