"""What the kernel says of a program or map by its descriptor."""

import ctypes
import struct
from pathlib import Path
from typing import Final

from obi_core.errors import KernelError
from obi_core.kernel.base import MapStats, ProgramStats
from obi_core.kernel.lib import libbpf

_INFO_BYTES: Final = 224
# struct bpf_prog_info (include/uapi/linux/bpf.h): run_time_ns, run_cnt, recursion_misses, verified_insns.
_COST: Final = struct.Struct("<QQQI")
_COST_OFFSET: Final = 192


def program_stats(name: str, fd: int) -> ProgramStats:
    """Read the cost of a program; what an older kernel does not tell is 0."""
    info = ctypes.create_string_buffer(_INFO_BYTES)
    length = ctypes.c_uint32(_INFO_BYTES)
    result = libbpf().bpf_obj_get_info_by_fd(fd, info, ctypes.byref(length))
    if result < 0:
        raise KernelError("its statistics cannot be read", program=name, errno=-result)
    run_time_ns, run_count, _, instructions = _COST.unpack_from(info, _COST_OFFSET)
    return ProgramStats(name, run_time_ns, run_count, instructions)


def map_stats(name: str, fd: int, max_entries: int) -> MapStats:
    """Read the size of a map; its memory is 0 where the kernel does not account it."""
    memory = 0
    for line in Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines():
        if line.startswith("memlock:"):
            memory = int(line.split()[1])
    return MapStats(name, max_entries, memory)
