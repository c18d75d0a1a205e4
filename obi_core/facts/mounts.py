"""File systems of the kernel's that OBI reads, and which control groups there are."""

from collections.abc import Mapping
from dataclasses import dataclass

from obi_core.host import Host


@dataclass(frozen=True, slots=True)
class MountFacts:
    """Mount points, None where something is not mounted."""

    tracefs: str | None
    """Where it can be read."""
    debugfs: str | None
    bpffs: str | None
    cgroup2: str | None
    cgroup1: Mapping[str, str]
    """Mount point by v1 controller (`memory`; `name=systemd` for a hierarchy without)."""
    memory_cgroup: str
    """`v1` or `v2`: which hierarchy tells containers apart."""


def mount_facts(host: Host) -> MountFacts:
    """Read them."""
    mounts = tuple(host.mounts())

    def first(kind: str) -> str | None:
        return next((str(mount.directory) for mount in mounts if mount.kind == kind), None)

    known = _controllers(host)
    cgroup1 = {
        option: str(mount.directory)
        for mount in mounts
        if mount.kind == "cgroup"
        for option in mount.options
        if option in known or option.startswith("name=")
    }
    tracefs = host.tracefs()
    return MountFacts(
        tracefs=None if tracefs is None else str(tracefs),
        debugfs=first("debugfs"),
        bpffs=first("bpf"),
        cgroup2=first("cgroup2"),
        cgroup1=cgroup1,
        memory_cgroup="v1" if host.memory_cgroup_v1() else "v2",
    )


def _controllers(host: Host) -> frozenset[str]:
    try:
        lines = (host.proc / "cgroups").read_text().splitlines()
    except OSError:
        return frozenset()
    return frozenset(line.split("\t")[0] for line in lines if not line.startswith("#"))
