"""Loader for nodes without BTF: BCC compiles `<stem>.bcc.c` against the running kernel's headers.

The preprocessed text comes from the same source as `<stem>.bpf.o`, which still gives the layout of every record and the
section of every program. Compiling and loading happen in a child process: LLVM's memory ends with it, and so does BCC's habit
of aborting. What comes back are descriptors, so attaching and reading are those of the other loader.

Headers of another release (`headers.py`) will do for a source that reads none of the kernel's memory; for one that does
they are refused.

Known gaps: only (raw) tracepoints and hooks of cgroups; nothing that reads a kernel struct; `obi_owner.start_ns`
is 0; a kernel without ring buffer (before 5.8) gives no records.
"""

import ctypes
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Final, Protocol

from obi_core.btf import CType, MapTypes
from obi_core.errors import LoadError
from obi_core.kernel.base import BpfObject
from obi_core.kernel.bcc_process import Wanted, run_child
from obi_core.kernel.diagnosis import bpf_refusal
from obi_core.kernel.headers import MODULES, VARIABLE, Headers, find_headers, reads_kernel_memory
from obi_core.kernel.headroom import headroom
from obi_core.kernel.links import Hooks
from obi_core.kernel.maps import LoadedMap
from obi_core.kernel.object import KernelObject, LoadedProgram
from obi_core.kernel.sections import capabilities_of
from obi_core.kernel.shipped import Shipped
from obi_core.model import LoadPlan, Mode

__all__ = ["BccLoader"]

_KINDS: Final = {
    "tp": (5, -1), "tracepoint": (5, -1), "raw_tp": (17, -1), "raw_tracepoint": (17, -1), "sockops": (13, 3),
    "cgroup_skb/ingress": (8, 0), "cgroup_skb/egress": (8, 1), "cgroup/sock_create": (9, 2),
    "cgroup/bind4": (18, 8), "cgroup/bind6": (18, 9), "cgroup/connect4": (18, 10), "cgroup/connect6": (18, 11),
}  # fmt: skip
"""`enum bpf_prog_type` and, but for tracing, `enum bpf_attach_type`, by a section or its first word."""
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

    @property
    def sys(self) -> Path: ...
    def release(self) -> str: ...
    def tracefs(self) -> Path | None: ...
    def cgroup2(self) -> Path | None: ...
    def has_capability(self, name: str) -> bool: ...


class BccLoader:
    """Implements `base.Loader` through BCC in a child process.

    Args:
        host: Facts of this node.
        constants: Values for `OBI_SETTING` constants that the agent knows; objects without such a setting ignore them.
        environ: Environment of the child; `BCC_KERNEL_SOURCE` in it names a directory of kernel headers, `OBI_BCC_DEADLINE_S`
            another deadline, for slow nodes.
        modules: Where the distribution links headers, by release.
        deadline_s: After so long the child is killed.
    """

    def __init__(
        self,
        host: HostFacts,
        constants: Mapping[str, int] | None = None,
        *,
        environ: Mapping[str, str] | None = None,
        modules: Path = MODULES,
        deadline_s: float = 20.0,
    ) -> None:
        self._host = host
        self._constants = dict(constants or {})
        self._environ = dict(os.environ if environ is None else environ)
        self._modules, self._deadline_s = modules, float(self._environ.get("OBI_BCC_DEADLINE_S") or deadline_s)

    def load(self, package: str, stem: str, mode: Mode, plan: LoadPlan) -> BpfObject:
        """Compile `<stem>.bcc.c` and load the programs of `mode`; see `base.Loader.load`.

        Raises:
            LoadError: There are no kernel headers, BCC is missing, or the source or a program was refused.
        """
        shipped = Shipped.read(package, stem)
        shipped.check(mode, plan)
        name = f"{stem}.bcc.c"
        source = _read_source(package, name)
        headers = self._headers(name, source)
        wanted, refused = _choose(shipped, source, mode)
        request = {
            "source": _PROLOGUE.format(name=name) + source,
            "flags": _flags(source, shipped, self._constants | dict(plan.constants), plan.entries),
            "ring_stub": RING_STUB,
        }
        with self._environment(headers) as environ:
            try:
                handed = run_child(name, request, wanted, environ=environ, deadline_s=self._deadline_s, room=headroom)
            except LoadError as error:
                # BCC prints for people; what stands behind a refusal is found out here
                if not error.need and bpf_refusal() and not self._lacking("tp"):
                    message = f"{name}: bpf() itself is forbidden to this process, by seccomp or a security module"
                    raise LoadError(message, errno=error.errno, need="bpf") from error
                raise
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
                hooks=Hooks(self._host.tracefs(), self._host.cgroup2(), lacking=self._lacking),
                refused={**refused, **handed.refused},
                without=shipped.maps_of(shipped.elf.programs),
            )
            owned.pop_all()
            owned.callback(loaded.close)
            for setting, value in plan.live.items():
                loaded.tune(setting, value)
            owned.pop_all()
            return loaded

    def _lacking(self, section: str) -> str:
        return next((name for name in capabilities_of(section) if not self._host.has_capability(name)), "")

    def _headers(self, name: str, source: str) -> Headers:
        """Find them beforehand: BCC's own way to say that there are none is a page of missing includes."""
        headers = find_headers(self._host, self._environ, self._modules)
        if not headers.usable:
            raise LoadError(f"{name}: {headers.problem}", need="headers")
        if not headers.own and (helper := reads_kernel_memory(source)):
            release = self._host.release()
            raise LoadError(
                f"{name}: it reads kernel structs ({helper}), and the headers in {headers.build} are of"
                f" {headers.release or 'an unknown release'}, not of {release}: install linux-headers-{release}",
                need="headers",
            )
        return headers

    @contextmanager
    def _environment(self, headers: Headers) -> Iterator[Mapping[str, str]]:
        """The child's environment: BCC finds the running release's headers by itself, and any others as one tree."""
        found_by_itself = headers.source is None or headers.source.parent == self._modules / self._host.release()
        if VARIABLE in self._environ or (found_by_itself and self._modules == MODULES):
            yield self._environ
            return
        with tempfile.TemporaryDirectory(prefix="obi-headers-") as folder:
            tree = headers.source if headers.merged else headers.merge(Path(folder))
            yield {**self._environ, VARIABLE: str(tree)}


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
        kind = _KINDS.get(section) or _KINDS.get(section.partition("/")[0])
        if kind is not None and re.search(rf"\bint {program.name}\(", source):
            wanted.append(Wanted(program.name, section, *kind, optional=bool(program.loses)))
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
