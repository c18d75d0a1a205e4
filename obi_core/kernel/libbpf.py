"""The usual loader: libbpf relocates and loads an object that was compiled when its wheel was built.

libbpf holds nothing afterwards: the descriptors are taken over and its object is closed at once.
"""

import ctypes
import errno
import logging
import mmap
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from obi_core.btf import MapTypes
from obi_core.errors import LoadError
from obi_core.host import Host
from obi_core.kernel.base import BpfObject
from obi_core.kernel.btf_file import check_btf_file
from obi_core.kernel.diagnosis import cause_of, lacking
from obi_core.kernel.lib import libbpf, libbpf_version
from obi_core.kernel.links import Hooks
from obi_core.kernel.object import KernelObject, LoadedMap, LoadedProgram
from obi_core.kernel.sections import needs_own_btf
from obi_core.kernel.shipped import CONSTANTS_SECTION, Shipped
from obi_core.kernel.verifier import last_words
from obi_core.model import LoadPlan, Mode, Program

__all__ = ["LibbpfLoader", "libbpf_version"]

_LOG_BYTES: Final = 8 << 20
_SUBJECT: Final = re.compile(r"(prog|map) '([^']+)'")
_LOG: Final = logging.getLogger("obi.kernel")


class _OpenOptions(ctypes.Structure):
    """`struct bpf_object_open_opts` (bpf/libbpf.h), as far as OBI uses it."""

    _fields_ = (
        ("size", ctypes.c_size_t),
        ("object_name", ctypes.c_char_p),
        ("relaxed_maps", ctypes.c_bool),
        ("pin_root_path", ctypes.c_char_p),
        ("_attach_prog_fd", ctypes.c_uint32),
        ("kconfig", ctypes.c_char_p),
        ("btf_custom_path", ctypes.c_char_p),
    )


class LibbpfLoader:
    """Implements `base.Loader` with libbpf in this process.

    Args:
        host: This machine.
        constants: Values for `OBI_SETTING` constants that objects may have (`obi_cgroup_v1`); a plan's own win.
        tcx: Whether to ask for the kernel's own links at interfaces before filters.
    """

    def __init__(self, host: Host, constants: Mapping[str, int] | None = None, *, tcx: bool = True) -> None:
        self._host, self._tcx = host, tcx
        self._constants = dict(constants or {})

    def load(self, package: str, stem: str, mode: Mode, plan: LoadPlan) -> BpfObject:
        """Load the programs of `mode`; see `base.Loader.load`. What may be lost and will not load is left out.

        Raises:
            LoadError: The object lacks something, or the kernel refused a program that the mode cannot do without.
            HostError: libbpf is not installed.
        """
        shipped = Shipped.read(package, stem)
        shipped.check(mode, plan)
        refused = self._hookless(shipped, mode)
        chosen = [program for program in mode.programs if program.name not in refused]
        while True:
            try:
                return self._load(shipped, stem, chosen, plan, refused)
            except LoadError as error:
                left = [program for program in chosen if program.name != error.program or not program.loses]
                if not left or len(left) == len(chosen):
                    raise
                refused[error.program] = error
                chosen = left

    def _load(
        self, shipped: Shipped, stem: str, chosen: Sequence[Program], plan: LoadPlan, refused: Mapping[str, LoadError]
    ) -> KernelObject:
        lib = libbpf()
        names = [program.name for program in chosen]
        with ExitStack() as stack:
            bpf_object = stack.enter_context(_opened(shipped, stem, self._stand_in()))
            log = _Log()
            programs = {lib.bpf_program__name(each).decode(): each for each in _each(lib.bpf_object__next_program, bpf_object)}
            for name, program in programs.items():
                lib.bpf_program__set_autoload(program, name in names)
                lib.bpf_program__set_log_buf(program, log.address, _LOG_BYTES)
            maps = _choose_maps(shipped, names, plan, bpf_object)
            _set_constants(shipped, self._constants | dict(plan.constants), bpf_object)
            with lib.listen() as warnings:
                result = lib.bpf_object__load(bpf_object)
            if result < 0:
                raise self._refusal(shipped, -result, warnings, log.text())
            owned = stack.enter_context(ExitStack())
            loaded = KernelObject(
                {
                    program.name: LoadedProgram(
                        _own(owned, lib.bpf_program__fd(programs[program.name])),
                        shipped.elf.programs[program.name].section,
                        optional=bool(program.loses),
                    )
                    for program in chosen
                },
                {name: _loaded_map(owned, shipped, name, each) for name, each in maps.items()},
                records=shipped.records,
                hooks=Hooks(self._host.tracefs(), self._host.cgroup2(), self._tcx, lacking=partial(lacking, self._host)),
                refused=refused,
                without=shipped.maps_of(shipped.elf.programs),
            )
            owned.pop_all()
            owned.callback(loaded.close)
            for name, value in plan.live.items():
                loaded.tune(name, value)
            owned.pop_all()
            return loaded

    def _hookless(self, shipped: Shipped, mode: Mode) -> dict[str, LoadError]:
        """Programs whose hook only the kernel's own BTF tells, where there is but a file: libbpf would refuse all for one.

        Raises:
            LoadError: The mode cannot do without one of them.
        """
        if self._host.btf() is not None or self._host.types() is None:
            return {}
        refused = {}
        for program in mode.programs:
            section = shipped.elf.programs[program.name].section
            if needs_own_btf(section):
                message = "this kernel has no BTF of its own, by which this program finds its hook"
                error = LoadError(message, program=program.name, section=section, need="btf")
                if not program.loses:
                    raise error
                refused[program.name] = error
        return refused

    def _stand_in(self) -> Path | None:
        """The file to relocate by, where the kernel has no BTF.

        Raises:
            LoadError: It is not BTF.
        """
        path = None if self._host.btf() is not None else self._host.types()
        if path is not None:
            check_btf_file(path)
        return path

    def _refusal(self, shipped: Shipped, number: int, warnings: Sequence[str], log: str) -> LoadError:
        """Say what would not load. libbpf names it in its warnings only; its guesses at the cause are not passed on."""
        subjects = [found for line in warnings for found in _SUBJECT.findall(line)]
        kind, name = subjects[-1] if subjects else ("", "")
        program = shipped.elf.programs.get(name) if kind == "prog" else None
        section = program.section if program else ""
        if log:
            _LOG.debug("%s: verifier log of %s:\n%s", shipped.source, name, log)
        target = section.partition("/")[2]
        message, need = "the kernel would not load it", ""
        if kind == "map":
            message = f"{shipped.source}: the kernel would not create map {name}"
        elif not program:
            message = f"{shipped.source}: the kernel would not load it"
        if self._host.types() is None:
            message, need = "this kernel has no BTF (/sys/kernel/btf/vmlinux), which CO-RE objects need", "types"
        elif number == errno.ESRCH and target:
            message, need = f"this kernel has no {target} to attach to", f"hook:{target}"
        elif (cause := cause_of(number, section, self._host, log=log)) is not None:
            message, need = f"{message}: {cause.text}", cause.need
        return LoadError(
            message, program=name if program else "", section=section, errno=number, log=last_words(log), need=need
        )


