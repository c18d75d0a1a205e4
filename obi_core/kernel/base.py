"""What the rest of the house knows of a loaded BPF object, whichever loader made it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

from obi_core.errors import KernelError
from obi_core.model import LoadPlan, Mode


@dataclass(frozen=True, slots=True)
class ProgramStats:
    """Cost of one loaded program."""

    name: str
    run_time_ns: int
    """Total time in the program, ns; moves only while BPF statistics are switched on (they are host-wide)."""
    run_count: int
    instructions: int
    """Verified instructions, 0 on kernels before 5.16."""
    id: int = 0
    """The kernel's number, as `bpftool prog` has it."""
    kind: str = ""
    """`enum bpf_prog_type`, in lower case."""
    section: str = ""
    """ELF section: names the hook."""
    places: tuple[str, ...] = ()
    """Where it is attached now; an empty word is the hook of its section."""


@dataclass(frozen=True, slots=True)
class MapStats:
    """Size of one map."""

    name: str
    max_entries: int
    memory_bytes: int
    """As the kernel accounts it (`memlock` in fdinfo)."""
    id: int = 0
    """The kernel's number, as `bpftool map` has it."""
    kind: str = ""
    """`enum bpf_map_type`, in lower case."""
    key_bytes: int = 0
    value_bytes: int = 0
    """Of one CPU, where there is a value for each."""


class BpfObject(Protocol):
    """A loaded object. It owns its programs, maps and links; `close` gives all of them back.

    Records are `Any`: their type exists only in the BTF of the object. A reader names the fields it reads in a Protocol.
    """

    refused: Mapping[str, KernelError]
    """Optional programs that would not load or attach, by name."""
    decode_lost: Mapping[str, int]
    """Records thrown away because their size is not that of their type, by ring buffer or iterator program."""

    @property
    def attached(self) -> Iterable[str]:
        """Programs attached now, by name."""

    def rows(self, map_name: str) -> Iterable[tuple[Any, Any]]:
        """Read a map in batches: (key, value), ctypes structs or integers; per-CPU values already summed."""

    def drain(self, ring: str) -> Iterable[Any]:
        """Records now in a ring buffer, of the type that `OBI_RECORD` names. Worker thread only."""

    def iterate(self, program: str, walk: str = "") -> Iterable[Any]:
        """Run an `iter/…` program once; yield what it wrote, as records of the type that `OBI_RECORD(program, …)` names.

        `walk` is the map that an `iter/bpf_map_elem` program goes through.
        """

    def take(self, map_name: str, key: object) -> object | None:
        """Read and delete one row of a hash map; None if it was not there."""

    def put(self, map_name: str, key: object, value: object) -> None:
        """Insert or replace one row: for tables that programs look things up in. With the key None: into a queue."""

    def tune(self, name: str, value: int) -> None:
        """Set an `OBI_LIVE` setting."""

    def attach(self, program: str, to: str = "") -> None:
        """Attach one program to the hook that its section names, or in one of several places.

        These are `INTERFACE:ingress` or `…:egress` for `tc`, another tracepoint (`syscalls/sys_exit_dup`) for `tp`.
        Attaching twice to one place is once.
        """

    def detach(self, program: str, to: str = "") -> tuple[str, ...]:
        """Detach one program, from one place or from all; it stays loaded. Idempotent.

        Returns:
            The places that it was attached to, as `attach` takes them.
        """

    def lost(self) -> Iterable[tuple[str, str]]:
        """Programs that somebody else has detached, each with its place as `attach` takes it; they may be attached again."""

    def sever(self) -> None:
        """Close link descriptors only. Safe from another thread than the worker's."""

    def programs(self) -> Iterable[ProgramStats]:
        """Cost of every loaded program."""

    def maps(self) -> Iterable[MapStats]:
        """Size of every map."""

    def fill(self) -> Mapping[str, float]:
        """How full each map is that can be, from 0 to 1. Costs a read of them all."""

    def close(self) -> None:
        """Detach everything, free ring buffers, close every descriptor. Idempotent. Worker thread only."""

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...


class Loader(Protocol):
    """Makes a BpfObject from what a plugin's wheel ships."""

    def load(self, package: str, stem: str, mode: Mode, plan: LoadPlan) -> BpfObject:
        """Load the programs of `mode` from `<stem>.bpf.o` in `package`.

        Programs that may be lost and will not load are left out and noted in `BpfObject.refused`. Only the maps that the
        loaded programs reference are created.

        Raises:
            LoadError: A program that the mode cannot do without, or the object itself, would not load.
        """
