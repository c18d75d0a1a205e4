"""Who has which slot of `syscall_calls`, and how slots come back when their owner is over."""

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from obi_core import BpfObject, Owner, owner
from obi_plugin_syscall.table import CLASSES

_OWNERS: Final = "syscall_owners"
_FREE: Final = "syscall_free"
_CALLS: Final = "syscall_calls"
_BY_SLOT: Final = ("syscall_errors", "syscall_duration")


@dataclass(frozen=True, slots=True)
class Slot:
    """A slot while one owner has it."""

    number: int
    owner: Owner
    generation: int
    """How many owners had it before."""
    calls: Sequence[int]
    """By class, cumulative."""

    def key(self, *parts: Hashable) -> Hashable:
        """Key of an observation of this owner's."""
        return (self.number, self.generation, *parts)


class Slots:
    """Hands out slots to the programs and takes them back.

    A slot comes back in three steps: its owner's row is taken out of the kernel and the epoch is moved, so that no thread
    finds the slot or goes on remembering it; a collection later, when no program can be between its look and its count any
    more, it is read a last time; then it is cleared and given to the programs again.

    Args:
        bpf: The loaded object.
        entries: Slots there are.
    """

    def __init__(self, bpf: BpfObject, entries: int) -> None:
        self._bpf, self._entries = bpf, entries
        self._generations: Counter[int] = Counter()
        self._leaving: dict[int, Owner] = {}
        self._left: dict[int, Owner] = {}
        self._epoch = 1
        self._totals: list[tuple[Any, int]] = []
        self._numbers: dict[bytes, int] = {}
        bpf.tune("syscall_epoch", self._epoch)
        for number in range(entries):
            bpf.put(_FREE, None, number)

    def read(self) -> list[Slot]:
        """Read all slots that have an owner, and those whose owner has just left."""
        rows = [(key, number) for key, number in self._bpf.rows(_OWNERS) if number < self._entries]
        owners = {number: owner(key.owner) for key, number in rows}
        self._left, self._leaving = self._leaving, {}
        owners |= self._left
        blocks = {number: list(block.calls) for number, block in self._bpf.rows(_CALLS) if number in owners}
        self._numbers = {bytes(key): number for key, number in rows}
        self._totals = [(key, sum(blocks.get(number, ()))) for key, number in rows]
        return [Slot(number, owners[number], self._generations[number], calls) for number, calls in blocks.items()]

    def release(self) -> list[int]:
        """Clear the slots whose owner has left before this collection, and give them to the programs again.

        Returns:
            Their numbers: what was observed of them is over.
        """
        released = list(self._left)
        if released:
            for name in _BY_SLOT:
                for key in [key for key, _ in self._bpf.rows(name) if key.slot in self._left]:
                    self._bpf.take(name, key)
        for number in released:
            self._bpf.put(_CALLS, number, bytes(8 * CLASSES))
            self._generations[number] += 1
            self._bpf.put(_FREE, None, number)
        if released or self._leaving:
            # Whoever remembers that there was no slot may find one now.
            self._epoch += 1
            self._bpf.tune("syscall_epoch", self._epoch)
        self._left = {}
        return released

    def rows(self, _map_name: str) -> Iterator[tuple[Any, int]]:
        """Rows of `syscall_owners` with the sum of their calls: what `RowAges` tells the idle by."""
        return iter(self._totals)

    def take(self, _map_name: str, key: Any) -> None:  # noqa: ANN401 - a record
        """Let an owner go."""
        self._bpf.take(_OWNERS, key)
        number = self._numbers[bytes(key)]
        self._leaving[number] = owner(key.owner)
