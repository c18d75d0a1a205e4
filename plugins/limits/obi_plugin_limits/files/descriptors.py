"""Which programs are closest to their limit of file descriptors. Looks at some processes at each collection, all in turn."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from obi_core import Owner
from obi_plugin_limits.files.figures import Level, Source, descriptors

_SOFT: Final = "Max open files"


@dataclass(frozen=True, slots=True)
class Holder:
    """One process."""

    pid: int
    name: str
    opened: int
    limit: int

    @property
    def used(self) -> float:
        """Part of the limit."""
        return self.opened / self.limit if self.limit else 1.0


class Holders:
    """Processes by what they hold open.

    Args:
        proc: Where procfs is mounted.
        count: Programs to tell of, the closest to their limit first.
        batch: Processes to look at in one collection.
    """

    def __init__(self, proc: Path, count: int, batch: int) -> None:
        self._proc, self._count, self._batch = str(proc), count, batch
        self._known: dict[int, Holder] = {}
        self._next = 0

    def look(self) -> Iterator[tuple[Source, Level]]:
        """Look at the next processes, and give the programs closest to their limit: the worst process of each name."""
        if not self._count:
            return
        try:
            pids = sorted(int(name) for name in os.listdir(self._proc) if name.isdigit())  # noqa: PTH208 - names are wanted
        except OSError:
            return
        self._known = {pid: holder for pid, holder in self._known.items() if pid in set(pids)}
        for pid in self._turn(pids):
            if (holder := self._holder(pid)) is not None:
                self._known[pid] = holder
            else:
                self._known.pop(pid, None)
        worst: dict[str, Holder] = {}
        for holder in self._known.values():
            if holder.name not in worst or holder.used > worst[holder.name].used:
                worst[holder.name] = holder
        for holder in sorted(worst.values(), key=lambda each: each.used, reverse=True)[: self._count]:
            source = Source(("holder", holder.name), holder.name, Owner(0, 0, 0, holder.name))
            yield source, descriptors(holder.opened, holder.limit)

    def _turn(self, pids: list[int]) -> list[int]:
        later = [pid for pid in pids if pid >= self._next]
        chosen = (later + pids[: len(pids) - len(later)])[: self._batch]
        self._next = chosen[-1] + 1 if chosen else 0
        return chosen

    def _holder(self, pid: int) -> Holder | None:
        directory = f"{self._proc}/{pid}"
        try:
            with open(f"{directory}/limits", "rb") as file:  # noqa: PTH123 - hundreds of these in a collection
                line = next((each for each in file.read().decode().splitlines() if each.startswith(_SOFT)), "")
            with open(f"{directory}/comm", "rb") as file:  # noqa: PTH123 - as above
                name = file.read().decode(errors="replace").removesuffix("\n")
            opened = self._open_files(directory)
        except OSError:
            return None  # it has ended, or is not ours to look at
        words = line.removeprefix(_SOFT).split()
        return Holder(pid, name, opened, int(words[0])) if words and words[0].isdigit() else None

    @staticmethod
    def _open_files(directory: str) -> int:
        # Since v6.2 the size of the directory says how many there are; before, it is 0.
        return os.stat(f"{directory}/fd").st_size or len(os.listdir(f"{directory}/fd"))  # noqa: PTH116, PTH208 - as above
