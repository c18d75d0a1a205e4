"""Twelve bytes beside a spool: how many items must be in it at least."""

import os
import struct
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Final

_FORM: Final = struct.Struct("<QI")


class Ledger:
    """Written after what is added and before what is taken away, so that it never says too much.

    Args:
        file: Made when it is not there.

    Raises:
        OSError: It cannot be opened for writing.
    """

    def __init__(self, file: Path) -> None:
        self._fd = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def read(self) -> int | None:
        """Items that must be there; None if it does not say."""
        found = os.pread(self._fd, _FORM.size, 0)
        if len(found) != _FORM.size:
            return None
        items, crc = _FORM.unpack(found)
        return int(items) if crc == zlib.crc32(found[:8]) else None

    def write(self, items: int) -> None:
        """Say so; a disk that refuses is found out by the database."""
        number = struct.pack("<Q", items)
        with suppress(OSError):
            os.pwrite(self._fd, number + struct.pack("<I", zlib.crc32(number)), 0)

    def close(self) -> None:
        """Close the file. Idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
