"""Bytes of events into records of their BTF type; what does not fit is counted, never raised."""

import ctypes
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from obi_core.btf import CType


def decode_records(raw: Sequence[bytes], record: CType, source: str, lost: Counter[str]) -> Iterator[object]:
    """Decode records in one block.

    Args:
        raw: Bytes of each record.
        record: Their type.
        source: Ring buffer or iterator program.
        lost: Counts records of another size than their type's, under `source`.
    """
    size = ctypes.sizeof(record)
    fitting = [each for each in raw if len(each) == size]
    if len(fitting) != len(raw):
        lost[source] += len(raw) - len(fitting)
    block: type[Any] = record * len(fitting)
    return iter(block.from_buffer(bytearray().join(fitting)))


def split_records(output: bytes, record: CType) -> Sequence[bytes]:
    """Cut an iterator's output into records; a rest that is too short comes last."""
    size = ctypes.sizeof(record)
    return [output[at : at + size] for at in range(0, len(output), size)]
