"""One ring buffer, emptied on request. Programs submit without wake-up, so nobody waits on it."""

import ctypes
from ctypes import string_at
from typing import Final

from obi_core.errors import KernelError
from obi_core.kernel.lib import SampleFunction, libbpf
from obi_core.kernel.maps import Map

_LEAST_RECORD: Final = 16
"""Bytes of the smallest record with its header."""
_STOP: Final = -1


class Ring:
    """Reads a ring-buffer map; the map stays its owner's. One thread: the worker's.

    Raises:
        KernelError: The ring buffer cannot be mapped.
    """

    def __init__(self, source: Map) -> None:
        self._name = source.name
        self._most = max(1, source.max_entries // _LEAST_RECORD)
        self._taken: list[bytes] = []
        self._failure: BaseException | None = None
        # libbpf keeps the bare address: the callback lives as long as the ring.
        self._callback = SampleFunction(self._sample)
        self._ring: int | None = libbpf().ring_buffer__new(source.fd, self._callback, None, None)
        if not self._ring:
            raise KernelError(f"ring buffer {source.name} cannot be mapped", errno=ctypes.get_errno())

    def take(self) -> list[bytes]:
        """Take what is there, at most as many records as a full ring holds: a busy producer cannot keep the reader here."""
        if self._ring is None:
            raise KernelError(f"ring buffer {self._name} is closed")
        self._taken, self._failure = [], None
        result = libbpf().ring_buffer__consume(self._ring)
        if self._failure is not None:
            raise self._failure
        if result < 0 and result != _STOP:
            raise KernelError(f"ring buffer {self._name} cannot be read", errno=-result)
        taken, self._taken = self._taken, []
        return taken

    def close(self) -> None:
        """Unmap it. Idempotent; never while another thread is in `take`."""
        ring, self._ring = self._ring, None
        if ring is not None:
            libbpf().ring_buffer__free(ring)

    def _sample(self, _context: int | None, data: int, size: int) -> int:
        try:
            self._taken.append(string_at(data, size))
        except BaseException as error:  # noqa: BLE001 - isolation border: ctypes would print it and go on
            self._failure = error
            return _STOP
        return _STOP if len(self._taken) >= self._most else 0
