"""A loaded BPF object, made of nothing but descriptors.

A loader (libbpf in this process, BCC in a child) relocates and loads; then the program and map descriptors belong to a
`KernelObject` and the loader is gone. So there is one way to read, attach and close, whoever loaded.
"""

import os
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

from obi_core.btf import CType
from obi_core.errors import AttachError, KernelError
from obi_core.kernel.base import MapStats, ProgramStats
from obi_core.kernel.iterators import run_iterator
from obi_core.kernel.links import Hooks, Link
from obi_core.kernel.maps import LoadedMap, Map
from obi_core.kernel.records import decode_records, split_records
from obi_core.kernel.rings import Ring
from obi_core.kernel.stats import map_stats, program_stats

__all__ = ["KernelObject", "LoadedMap", "LoadedProgram"]


@dataclass(frozen=True, slots=True)
class LoadedProgram:
    """A program in the kernel."""

    fd: int
    section: str
    """ELF section: names the hook (`tp_btf/inet_sock_set_state`)."""
    optional: bool = False
    """Whether the mode can do without it: if it will not attach, that is noted and not raised."""


class KernelObject:
    """Implements `base.BpfObject` on program and map descriptors.

    Args:
        programs: By C function name; the object owns their descriptors from now on.
        maps: By C name; the object owns their descriptors from now on.
        records: Type of what a ring buffer or an iterator program gives, by its name (`OBI_RECORD`).
        hooks: Where programs attach.
        refused: Optional programs that would not load.
        without: Maps of its programs, loaded or not: those that were not made read as empty.
    """

    def __init__(
        self,
        programs: Mapping[str, LoadedProgram],
        maps: Mapping[str, LoadedMap],
        *,
        records: Mapping[str, CType],
        hooks: Hooks,
        refused: Mapping[str, KernelError] | None = None,
        without: Iterable[str] = (),
    ) -> None:
        self._programs = dict(programs)
        self._maps: dict[str, Map] = {}
        self._rings: dict[str, Ring] = {}
        self._records = dict(records)
        self._unused = frozenset(without) - set(maps)
        self._hooks = hooks
        self._links: dict[tuple[str, str], Link] = {}
        self._links_lock = threading.Lock()
        self._severed = False
        self._refused: dict[str, KernelError] = dict(refused or {})
        self.refused: Mapping[str, KernelError] = self._refused
        self._decode_lost: Counter[str] = Counter()
        self.decode_lost: Mapping[str, int] = self._decode_lost
        for name, loaded in maps.items():
            self._maps[name] = Map(name, loaded)

    @property
    def attached(self) -> tuple[str, ...]:
        """Programs attached now, by name."""
        with self._links_lock:
            return tuple(dict.fromkeys(program for program, _ in self._links))

    def rows(self, map_name: str) -> Iterator[tuple[object, object]]:
        """Read a map in batches; see `Map.rows`. One that only programs use that are not loaded is empty."""
        if map_name in self._unused:
            return iter(())
        return self._map(map_name).rows()

    def lookup(self, map_name: str, key: object) -> object | None:
        """Read one row; None if it is not there."""
        if map_name in self._unused:
            return None
        return self._map(map_name).lookup(key)

    def take(self, map_name: str, key: object) -> object | None:
        """Read and delete one row of a hash map; None if it was not there."""
        if map_name in self._unused:
            return None
        return self._map(map_name).take(key)

    def put(self, map_name: str, key: object, value: object) -> None:
        """Insert or replace one row; see `Map.update`. A map that only a refused program would have used takes nothing."""
        if map_name not in self._unused:
            self._map(map_name).update(key, value)

    def tune(self, name: str, value: int) -> None:
        """Set an `OBI_LIVE` setting. One that the loaded programs do not read is not there to set: nothing happens."""
        if (live := self._maps.get(name)) is not None:
            live.update(0, value)

    def drain(self, ring: str) -> Iterator[object]:
        """Yield what is in a ring buffer now, at most one ring full, as records of their `OBI_RECORD` type.

        A ring that the loaded programs do not use, or that this kernel does not have, is empty.
        """
        if ring not in self._maps and ring in self._records:
            return iter(())
        source = self._map(ring)
        if ring not in self._rings:
            self._rings[ring] = Ring(source)
        record = self._record(ring)
        return decode_records(self._rings[ring].take(), record, ring, self._decode_lost)

    def iterate(self, program: str, walk: str = "") -> Iterator[object]:
        """Run an `iter/…` program once and yield what it wrote.

        Args:
            program: C function name.
            walk: Map that an `iter/bpf_map_elem` program goes through.

        Raises:
            AttachError: The kernel would not start the iterator.
        """
        loaded = self._program(program)
        walked = self._map(walk).fd if walk else None
        record = self._record(program)
        output = run_iterator(program, loaded.section, loaded.fd, walked)
        return decode_records(split_records(output, record), record, program, self._decode_lost)

    def attach(self, program: str, to: str = "") -> None:
        """Attach one program; twice is once. An iterator has no hook: it runs in `iterate`.

        Args:
            program: C function name.
            to: Where, for a program that may be attached in several places: `eth0:ingress`, `eth0:egress` for `tc`, a
                tracepoint (`syscalls/sys_exit_dup`) for `tp`.

        Raises:
            AttachError: The kernel refused and the mode cannot do without the program, or one place of several.
        """
        if program in self.refused or (program, to) in self._links:
            return
        loaded = self._program(program)
        if loaded.section.startswith("iter"):
            return
        try:
            link = self._hooks.attach(program, loaded.section, loaded.fd, to)
        except AttachError as error:
            if to or not loaded.optional:
                raise
            self._refused[program] = error
            return
        with self._links_lock:
            if not self._severed:
                self._links[program, to] = link
                return
        link.close()
        raise AttachError("attached too late: the probe's links were closed", program=program, section=loaded.section)

    def detach(self, program: str, to: str = "") -> tuple[str, ...]:
        """Detach one program, from one place or from all; it stays loaded. Idempotent. Gives the places it was attached to."""
        with self._links_lock:
            places = [place for place in self._links if place[0] == program and to in ("", place[1])]
            links = [self._links.pop(place) for place in places]
        for link in links:
            link.close()
        return tuple(where for _, where in places)

    def lost(self) -> tuple[tuple[str, str], ...]:
        """Programs that somebody else has detached, or whose cgroup or interface is gone: (name, place)."""
        with self._links_lock:
            gone = {place: link for place, link in self._links.items() if not link.attached}
            for place in gone:
                del self._links[place]
        for link in gone.values():
            link.close()
        return tuple(gone)

    def sever(self) -> None:
        """Close link descriptors only, for good. Safe from any thread: nothing that another thread reads is freed."""
        with self._links_lock:
            self._severed = True
            links, self._links = list(self._links.values()), {}
        for link in links:
            link.close()

    def programs(self) -> Iterator[ProgramStats]:
        """Cost of every loaded program."""
        with self._links_lock:
            links = tuple(self._links)
        for name, program in self._programs.items():
            places = tuple(place for attached, place in links if attached == name)
            yield replace(program_stats(name, program.fd), section=program.section, places=places)

    def maps(self) -> Iterator[MapStats]:
        """Size of every map."""
        for name, loaded in self._maps.items():
            yield map_stats(name, loaded.fd, loaded.max_entries)

    def fill(self) -> dict[str, float]:
        """How full each map is that can be, from 0 to 1."""
        counted = ((name, each.entries(), each.max_entries) for name, each in self._maps.items())
        return {name: entries / most for name, entries, most in counted if entries is not None and most}

    def close(self) -> None:
        """Detach everything, free ring buffers, close every descriptor. Idempotent. Worker thread only."""
        self.sever()
        rings, self._rings = self._rings, {}
        programs, self._programs = self._programs, {}
        maps, self._maps = self._maps, {}
        for ring in rings.values():
            ring.close()
        for program in programs.values():
            os.close(program.fd)
        for loaded in maps.values():
            loaded.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _map(self, name: str) -> Map:
        try:
            return self._maps[name]
        except KeyError:
            raise KernelError(f"no map {name!r} is loaded; there are: {_names(self._maps)}") from None

    def _program(self, name: str) -> LoadedProgram:
        try:
            return self._programs[name]
        except KeyError:
            raise AttachError(f"no program {name!r} is loaded; there are: {_names(self._programs)}") from None

    def _record(self, name: str) -> CType:
        try:
            return self._records[name]
        except KeyError:
            raise KernelError(f"{name}: its source lacks OBI_RECORD({name}, type), so its records have no type") from None


def _names(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
