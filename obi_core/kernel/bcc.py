"""Loader for nodes without BTF: BCC compiles `<stem>.bcc.c` against the running kernel's headers.

The preprocessed text comes from the same source as `<stem>.bpf.o`, which still gives the layout of every record and the
section of every program. Compiling and loading happen in a child process: LLVM's memory ends with it, and so does BCC's habit
of aborting. What comes back are descriptors, so attaching and reading are those of the other loader.

Known gaps: only (raw) tracepoints; nothing that reads a kernel struct; `obi_owner.start_ns` is 0; a kernel without ring buffer
(before 5.8) gives no records.
"""

import ctypes
import os
import re
from collections.abc import Mapping
from contextlib import ExitStack
from importlib.resources import files
from pathlib import Path
from typing import Final, Protocol

from obi_core.btf import CType, MapTypes
from obi_core.errors import LoadError
from obi_core.kernel.base import BpfObject
from obi_core.kernel.bcc_process import Wanted, run_child
from obi_core.kernel.links import Hooks
from obi_core.kernel.maps import LoadedMap
from obi_core.kernel.object import KernelObject, LoadedProgram
from obi_core.kernel.shipped import Shipped
from obi_core.model import LoadPlan, Mode

__all__ = ["BccLoader"]

_MODULES: Final = Path("/lib/modules")
"""Where BCC looks for headers; it cannot be told another place but by BCC_KERNEL_SOURCE."""
_MARK: Final = "include/linux/kconfig.h"
"""The file by which BCC knows kernel headers."""
_KINDS: Final = {"tp": 5, "tracepoint": 5, "raw_tp": 17, "raw_tracepoint": 17}
"""`enum bpf_prog_type` by the first word of a section."""
_GIVEN: Final = re.compile(r"\bOBI_CHOOSE\((OBI_(?:SETTING|ENTRIES)_\w+),")

_PROLOGUE: Final = """\
#define BPF_LICENSE Dual BSD/GPL
#define OBI_SECOND(first, second, ...) second
#define OBI_CHOOSE(...) OBI_SECOND(__VA_ARGS__, 0)
#line 1 "{name}"
"""
"""OBI_CHOOSE(name, otherwise): `-Dname=~,value` makes the value its second argument."""

RING_STUB: Final = """\
static inline int obi_no_ring(void *data, u64 size, u64 flags)
{
	return -95;
}
#undef BPF_RINGBUF_OUTPUT
#define BPF_RINGBUF_OUTPUT(name, pages) \\
	static const struct { \\
		int (*ringbuf_output)(void *, u64, u64); \\
	} name = { obi_no_ring }
"""
"""For kernels without ring buffer: every OBI_EMIT fails with -EOPNOTSUPP and is counted as lost."""


class HostFacts(Protocol):
    """What the loader asks of `host.Host`."""

    def release(self) -> str: ...
    def tracefs(self) -> Path | None: ...
    def cgroup2(self) -> Path | None: ...


