"""Maps full of garbage: random keys and values, written straight into the hash maps of a loaded object."""

import ctypes
import errno
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from obi_core.kernel.base import BpfObject
from obi_core.kernel.lib import libbpf

_HASHES: Final = {1: False, 5: True, 9: False, 10: True}
"""BPF_MAP_TYPE_HASH, PERCPU_HASH, LRU_HASH, LRU_PERCPU_HASH: whether a value stands once per CPU."""
_FULL: Final = (errno.E2BIG, errno.ENOMEM, errno.EBUSY)


@dataclass(frozen=True, slots=True)
class _HashMap:
    fd: int
    key_bytes: int
    value_bytes: int
    """Of all CPUs, as the kernel takes them."""
    max_entries: int


def fill_maps(bpf: BpfObject, share: float = 1.0, seed: int = 23) -> int:
    """Write garbage into every hash map that this process has open.

    Args:
        bpf: The loaded object, the only one in this process that has hash maps of its sizes.
        share: Part of each map to fill.
        seed: The same seed writes the same rows.

    Returns:
        Rows that were taken.
    """
    sizes = {stats.max_entries for stats in bpf.maps()}
    chance = random.Random(seed)  # noqa: S311 - garbage, not secrets
    written = 0
    for each in _open_hashes():
        if each.max_entries not in sizes:
            continue
        for _ in range(round(each.max_entries * share)):
            key, value = chance.randbytes(each.key_bytes), chance.randbytes(each.value_bytes)
            result = libbpf().bpf_map_update_elem(each.fd, key, value, 0)
            if -result in _FULL:
                break
            if result < 0:
                raise OSError(-result, f"a map of {each.key_bytes} byte keys: {os.strerror(-result)}")
            written += 1
    return written


def _open_hashes() -> Iterator[_HashMap]:
    cpus = libbpf().libbpf_num_possible_cpus()
    seen: set[int] = set()
    for info in sorted(Path("/proc/self/fdinfo").iterdir()):
        try:
            fields = dict(line.split(":", 1) for line in info.read_text().splitlines() if ":" in line)
        except OSError:  # the listing's own descriptor
            continue
        if "map_id" not in fields or int(fields["map_type"]) not in _HASHES or int(fields["map_id"]) in seen:
            continue
        seen.add(int(fields["map_id"]))
        value = int(fields["value_size"])
        whole = -(-value // ctypes.sizeof(ctypes.c_uint64)) * 8 * cpus if _HASHES[int(fields["map_type"])] else value
        yield _HashMap(int(info.name), int(fields["key_size"]), whole, int(fields["max_entries"]))
