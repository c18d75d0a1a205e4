"""libbpf.so.1 through ctypes: declared once, loaded on first use.

Functions that return int give a negative errno; those that return a pointer give NULL and set errno (`ctypes.get_errno`).
ctypes lets other threads run during every call.
"""

import ctypes
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Final

from obi_core.errors import HostError

LIBRARY: Final = "libbpf.so.1"

PrintFunction: Final = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
"""`int (*)(enum libbpf_print_level, const char *format, va_list)`; a va_list is passed by address on x86-64 and arm64."""
SampleFunction: Final = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
"""`int (*)(void *context, void *data, size_t size)`: one record of a ring buffer."""

_LINE_BYTES: Final = 4096
_WARNING: Final = 0
_INT, _U32, _FD = ctypes.c_int, ctypes.c_uint32, ctypes.c_int
_PTR, _STR, _SIZE, _U64 = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint64

_SIGNATURES: Final = {
    "bpf_object__open_mem": (_PTR, (_PTR, _SIZE, _PTR)),
    "bpf_object__load": (_INT, (_PTR,)),
    "bpf_object__close": (None, (_PTR,)),
    "bpf_object__next_program": (_PTR, (_PTR, _PTR)),
    "bpf_object__next_map": (_PTR, (_PTR, _PTR)),
    "bpf_program__name": (_STR, (_PTR,)),
    "bpf_program__section_name": (_STR, (_PTR,)),
    "bpf_program__fd": (_FD, (_PTR,)),
    "bpf_program__set_autoload": (_INT, (_PTR, ctypes.c_bool)),
    "bpf_program__set_log_buf": (_INT, (_PTR, _PTR, _SIZE)),
    "bpf_map__name": (_STR, (_PTR,)),
    "bpf_map__fd": (_FD, (_PTR,)),
    "bpf_map__type": (_INT, (_PTR,)),
    "bpf_map__key_size": (_U32, (_PTR,)),
    "bpf_map__value_size": (_U32, (_PTR,)),
    "bpf_map__max_entries": (_U32, (_PTR,)),
    "bpf_map__set_max_entries": (_INT, (_PTR, _U32)),
    "bpf_map__set_autocreate": (_INT, (_PTR, ctypes.c_bool)),
    "bpf_map__is_internal": (ctypes.c_bool, (_PTR,)),
    "bpf_map__initial_value": (_PTR, (_PTR, _PTR)),
    "bpf_map_lookup_elem": (_INT, (_FD, _PTR, _PTR)),
    "bpf_map_update_elem": (_INT, (_FD, _PTR, _PTR, _U64)),
    "bpf_map_delete_elem": (_INT, (_FD, _PTR)),
    "bpf_map_lookup_and_delete_elem": (_INT, (_FD, _PTR, _PTR)),
    "bpf_map_get_next_key": (_INT, (_FD, _PTR, _PTR)),
    "bpf_map_lookup_batch": (_INT, (_FD, _PTR, _PTR, _PTR, _PTR, _PTR, _PTR)),
    "bpf_obj_get_info_by_fd": (_INT, (_FD, _PTR, _PTR)),
    "bpf_map_create": (_FD, (_INT, _STR, _U32, _U32, _U32, _PTR)),
    "bpf_prog_get_next_id": (_INT, (_U32, _PTR)),
    "bpf_prog_get_fd_by_id": (_FD, (_U32,)),
    "bpf_link_get_next_id": (_INT, (_U32, _PTR)),
    "bpf_link_get_fd_by_id": (_FD, (_U32,)),
    "bpf_raw_tracepoint_open": (_FD, (_STR, _FD)),
    "bpf_link_create": (_FD, (_FD, _FD, _INT, _PTR)),
    "bpf_iter_create": (_FD, (_FD,)),
    "bpf_enable_stats": (_FD, (_INT,)),
    "libbpf_attach_type_by_name": (_INT, (_STR, _PTR)),
    "libbpf_num_possible_cpus": (_INT, ()),
    "libbpf_set_print": (_PTR, (PrintFunction,)),
    "libbpf_version_string": (_STR, ()),
    "ring_buffer__new": (_PTR, (_FD, SampleFunction, _PTR, _PTR)),
    "ring_buffer__consume": (_INT, (_PTR,)),
    "ring_buffer__free": (None, (_PTR,)),
}


class LinkOptions(ctypes.Structure):
    """`struct bpf_link_create_opts` (bpf/bpf.h), as far as OBI uses it; libbpf takes a shorter struct by its size."""

    _fields_ = (
        ("size", ctypes.c_size_t),
        ("flags", ctypes.c_uint32),
        ("iterator", ctypes.c_void_p),
        ("iterator_size", ctypes.c_uint32),
        ("target_btf_id", ctypes.c_uint32),
    )


class Libbpf(ctypes.CDLL):
    """The library with its functions declared and its chatter turned into DEBUG log lines.

    Raises:
        HostError: It is not installed, or too old.
    """

    def __init__(self, name: str = LIBRARY) -> None:
        try:
            super().__init__(name, use_errno=True)
        except OSError as error:
            raise HostError(f"{name} cannot be loaded ({error}): install the Debian package libbpf1") from error
        for function, (result, arguments) in _SIGNATURES.items():
            try:
                declared = getattr(self, function)
            except AttributeError:
                raise HostError(f"{name} has no {function}: it is too old, install libbpf 1.0 or later") from None
            declared.restype, declared.argtypes = result, arguments
        self._listeners = threading.local()
        self._log = logging.getLogger("obi.libbpf")
        self._format = ctypes.CDLL(None).vsnprintf
        self._format.argtypes = (_PTR, _SIZE, _PTR, _PTR)
        # libbpf keeps the bare address, so this object must hold the callback for as long as the library may call it.
        self._print = PrintFunction(self._hear)
        self.libbpf_set_print(self._print)

    @contextmanager
    def listen(self) -> Iterator[list[str]]:
        """Collect the warnings of this thread: the only place where libbpf names what would not load."""
        lines: list[str] = []
        self._listeners.lines = lines
        try:
            yield lines
        finally:
            self._listeners.lines = None

    def _hear(self, level: int, template: int, arguments: int) -> int:
        try:
            lines: list[str] | None = getattr(self._listeners, "lines", None) if level == _WARNING else None
            if lines is None and not self._log.isEnabledFor(logging.DEBUG):
                return 0
            buffer = ctypes.create_string_buffer(_LINE_BYTES)
            self._format(buffer, _LINE_BYTES, template, arguments)
            text = buffer.value.decode(errors="replace").rstrip()
            if lines is not None:
                lines.append(text)
            self._log.debug("%s", text)
        except Exception:  # noqa: BLE001 - isolation border: an exception cannot pass through C, ctypes would print it
            return 0
        return 0


@cache
def libbpf() -> Libbpf:
    """Give the process's libbpf; loads it the first time. Its print callback is process-wide, so there is one of it."""
    return Libbpf()


def libbpf_version() -> str:
    """Version of the installed libbpf: `1.1`."""
    version: bytes = libbpf().libbpf_version_string()
    return version.decode().removeprefix("v")
