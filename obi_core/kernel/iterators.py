"""BPF iterators: programs that the kernel runs over its own tables when somebody reads."""

import ctypes
import errno
import os
from contextlib import ExitStack
from typing import Final

from obi_core.errors import AttachError
from obi_core.kernel.lib import LinkOptions, libbpf

_BPF_TRACE_ITER: Final = 28
_CHUNK_BYTES: Final = 1 << 18


def run_iterator(program: str, section: str, fd: int, walk: int | None = None) -> bytes:
    """Run an `iter/…` program to its end and give what it wrote.

    Args:
        program: Its C function name, for errors.
        section: Its ELF section, for errors.
        fd: Its descriptor.
        walk: Descriptor of the map that an `iter/bpf_map_elem` program goes through.

    Raises:
        AttachError: The kernel would not start it, or broke it off.
    """
    target = None if walk is None else ctypes.c_uint32(walk)
    options = LinkOptions(size=ctypes.sizeof(LinkOptions))
    if target is not None:
        # union bpf_iter_link_info, of which the map's descriptor is the first member.
        options.iterator = ctypes.addressof(target)
        options.iterator_size = ctypes.sizeof(target)
    with ExitStack() as opened:
        link = libbpf().bpf_link_create(fd, 0, _BPF_TRACE_ITER, ctypes.byref(options))
        if link < 0:
            raise AttachError("the kernel would not attach the iterator", program=program, section=section, errno=-link)
        opened.callback(os.close, link)
        reader = libbpf().bpf_iter_create(link)
        if reader < 0:
            raise AttachError("the kernel would not start the iterator", program=program, section=section, errno=-reader)
        opened.callback(os.close, reader)
        return _read_all(program, section, reader)


def _read_all(program: str, section: str, reader: int) -> bytes:
    chunks: list[bytes] = []
    while True:
        try:
            chunk = os.read(reader, _CHUNK_BYTES)
        except OSError as error:
            # The kernel breaks off after a million objects without output and asks to come again.
            if error.errno == errno.EAGAIN:
                continue
            number = error.errno or 0
            raise AttachError("the iterator broke off", program=program, section=section, errno=number) from error
        if not chunk:
            return b"".join(chunks)
        chunks.append(chunk)
