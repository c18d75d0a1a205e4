"""Whose a socket is: from its inode, through /proc/<pid>/fd, to the process that holds it."""

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from obi_core import Owner

_MOST_DESCRIPTORS: Final = 100_000
"""Descriptors looked at in one search: about a quarter of a second. The next search goes on from there."""
_START: Final = 22 - 3
"""Field of /proc/<pid>/stat with the start time, counted behind the name (proc(5))."""


class Owners:
    """Finds owners of sockets. Holds no descriptor and remembers nothing but where a search that was too long stopped.

    Gaps: descriptors of other users' processes need CAP_SYS_PTRACE, those of other pid namespaces cannot be seen; a socket
    that several processes hold is the one's with the lowest pid; a socket in io_uring's own table has no descriptor.

    Args:
        proc: Where procfs is mounted.
        ticks_per_s: Clock ticks in /proc/<pid>/stat; None: this system's.
        most: Descriptors looked at in one search.
    """

    def __init__(self, proc: Path, *, ticks_per_s: int | None = None, most: int = _MOST_DESCRIPTORS) -> None:
        self._proc, self._most = proc, most
        self._tick_ns = 1_000_000_000 // (ticks_per_s or os.sysconf("SC_CLK_TCK"))
        self._after = 0
        self._cgroups = _cgroups(proc)

    @property
    def v2(self) -> bool:
        """Whether the cgroup v2 id of a socket says who is who: memory is not a v1 controller here."""
        return self._cgroups is not None and self._cgroups[0] == ""

    def find(self, inodes: Iterable[int]) -> tuple[dict[int, Owner], bool]:
        """Look for the holders of sockets, no further than needed.

        Returns:
            Owners by inode, and whether the search was complete: if not, what it did not find may yet be found.
        """
        wanted = {f"socket:[{inode}]": inode for inode in inodes if inode}
        found: dict[int, Owner] = {}
        looked = 0
        for pid in self._pids() if wanted else ():
            if looked >= self._most:
                self._after = pid - 1
                return found, False
            held: list[int] = []
            for target in self._descriptors(pid):
                looked += 1
                if target in wanted:
                    held.append(wanted.pop(target))
            if held and (owner := self._owner(pid)) is not None:
                found.update(dict.fromkeys(held, owner))
            if not wanted:
                break
        self._after = 0
        return found, True

    def _pids(self) -> list[int]:
        pids = sorted(int(name) for name in _names(self._proc) if name.isdigit())
        return [pid for pid in pids if pid > self._after] + [pid for pid in pids if pid <= self._after]

    def _descriptors(self, pid: int) -> Iterator[str]:
        directory = f"{self._proc}/{pid}/fd"
        for name in _names(directory):
            with suppress(OSError):  # closed meanwhile
                yield os.readlink(f"{directory}/{name}")  # noqa: PTH115 - as below

    def _owner(self, pid: int) -> Owner | None:
        """Describe a process; None if it ended meanwhile."""
        # The name may hold spaces and parentheses: it goes from the first to the last.
        before, _, rest = _text(self._proc / str(pid) / "stat").rpartition(")")
        fields = rest.split()
        if len(fields) <= _START:
            return None
        return Owner(pid, int(fields[_START]) * self._tick_ns, self._cgroup_id(pid), before.partition("(")[2])

    def _cgroup_id(self, pid: int) -> int:
        if self._cgroups is None:
            return 0
        controller, mount = self._cgroups
        for line in _text(self._proc / str(pid) / "cgroup").splitlines():
            _, controllers, path = line.split(":", 2)
            # A path that leads out of our cgroup namespace cannot be followed.
            if controller in controllers.split(",") and not path.startswith("/.."):
                with suppress(OSError):
                    return (mount / path.lstrip("/")).stat().st_ino
        return 0


def _cgroups(proc: Path) -> tuple[str, Path] | None:
    """Find the hierarchy that tells containers apart: the v1 memory controller's if there is one, else v2 (named "")."""
    v2 = None
    for line in _text(proc / "self/mounts").splitlines():
        _, mount, kind, options, *_ = line.split()
        directory = Path(mount.replace("\\040", " "))
        if kind == "cgroup" and "memory" in options.split(","):
            return "memory", directory
        if kind == "cgroup2":
            v2 = "", directory
    return v2


def _names(directory: Path | str) -> list[str]:
    try:
        return os.listdir(directory)  # noqa: PTH208 - names are enough, and there are very many
    except OSError:
        return []


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
