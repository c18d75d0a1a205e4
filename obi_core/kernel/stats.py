"""What the kernel says of a program or map by its descriptor."""

import ctypes
import struct
from pathlib import Path
from typing import Final

from obi_core.errors import KernelError
from obi_core.kernel.base import MapStats, ProgramStats
from obi_core.kernel.census import PROGRAM_KINDS
from obi_core.kernel.lib import libbpf

_INFO_BYTES: Final = 224
# struct bpf_prog_info (include/uapi/linux/bpf.h): run_time_ns, run_cnt, recursion_misses, verified_insns.
_COST: Final = struct.Struct("<QQQI")
_COST_OFFSET: Final = 192
_WHICH: Final = struct.Struct("<II")
"""Its head: type, id."""
_MAP_KINDS: Final = {
    1: "hash", 2: "array", 3: "prog_array", 4: "perf_event_array", 5: "percpu_hash", 6: "percpu_array", 7: "stack_trace",
    8: "cgroup_array", 9: "lru_hash", 10: "lru_percpu_hash", 11: "lpm_trie", 22: "queue", 23: "stack", 24: "sk_storage",
    27: "ringbuf", 28: "inode_storage", 29: "task_storage", 30: "bloom_filter", 32: "cgrp_storage",
}  # fmt: skip
"""`enum bpf_map_type`."""


def program_stats(name: str, fd: int) -> ProgramStats:
    """Read the cost of a program; what an older kernel does not tell is 0."""
    info = ctypes.create_string_buffer(_INFO_BYTES)
    length = ctypes.c_uint32(_INFO_BYTES)
    result = libbpf().bpf_obj_get_info_by_fd(fd, info, ctypes.byref(length))
    if result < 0:
        raise KernelError("its statistics cannot be read", program=name, errno=-result)
    run_time_ns, run_count, _, instructions = _COST.unpack_from(info, _COST_OFFSET)
    kind, number = _WHICH.unpack_from(info)
    return ProgramStats(name, run_time_ns, run_count, instructions, number, PROGRAM_KINDS.get(kind, str(kind)))


def map_stats(name: str, fd: int, max_entries: int) -> MapStats:
    """Read the size of a map; its memory is 0 where the kernel does not account it."""
    lines = Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines()
    told = {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}

    def number(key: str) -> int:
        return int(told.get(key, "0"))

    kind = number("map_type")
    sizes = number("key_size"), number("value_size")
    return MapStats(name, max_entries, number("memlock"), number("map_id"), _MAP_KINDS.get(kind, str(kind)), *sizes)
