"""How full a hash map is. The kernel keeps no number of its entries, so they are counted, in batches and without decoding."""

import ctypes
import errno
from typing import Final

from obi_core.kernel.lib import libbpf

COUNTED: Final = frozenset({1, 5, 9, 10})
"""BPF_MAP_TYPE_HASH, PERCPU_HASH, LRU_HASH, LRU_PERCPU_HASH: those that can be full."""
_PER_CPU: Final = frozenset({5, 10})
_BLOCK_BYTES: Final = 1 << 20
_LEAST_ROWS: Final = 64


def entries_of(fd: int, kind: int, key_size: int, value_size: int, max_entries: int) -> int | None:
    """Count the entries of a map; None if this kernel does not read maps in batches (before 5.6), or the map cannot be full.

    Args:
        fd: The map.
        kind: `enum bpf_map_type`.
        key_size: Bytes.
        value_size: Bytes; of one CPU.
        max_entries: What it has room for.
    """
    if kind not in COUNTED:
        return None
    lib = libbpf()
    value = -(-value_size // 8) * 8 * lib.libbpf_num_possible_cpus() if kind in _PER_CPU else value_size
    rows = max(_LEAST_ROWS, min(max_entries, _BLOCK_BYTES // (key_size + value)))
    here, started, total = (ctypes.c_char * max(4, key_size))(), False, 0
    while True:
        keys, values, count = (ctypes.c_char * (rows * key_size))(), (ctypes.c_char * (rows * value))(), ctypes.c_uint32(rows)
        result = lib.bpf_map_lookup_batch(fd, here if started else None, here, keys, values, ctypes.byref(count), None)
        if result == -errno.ENOSPC:  # one bucket holds more than the block; the position has not moved
            rows *= 2
            continue
        if result < 0 and result != -errno.ENOENT:
            return None
        total += count.value
        if result < 0:
            return total
        started = True