class _Log:
    """Room for a verifier log; the pages that nothing is written to are never there."""

    def __init__(self) -> None:
        self._room = mmap.mmap(-1, _LOG_BYTES)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self._room))

    def text(self) -> str:
        """What was written."""
        return self._room[: max(0, self._room.find(b"\0"))].decode(errors="replace")


@contextmanager
def _opened(shipped: Shipped, stem: str, types: Path | None) -> Iterator[int]:
    lib = libbpf()
    path = None if types is None else os.fsencode(types)
    options = _OpenOptions(size=ctypes.sizeof(_OpenOptions), object_name=stem.encode(), btf_custom_path=path)
    bpf_object = lib.bpf_object__open_mem(shipped.data, len(shipped.data), ctypes.byref(options))
    if not bpf_object:
        raise LoadError(f"{shipped.source}: libbpf cannot read it; build it again", errno=ctypes.get_errno(), need="object")
    try:
        yield bpf_object
    finally:
        lib.bpf_object__close(bpf_object)


def _each(following: Callable[[int, int | None], int | None], bpf_object: int) -> Iterator[int]:
    each = following(bpf_object, None)
    while each:
        yield each
        each = following(bpf_object, each)


def _choose_maps(shipped: Shipped, names: Sequence[str], plan: LoadPlan, bpf_object: int) -> dict[str, int]:
    """Have only those maps created that the chosen programs refer to, in the sizes of the plan; give them by name."""
    lib = libbpf()
    wanted, data = shipped.maps_of(names), shipped.data_of(names)
    chosen = {}
    for each in _each(lib.bpf_object__next_map, bpf_object):
        name = lib.bpf_map__name(each).decode()
        if lib.bpf_map__is_internal(each):
            lib.bpf_map__set_autocreate(each, _section_of(name) in data)
            continue
        lib.bpf_map__set_autocreate(each, name in wanted)
        if name in plan.entries:
            lib.bpf_map__set_max_entries(each, plan.entries[name])
        if name in wanted:
            chosen[name] = each
    return chosen


def _set_constants(shipped: Shipped, constants: Mapping[str, int], bpf_object: int) -> None:
    lib = libbpf()
    for each in _each(lib.bpf_object__next_map, bpf_object):
        if lib.bpf_map__is_internal(each) and _section_of(lib.bpf_map__name(each).decode()) == CONSTANTS_SECTION:
            room = ctypes.c_size_t()
            address = lib.bpf_map__initial_value(each, ctypes.byref(room))
            for offset, value in shipped.constant_bytes(constants):
                if address and offset + len(value) <= room.value:
                    ctypes.memmove(address + offset, value, len(value))


def _section_of(internal: str) -> str:
    """Section behind an internal map, which libbpf calls `<start of the object's name>.rodata`."""
    return internal[internal.find(".") :]


def _loaded_map(owned: ExitStack, shipped: Shipped, name: str, each: int) -> LoadedMap:
    lib = libbpf()
    types = shipped.map_types.get(name, MapTypes(None, None))
    return LoadedMap(
        _own(owned, lib.bpf_map__fd(each)),
        lib.bpf_map__type(each),
        lib.bpf_map__key_size(each),
        lib.bpf_map__value_size(each),
        lib.bpf_map__max_entries(each),
        types.key,
        types.value,
    )


def _own(owned: ExitStack, fd: int) -> int:
    """Duplicate a descriptor of libbpf's; it is closed again if the load does not come to its end."""
    mine = os.dup(fd)
    owned.callback(os.close, mine)
    return mine
