"""What the programs are told about each system call number, and what the numbers are called."""

import difflib
import enum
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Final, Self

from obi_plugin_syscall.groups import Groups

OTHER: Final = "_OTHER"
NUMBERS: Final = 512
"""`SYSCALL_NUMBERS` in syscall_maps.h."""
CLASSES: Final = 256
"""`SYSCALL_CLASSES` in syscall_maps.h; class 0 is `_OTHER`."""

_ABIS: Final[Mapping[str, tuple[str, str]]] = {"x86_64": ("x86_64", "i386"), "aarch64": ("arm64", "arm")}
"""By machine: instruction sets of native and of 32-bit calls."""


class Flag(enum.IntFlag):
    """What is special about a call; in step with `SYSCALL_TIMED` and its neighbours in syscall_maps.h."""

    TIMED = 0x100
    FORKS = 0x200
    ENDS = 0x400


def numbers(abi: str) -> dict[str, int]:
    """Numbers of one instruction set, by name.

    Args:
        abi: `x86_64`, `i386`, `arm64` or `arm`.
    """
    lines = files("obi_plugin_syscall").joinpath("numbers", f"{abi}.tsv").read_text().splitlines()
    return {name: int(number) for number, name in (line.split("\t") for line in lines)}


@dataclass(frozen=True, slots=True)
class Table:
    """The allow-list, resolved for one machine."""

    classes: tuple[str, ...]
    """Names by class; the first is `_OTHER`."""
    entries: Mapping[int, int]
    """What stands in `syscall_table` at each place that is not 0."""
    names: Mapping[int, str]
    """Name of every known call by its place in `syscall_table`, allow-listed or not."""
    remarks: tuple[str, ...]
    """What was wrong with the allow-list; a sentence each."""

    @classmethod
    def of(cls, wanted: Iterable[str], *, timed: bool = True, blocking: bool = False, machine: str = "") -> Self:
        """Resolve an allow-list.

        Args:
            wanted: Names of groups and of calls. What is neither is left out, with a remark.
            timed: Whether latency is taken at all.
            blocking: Whether it is taken of calls that wait for somebody else too.
            machine: As `platform.machine()` gives it; empty: this one. On one that is not known all calls are `_OTHER`.
        """
        groups = Groups.read()
        abis = [numbers(abi) for abi in _ABIS.get(machine or platform.machine(), ())]
        chosen, remarks = _choose(wanted, groups.named)
        here = [name for name in chosen if any(name in each for each in abis)]
        if beyond := here[CLASSES - 1 :]:
            remarks.append(
                f"{len(here)} calls are named and {CLASSES - 1} can be told apart: those from {beyond[0]!r} on are left out"
            )
        classes = (OTHER, *here[: CLASSES - 1])
        class_of = {name: number for number, name in enumerate(classes)}
        places = {
            half * NUMBERS + number: name
            for half, each in enumerate(abis)
            for name, number in each.items()
            if number < NUMBERS
        }
        untimed = groups.ends if blocking else groups.ends | groups.blocking
        entries = {}
        for place, name in places.items():
            entry = class_of.get(name, 0)
            if timed and entry and name not in untimed:
                entry |= Flag.TIMED
            if name in groups.forks:
                entry |= Flag.FORKS
            if name in groups.ends:
                entry |= Flag.ENDS
            if entry:
                entries[place] = int(entry)
        return cls(classes, entries, places, tuple(remarks))

    def name(self, place: int) -> str:
        """Name the call at a place in `syscall_table`."""
        return self.names.get(place, OTHER)


def _choose(wanted: Iterable[str], groups: Mapping[str, Sequence[str]]) -> tuple[list[str], list[str]]:
    known = {name for abis in _ABIS.values() for abi in abis for name in numbers(abi)}
    chosen: dict[str, None] = {}
    remarks = []
    for word in wanted:
        if word in groups or word in known:
            chosen |= dict.fromkeys(groups.get(word, (word,)))
            continue
        near = difflib.get_close_matches(word.lower(), (*groups, *sorted(known)), 1)
        hint = f"did you mean {near[0]!r}?" if near else f"groups are {', '.join(groups)}"
        remarks.append(f"no system call and no group is called {word!r}, so it is left out; {hint}")
    return list(chosen), remarks
