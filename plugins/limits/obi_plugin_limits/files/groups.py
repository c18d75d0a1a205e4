"""Which cgroups there are now, and in which directories of which controllers their files lie."""

import os
import re
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from obi_core import Cgroups

_CONTROLLERS: Final = ("cpu", "cpuacct", "memory", "pids")
_V2: Final = ""
_LEAF_LINKS: Final = 2
"""Links of a directory without directories in it: its name and its own `.`."""
_CONTAINER: Final = re.compile(r"[0-9a-f]{64}")
"""A container's id in the name of its cgroup, as container runtimes write it. Cgroups inside belong to the container, and
its own files count them in."""
_UNIT: Final = re.compile(r"\.(?:service|scope|socket|mount|swap)$")
"""A unit of systemd."""
_LOOKED_AT: Final = 4
"""So many times the cgroups that are read may be walked through, to count how many there are beyond."""


@dataclass(frozen=True, slots=True)
class Group:
    """One cgroup, below the root."""

    path: str
    """From the root of its hierarchies, where it is the same."""
    id: int
    """In the hierarchy whose ids owners carry; 0: it is not in that."""
    directories: Mapping[str, str] = field(hash=False, compare=False)
    """By v1 controller; v2's by the empty name."""

    @property
    def is_inside(self) -> bool:
        """Whether it is part of a unit or a container, whose own figures count this one's in and whose name it shares."""
        return any(_UNIT.search(part) or _CONTAINER.search(part) or part == "lxc" for part in self.path.split("/")[:-1])


class Groups:
    """Walks the hierarchies; a directory that has none in it, as most, costs one stat.

    Args:
        cgroups: Where they are mounted.
        limit: Cgroups to give.
    """

    def __init__(self, cgroups: Cgroups, limit: int) -> None:
        self._limit = limit
        mounts = cgroups.mounts()
        self._roots: dict[str, list[str]] = {}
        for name in (_V2, *_CONTROLLERS):
            if name in mounts:
                self._roots.setdefault(str(mounts[name]), []).append(name)
        identifying = cgroups.identifying()
        self._identifying = str(identifying) if identifying else ""
        self.beyond = 0
        """Cgroups that the last look left out."""

    def look(self) -> list[Group]:
        """Give the cgroups of now, nearest to the root first."""
        found: dict[str, tuple[int, dict[str, str]]] = {}
        left_out: set[str] = set()
        for root, names in self._roots.items():
            for directory, path, inode in self._walk(root):
                if path not in found and len(found) >= self._limit:
                    left_out.add(path)
                    continue
                known, directories = found.get(path, (0, {}))
                directories.update(dict.fromkeys(names, directory))
                found[path] = (inode if root == self._identifying else known), directories
        self.beyond = len(left_out)
        return [Group(path, inode, directories) for path, (inode, directories) in found.items()]

    def _walk(self, root: str) -> Iterator[tuple[str, str, int]]:
        waiting, seen = deque([(root, "")]), 0
        while waiting:
            directory, path = waiting.popleft()
            try:
                there = os.stat(directory)  # noqa: PTH116 - a thousand of these in a collection
            except OSError:
                continue  # it ended while we looked
            if path:
                seen += 1
                yield directory, path, there.st_ino
            if there.st_nlink == _LEAF_LINKS or _CONTAINER.search(Path(path).name) or seen >= self._limit * _LOOKED_AT:
                continue
            try:
                with os.scandir(directory) as entries:
                    names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
            except OSError:
                continue
            waiting.extend((f"{directory}/{name}", f"{path}/{name}") for name in names)
