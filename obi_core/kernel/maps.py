"""One BPF map by its descriptor: batched reads, one decode per block, per-CPU values summed."""

import ctypes
import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from obi_core.btf import CType, is_scalar
from obi_core.errors import DecodeError, KernelError
from obi_core.kernel.fill import entries_of
from obi_core.kernel.lib import libbpf
from obi_core.kernel.percpu import Summer

PER_CPU: Final = frozenset({5, 6, 10})
"""BPF_MAP_TYPE_PERCPU_HASH, PERCPU_ARRAY, LRU_PERCPU_HASH."""

_BLOCK_ROWS: Final = 4096
_BLOCK_BYTES: Final = 1 << 20
_LEAST_ROWS: Final = 64
# ENOTSUPP (524) is the kernel's own; it has no name in user space.
_UNSUPPORTED: Final = frozenset({errno.EINVAL, errno.EOPNOTSUPP, 524})
_BPF_ANY: Final = 0


@dataclass(frozen=True, slots=True)
class LoadedMap:
    """A map in the kernel."""

    fd: int
    kind: int
    """`enum bpf_map_type`."""
    key_size: int
    value_size: int
    max_entries: int
    key_type: CType | None = None
    """From BTF; None where the map has none: raw bytes then."""
    value_type: CType | None = None


