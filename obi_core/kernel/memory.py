"""How much kernel memory maps take, worked out before they are made, and how far they must shrink to fit a budget.

The sums are the kernel's own (`map_mem_usage` in kernel/bpf/hashtab.c, arraymap.c and ringbuf.c, since v6.4: 90a5527d7686,
"bpf: add new map ops ->map_mem_usage"); `tests/kernel/test_memory.py` holds them against what it accounts. Older kernels tell
less than they take: keys and values only.

Known gap: local storage (task, socket, inode, cgroup) is allocated for each owner as it comes, so it counts as 0 and is named
in `MemoryPlan.uncounted`; so does what BCC makes of an in-flight map.
"""

import ctypes
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from mmap import PAGESIZE
from typing import Final, Self

from obi_core.btf import MapTypes
from obi_core.kernel.maps import PER_CPU

FLOOR: Final = 64
"""A map is never scaled below so many entries; a ring buffer, below a page."""

_ARRAYS: Final = frozenset({2, 3, 4, 6, 8, 12, 22, 23})
"""ARRAY, PROG_ARRAY, PERF_EVENT_ARRAY, PERCPU_ARRAY, CGROUP_ARRAY, ARRAY_OF_MAPS, QUEUE, STACK: a row of equal slots."""
_STORAGES: Final = frozenset({24, 28, 29, 32})
"""SK_STORAGE, INODE_STORAGE, TASK_STORAGE, CGRP_STORAGE."""
_HASH, _ARRAY, _RING = 1, 2, 27
_MMAPABLE: Final = 1 << 10
_BUCKET: Final = 16
_ELEMENT: Final = 48
_POINTER: Final = 8
# Of the structs behind each map, as 6.18 has them; a few hundred bytes more or less on other kernels.
_HASH_HEAD, _ARRAY_HEAD, _RING_HEAD = 896, 312, 304
_RING_META: Final = 3
"""Pages of a ring buffer beside its data: its own head, consumer and producer position."""


@dataclass(frozen=True, slots=True)
class MapShape:
    """What decides the size of one map."""

    kind: int
    """`enum bpf_map_type`."""
    key_bytes: int
    value_bytes: int
    entries: int
    """`max_entries`; bytes for a ring buffer."""
    flags: int = 0

    @classmethod
    def of(cls, types: MapTypes, entries: int | None = None) -> Self:
        """Read a map's definition; `entries` wins over its own."""
        numbers = types.numbers
        return cls(
            numbers.get("type", 0),
            numbers.get("key_size") or (ctypes.sizeof(types.key) if types.key else 0),
            numbers.get("value_size") or (ctypes.sizeof(types.value) if types.value else 0),
            numbers.get("max_entries", 0) if entries is None else entries,
            numbers.get("map_flags", 0),
        )

    @classmethod
    def of_data(cls, size: int) -> Self:
        """A data section (`.rodata`, `.bss`): libbpf makes an array of one element of it, to be mapped."""
        return cls(_ARRAY, 4, size, 1, _MMAPABLE)

    @property
    def counted(self) -> bool:
        """Whether its size is known before it is used."""
        return self.kind not in _STORAGES

    @property
    def unit(self) -> str:
        """What `entries` counts."""
        return "bytes" if self.kind == _RING else "entries"

    @property
    def halved(self) -> Self | None:
        """The same map with half the room; None if it would be too small to be of use."""
        half = self.entries // 2
        return replace(self, entries=half) if half >= (PAGESIZE if self.kind == _RING else FLOOR) else None

    def bytes(self, cpus: int) -> int:
        """Kernel memory when the map is full; 0 where that is not known.

        Args:
            cpus: Possible CPUs.
        """
        if not self.counted:
            return 0
        if self.kind == _RING:
            pages = _power_of_two(-(-self.entries // PAGESIZE))
            # The data pages are mapped twice in a row, and each mapping has its pointer.
            return _RING_HEAD + (_RING_META + pages) * PAGESIZE + (_RING_META + 2 * pages) * _POINTER
        value = _round_up(self.value_bytes, 8)
        if self.kind in PER_CPU:
            value = _POINTER + value * cpus
        if self.kind in _ARRAYS:
            if self.flags & _MMAPABLE:
                return PAGESIZE + _round_up(self.entries * value, PAGESIZE)
            return _ARRAY_HEAD + self.entries * value
        # Anything else has at most a hash map's overhead: a bucket and a head for each element.
        element = _ELEMENT + _round_up(self.key_bytes, 8) + value
        spare = cpus * (element + _POINTER) if self.kind == _HASH else 0
        return _HASH_HEAD + _BUCKET * _power_of_two(self.entries) + element * self.entries + spare


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Maps that are to be made, and what they take."""

    maps: Mapping[str, MapShape]
    cpus: int

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes by map name."""
        return {name: shape.bytes(self.cpus) for name, shape in self.maps.items()}

    @property
    def total(self) -> int:
        """Bytes of all maps."""
        return sum(self.sizes.values())

    @property
    def uncounted(self) -> tuple[str, ...]:
        """Maps that grow with what they are attached to, and count as 0."""
        return tuple(name for name, shape in self.maps.items() if not shape.counted)

    def losses(self, asked: "MemoryPlan") -> tuple[str, ...]:
        """Name the maps that are smaller than in another plan of the same maps."""
        pairs = ((name, self.maps[name], shape) for name, shape in asked.maps.items())
        return tuple(
            f"map {name}: {now.entries} of {shape.entries} {shape.unit}" for name, now, shape in pairs if now != shape
        )

    def scaled(self, resizable: Iterable[str], budget: int) -> "MemoryPlan":
        """Halve the largest of the resizable maps until the budget is kept, or nothing can be halved any more."""
        maps = dict(self.maps)
        sizes = self.sizes
        waiting = set(resizable) & sizes.keys()
        while waiting and sum(sizes.values()) > budget:
            largest = max(waiting, key=lambda name: (sizes[name], name))
            half = maps[largest].halved
            if half is None:
                waiting.discard(largest)
            else:
                maps[largest], sizes[largest] = half, half.bytes(self.cpus)
        return replace(self, maps=maps)


def _round_up(number: int, step: int) -> int:
    return -(-number // step) * step


def _power_of_two(number: int) -> int:
    return 1 << max(0, number - 1).bit_length()
