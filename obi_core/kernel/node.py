"""`OBI_SETTING` constants that are the same for every object on a node: those of `bpf/obi/{attribution,sample}.h`."""

import os
import secrets

from obi_core.host import Host


def node_constants(host: Host, *, by_process: bool = False) -> dict[str, int]:
    """Values of the shared constants, by C name.

    Args:
        host: Which cgroup hierarchy tells containers apart.
        by_process: Whether rows of aggregates are kept per process rather than per process name and cgroup.
    """
    return {
        "obi_cgroup_v1": int(host.memory_cgroup_v1()),
        "obi_by_process": int(by_process),
        "obi_agent_tgid": os.getpid(),
        "obi_sample_seed": secrets.randbits(64),
    }