class Map:
    """Reads and writes one map. Keys and values are ctypes objects or integers, as their BTF type says.

    Args:
        name: Its name in the source.
        loaded: What it is; the map owns the descriptor from now on.
    """

    def __init__(self, name: str, loaded: LoadedMap) -> None:
        self.name = name
        self.fd = loaded.fd
        self.max_entries = loaded.max_entries
        self._loaded = loaded
        self._key_type: Any = loaded.key_type or ctypes.c_uint8 * loaded.key_size
        self._value_type: Any = loaded.value_type or ctypes.c_uint8 * loaded.value_size
        self._per_cpu = loaded.kind in PER_CPU
        self._made_summer: Summer | None = None
        self._batches = True
        self._takes = True

    def rows(self) -> Iterator[tuple[object, object]]:
        """Yield every row once. Rows that come or go meanwhile may be missed; `bytes(key)` of a struct is the raw key.

        Objects of one batch share its memory: who keeps a few for long keeps a copy.

        Raises:
            DecodeError: The BTF types do not have the map's sizes.
            KernelError: The kernel would not let it be read.
        """
        self._check_types()
        if self._batches:
            for block in self._blocks():
                yield from block
        if not self._batches:
            yield from self._one_by_one()

    def lookup(self, key: object) -> object | None:
        """Read one row; None if it is not there."""
        return self._read("bpf_map_lookup_elem", key)

    def update(self, key: object, value: object) -> None:
        """Insert or replace one row. In a per-CPU map the value stands at the first CPU, so that the sum is right.

        A queue has no keys: the key None puts the value behind those that are there.
        """
        raw = self._raw(self._value_type, value)
        slot = self._summer().spread(raw) if self._per_cpu else raw
        place = None if key is None else self._raw(self._key_type, key)
        result = libbpf().bpf_map_update_elem(self.fd, place, slot, _BPF_ANY)
        if result < 0:
            raise KernelError(f"map {self.name}: a row cannot be written", errno=-result)

    def delete(self, key: object) -> bool:
        """Delete one row; False if it was not there."""
        result = libbpf().bpf_map_delete_elem(self.fd, self._raw(self._key_type, key))
        if result < 0 and result != -errno.ENOENT:
            raise KernelError(f"map {self.name}: a row cannot be deleted", errno=-result)
        return bool(result == 0)

    def take(self, key: object) -> object | None:
        """Read and delete one row; None if it was not there.

        One step where the kernel has it (hash maps: 5.14). Before that two, and what is counted between them is lost.
        """
        if self._takes:
            try:
                return self._read("bpf_map_lookup_and_delete_elem", key)
            except KernelError as error:
                if error.errno not in _UNSUPPORTED:
                    raise
                self._takes = False
        value = self.lookup(key)
        if value is not None:
            self.delete(key)
        return value

    def entries(self) -> int | None:
        """Count the rows; None where the map cannot be full, or the kernel cannot count quickly."""
        loaded = self._loaded
        return entries_of(self.fd, loaded.kind, loaded.key_size, loaded.value_size, self.max_entries)

    def close(self) -> None:
        """Close the descriptor; a read that is under way ends with an error instead of reading another file. Idempotent."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def _blocks(self) -> Iterator[Iterator[tuple[object, object]]]:
        lib = libbpf()
        # A position is a bucket number for hash maps and a key for the others.
        here = (ctypes.c_char * max(4, self._loaded.key_size))()
        rows = self._block_rows()
        started = False
        while True:
            keys, values = (self._key_type * rows)(), self._value_block(rows)
            count = ctypes.c_uint32(rows)
            result = lib.bpf_map_lookup_batch(
                self.fd, here if started else None, here, keys, values, ctypes.byref(count), None
            )
            if result == -errno.ENOSPC:
                # One bucket holds more than the block; the position has not moved.
                rows *= 2
                continue
            if -result in _UNSUPPORTED and not started:
                self._batches = False
                return
            if result < 0 and result != -errno.ENOENT:
                raise KernelError(f"map {self.name}: its rows cannot be read", errno=-result)
            yield zip(keys[: count.value], self._decode(values, count.value), strict=True)
            if result < 0:
                return
            started = True

    def _one_by_one(self) -> Iterator[tuple[object, object]]:
        """Walk key by key. When a key is deleted under the walk the kernel starts over: known keys are passed by then."""
        lib = libbpf()
        seen: set[bytes] = set()
        here: Any = None
        for _ in range(4 * self.max_entries + 64):
            key = self._key_type()
            result = lib.bpf_map_get_next_key(self.fd, here, ctypes.byref(key))
            if result == -errno.ENOENT:
                return
            if result < 0:
                raise KernelError(f"map {self.name}: its keys cannot be read", errno=-result)
            here = ctypes.byref(key)
            if (raw := bytes(key)) not in seen:
                seen.add(raw)
                if (value := self.lookup(key)) is not None:
                    yield key.value if is_scalar(self._key_type) else key, value

    def _read(self, function: str, key: object) -> object | None:
        self._check_types()
        block = self._value_block(1)
        result = getattr(libbpf(), function)(self.fd, self._raw(self._key_type, key), block)
        if result == -errno.ENOENT:
            return None
        if result < 0:
            raise KernelError(f"map {self.name}: a row cannot be read", errno=-result)
        return self._decode(block, 1)[0]

    def _block_rows(self) -> int:
        row_bytes = self._loaded.key_size + (self._summer().row_bytes if self._per_cpu else self._loaded.value_size)
        return max(_LEAST_ROWS, min(_BLOCK_ROWS, self.max_entries, _BLOCK_BYTES // max(1, row_bytes)))

    def _value_block(self, rows: int) -> ctypes.Array[Any]:
        if self._per_cpu:
            return (ctypes.c_char * (rows * self._summer().row_bytes))()
        block: ctypes.Array[Any] = (self._value_type * rows)()
        return block

    def _decode(self, block: ctypes.Array[Any], rows: int) -> list[object]:
        decoded: list[object] = self._summer().values(block, rows) if self._per_cpu else block[:rows]
        return decoded

    def _summer(self) -> Summer:
        if self._made_summer is None:
            self._made_summer = Summer(self.name, self._value_type, libbpf().libbpf_num_possible_cpus())
        return self._made_summer

    def _check_types(self) -> None:
        for ctype, size in ((self._key_type, self._loaded.key_size), (self._value_type, self._loaded.value_size)):
            if ctypes.sizeof(ctype) != size:
                raise DecodeError(f"map {self.name}", size=size, expected=ctypes.sizeof(ctype))

    def _raw(self, value_type: CType, value: object) -> bytes:
        ctype: Any = value_type
        plain: Any = ctype(value) if isinstance(value, int) else value
        raw = bytes(plain)
        if len(raw) != ctypes.sizeof(ctype):
            raise DecodeError(f"map {self.name}", size=len(raw), expected=ctypes.sizeof(ctype))
        return raw
