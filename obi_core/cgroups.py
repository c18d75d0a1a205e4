"""Control groups of this node: which there are, under which id the kernel side knows them, where their files lie.

A v1 node has a hierarchy per controller, a v2 node one for all; a hybrid node has both. One hierarchy tells containers apart:
the memory controller's, or v2's. Its ids are what `Owner.cgroup_id` holds. Everything is read when asked for.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final, Self

from obi_core.host import Host

ROOT_ID: Final = 1
"""Id of a hierarchy's root, if the whole hierarchy can be seen; in a cgroup namespace the root has another."""
_UNIFIED: Final = ""
_V1_CONTROLLERS: Final = frozenset(
    ("blkio", "cpu", "cpuacct", "cpuset", "devices", "freezer", "hugetlb", "memory", "pids")
) | {
    "net_cls",
    "net_prio",
    "perf_event",
}


@dataclass(frozen=True, slots=True)
class Cgroup:
    """One control group of the hierarchy that tells containers apart."""

    id: int
    """Inode number of its directory, which is the kernel's id of it."""
    path: PurePosixPath
    """From the root of the hierarchy: `/kubepods/burstable/…`."""


@dataclass(frozen=True, slots=True)
class Cgroups:
    """The hierarchies of this node.

    Args:
        host: Whose mounts to read.
    """

    host: Host = field(default_factory=Host)

    def mounts(self) -> Mapping[str, Path]:
        """Where each v1 controller is mounted, by name; v2 by the empty name."""
        found: dict[str, Path] = {}
        for mount in self.host.mounts():
            if mount.kind == "cgroup2":
                found.setdefault(_UNIFIED, mount.directory)
            elif mount.kind == "cgroup":
                for name in _V1_CONTROLLERS & set(mount.options):
                    found.setdefault(name, mount.directory)
        return found

    def version(self, controller: str) -> int:
        """1 or 2: which hierarchy a controller belongs to; 0: this node has it in none."""
        mounts = self.mounts()
        if controller in mounts:
            return 1
        if _UNIFIED not in mounts:
            return 0
        try:
            there = (mounts[_UNIFIED] / "cgroup.controllers").read_text().split()
        except OSError:
            return 0
        # cpuacct is part of v2's cpu
        return 2 if controller in there or (controller == "cpuacct" and "cpu" in there) else 0

    def root(self, controller: str = "memory") -> Path | None:
        """Directory under which a controller's files lie; None if this node has no such controller."""
        return {1: self.mounts().get(controller), 2: self.mounts().get(_UNIFIED), 0: None}[self.version(controller)]

    def identifying(self) -> Path | None:
        """Root of the hierarchy whose ids owners carry: the memory controller's on v1 and hybrid nodes, else v2's."""
        mounts = self.mounts()
        return mounts.get("memory") if self.host.memory_cgroup_v1() else mounts.get(_UNIFIED)

    def all(self) -> Iterator[Cgroup]:
        """Every cgroup of the identifying hierarchy, the root first, parents before children.

        Groups that come or go meanwhile may be missed.
        """
        root = self.identifying()
        if root is not None:
            yield from _walk(root)

    def ids(self) -> frozenset[int] | None:
        """Ids of all cgroups now; None if not all can be seen (no hierarchy, or a cgroup namespace hides the rest)."""
        root = self.identifying()
        if root is None:
            return None
        seen = frozenset(each.id for each in _walk(root))
        return seen if ROOT_ID in seen else None

    @classmethod
    def under(cls, proc: Path) -> Self:
        """Read another /proc than this machine's."""
        return cls(Host(proc=proc))


def _walk(root: Path) -> Iterator[Cgroup]:
    try:
        yield Cgroup(root.stat().st_ino, PurePosixPath("/"))
    except OSError:
        return
    waiting = [(str(root), "")]
    while waiting:
        directory, path = waiting.pop()
        try:
            with os.scandir(directory) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        below = f"{path}/{entry.name}"
                        waiting.append((entry.path, below))
                        yield Cgroup(entry.inode(), PurePosixPath(below))
        except OSError:
            continue  # it ended while we looked
