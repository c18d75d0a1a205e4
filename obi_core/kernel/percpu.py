"""Per-CPU values into one value each: integers, and structs and arrays of integers, summed member by member."""

import ctypes
import struct
from collections.abc import Iterable
from functools import reduce
from itertools import chain
from operator import add
from typing import Any, Final

from obi_core.btf import PAD_PREFIX, CType, is_scalar
from obi_core.errors import ObiError

_INTEGERS: Final = frozenset("bBhHiIlLqQ")
_CODES: Final = {1: "b", 2: "h", 4: "i", 8: "q"}
_SIZES: Final = {"b": 1, "h": 2, "i": 4, "q": 8, "B": 1, "H": 2, "I": 4, "Q": 8}


class Summer:
    """Sums blocks of per-CPU values of one type.

    The kernel hands out `value[cpus]` for each row, every value rounded up to 8 bytes; all possible CPUs, online or not.

    Args:
        source: Map name, for the error.
        value_type: Type of one CPU's value.
        cpus: Number of possible CPUs.

    Raises:
        ObiError: The type holds something that has no sum (text, a union, a float).
    """

    def __init__(self, source: str, value_type: CType, cpus: int) -> None:
        size = ctypes.sizeof(value_type)
        self._type: Any = value_type
        self._cpus = cpus
        self._scalar = is_scalar(value_type)
        layout = _layout(source, value_type)
        self._value = struct.Struct(f"<{layout}")
        self._slot = struct.Struct(f"<{layout}{-size % 8}x")
        self._widths = [letter for letter in layout if letter in _SIZES]
        self.row_bytes = self._slot.size * cpus

    def values(self, block: ctypes.Array[ctypes.c_char], rows: int) -> list[Any]:
        """Sum the first `rows` rows of a block: integers, or ctypes objects of the value type (whose members wrap as in C)."""
        per_cpu = self._slot.iter_unpack(memoryview(block).cast("B")[: rows * self.row_bytes])
        per_row = zip(*[per_cpu] * self._cpus, strict=True)
        if self._scalar:
            return [sum(chain.from_iterable(row)) for row in per_row]
        result = (self._type * rows)()
        view = memoryview(result).cast("B")
        for row, values in enumerate(per_row):
            sums = list(reduce(_add, values))
            try:
                self._value.pack_into(view, row * self._value.size, *sums)
            except struct.error:
                self._value.pack_into(view, row * self._value.size, *map(_wrap, self._widths, sums))
        return list(result)

    def spread(self, value: bytes) -> bytes:
        """One row that sums up to `value`: it stands at the first CPU, the others are 0."""
        return value.ljust(self.row_bytes, b"\0")


def _add(left: Iterable[int], right: Iterable[int]) -> Iterable[int]:
    return map(add, left, right)


def _wrap(letter: str, total: int) -> int:
    bits = 8 * _SIZES[letter]
    wrapped = total & ((1 << bits) - 1)
    return wrapped - (1 << bits) if letter.islower() and wrapped >> (bits - 1) else wrapped


def _layout(source: str, value_type: CType) -> str:
    """Spell a type in the letters of `struct`; padding becomes `x`."""
    ctype: Any = value_type
    if issubclass(ctype, ctypes.Structure):
        # Types made from BTF are packed, with their padding as members.
        return "".join(
            f"{ctypes.sizeof(member)}x" if name.startswith(PAD_PREFIX) else _layout(source, member)
            for name, member in ctype._fields_
        )
    if issubclass(ctype, ctypes.Array) and ctype._type_ is not ctypes.c_char:
        elements: int = ctype._length_
        return _layout(source, ctype._type_) * elements
    if is_scalar(ctype) and ctype._type_ in _INTEGERS:
        letter = _CODES[ctypes.sizeof(ctype)]
        return letter.upper() if ctype._type_.isupper() else letter
    raise ObiError(
        f"map {source}: its per-CPU value holds a {ctype.__name__}, which has no sum; use a map that is not per-CPU"
    )