class BccLoader:
    """Implements `base.Loader` through BCC in a child process.

    Args:
        host: Facts of this node.
        constants: Values for `OBI_SETTING` constants that the agent knows; objects without such a setting ignore them.
        environ: Environment of the child; `BCC_KERNEL_SOURCE` in it names a directory of kernel headers.
        deadline_s: After so long the child is killed.
    """

    def __init__(
        self,
        host: HostFacts,
        constants: Mapping[str, int] | None = None,
        *,
        environ: Mapping[str, str] | None = None,
        deadline_s: float = 20.0,
    ) -> None:
        self._host = host
        self._constants = dict(constants or {})
        self._environ = dict(os.environ if environ is None else environ)
        self._deadline_s = deadline_s

    def load(self, package: str, stem: str, mode: Mode, plan: LoadPlan) -> BpfObject:
        """Compile `<stem>.bcc.c` and load the programs of `mode`; see `base.Loader.load`.

        Raises:
            LoadError: There are no kernel headers, BCC is missing, or the source or a program was refused.
        """
        shipped = Shipped.read(package, stem)
        shipped.check(mode, plan)
        name = f"{stem}.bcc.c"
        source = _read_source(package, name)
        self._check_headers(name)
        wanted, refused = _choose(shipped, source, mode)
        request = {
            "source": _PROLOGUE.format(name=name) + source,
            "flags": _flags(source, shipped, self._constants | dict(plan.constants), plan.entries),
            "ring_stub": RING_STUB,
        }
        handed = run_child(name, request, wanted, environ=self._environ, deadline_s=self._deadline_s)
        with ExitStack() as owned:
            for descriptor in (*handed.maps.values(), *handed.programs.values()):
                owned.callback(os.close, descriptor)
            loaded = KernelObject(
                {
                    program.name: LoadedProgram(handed.programs[program.name], program.section, program.optional)
                    for program in wanted
                    if program.name in handed.programs
                },
                {name: _loaded_map(descriptor, shipped.map_types[name]) for name, descriptor in handed.maps.items()},
                records=shipped.records,
                hooks=Hooks(self._host.tracefs(), self._host.cgroup2()),
                refused={**refused, **handed.refused},
                without=shipped.maps_of(shipped.elf.programs),
            )
            owned.pop_all()
            owned.callback(loaded.close)
            for setting, value in plan.live.items():
                loaded.tune(setting, value)
            owned.pop_all()
            return loaded

    def _check_headers(self, name: str) -> None:
        """BCC's own way to say that there are none is a page of missing includes."""
        if given := self._environ.get("BCC_KERNEL_SOURCE"):
            if not (Path(given) / _MARK).is_file():
                message = f"{name}: BCC_KERNEL_SOURCE={given} holds no kernel headers (no {_MARK}); correct or unset it"
                raise LoadError(message)
            return
        release = self._host.release()
        modules = _MODULES / release
        if not any((modules / side / _MARK).is_file() for side in ("source", "build")):
            raise LoadError(
                f"{name}: BCC needs kernel headers and {modules} has none: install the package linux-headers-{release},"
                " or name a directory that has them in BCC_KERNEL_SOURCE"
            )


def _read_source(package: str, name: str) -> str:
    try:
        return files(package).joinpath(name).read_text()
    except FileNotFoundError as error:
        message = f"{package}/{name} is missing: the plugin was not built; run `make bpf`, or install its wheel"
        raise LoadError(message, need="object") from error


def _choose(shipped: Shipped, source: str, mode: Mode) -> tuple[list[Wanted], dict[str, LoadError]]:
    """Programs of the mode that BCC can load, and the errors of the optional ones that it cannot."""
    wanted: list[Wanted] = []
    refused: dict[str, LoadError] = {}
    for program in mode.programs:
        section = shipped.elf.programs[program.name].section
        kind = _KINDS.get(section.partition("/")[0])
        if kind is not None and re.search(rf"\bint {program.name}\(", source):
            wanted.append(Wanted(program.name, section, kind, bool(program.loses)))
            continue
        message = "this program is for CO-RE only (it reads kernel structs): it needs a kernel with BTF"
        error = LoadError(message, program=program.name, section=section, need="btf")
        if not program.loses:
            raise error
        refused[program.name] = error
    return wanted, refused


def _flags(source: str, shipped: Shipped, constants: Mapping[str, int], entries: Mapping[str, int]) -> list[str]:
    """Compiler flags that make constants and sizes what they should be; the source has not all names of the object."""
    # for its check: a value that does not fit its type would be cut off in silence
    shipped.constant_bytes(constants)
    given = {f"OBI_SETTING_{name}": value for name, value in constants.items()}
    given |= {f"OBI_ENTRIES_{name}": value for name, value in entries.items()}
    known = set(_GIVEN.findall(source))
    return ["-w", *(f"-D{name}=~,{_literal(value)}" for name, value in sorted(given.items()) if name in known)]


def _literal(value: int) -> str:
    return f"{value}ULL" if value >= 0 else f"({value}LL)"


def _loaded_map(descriptor: int, types: MapTypes) -> LoadedMap:
    """Describe a map as the kernel made it. An in-flight map has another type here than in the object: raw bytes then."""
    facts = dict(line.split(":", 1) for line in Path(f"/proc/self/fdinfo/{descriptor}").read_text().splitlines())
    key_size, value_size = int(facts["key_size"]), int(facts["value_size"])
    return LoadedMap(
        descriptor,
        int(facts["map_type"]),
        key_size,
        value_size,
        int(facts["max_entries"]),
        _fitting(types.key, key_size),
        _fitting(types.value, value_size),
    )


def _fitting(ctype: CType | None, size: int) -> CType | None:
    return ctype if ctype is not None and ctypes.sizeof(ctype) == size else None
