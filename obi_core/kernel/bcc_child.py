"""The child process of `bcc.py`: compiles and loads through BCC, hands the descriptors over, ends.

A program of its own, run by path in a fresh interpreter: it imports nothing of OBI, so that the child is Python, BCC and LLVM
and no more. One JSON request comes on standard input, one JSON reply goes over the Unix socket whose number is the first
argument, with the descriptors beside it (SCM_RIGHTS). What BCC, LLVM and the verifier print goes to standard error, a file
that the parent reads; the reply says between which offsets.

Request: `source`, `flags` (for the compiler), `programs` (`name`, `type`: BPF_PROG_TYPE_*, `hook`: attach type or -1,
`optional`), `ring_stub` (put before the source where the kernel has no ring buffer).
Reply: `maps` and `programs` (names, in the order of the descriptors: maps first), `refused` (name → errno, offsets), and
`failed` (the program that the mode cannot do without, or empty for the compilation) with `errno` and `offsets` if nothing is
handed over; or only `absent`: why BCC cannot be imported.
"""

import ctypes
import errno
import json
import os
import socket
import struct
import sys
from contextlib import suppress
from typing import Any

_MAP_TYPE_RINGBUF = 27
_PAGE = os.sysconf("SC_PAGE_SIZE")
_LD_IMM64 = 0x18
_PSEUDO_MAP_FD = 1
_INSTRUCTION = struct.Struct("<BBhi")


def main() -> None:
    """Answer the one request."""
    # If memory ends after all: us, not the agent that waits for us.
    with suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:  # noqa: PTH123 - as little as can be is imported here
        file.write("1000")
    request = json.load(sys.stdin)
    reply, descriptors = _serve(request)
    with socket.socket(fileno=int(sys.argv[1])) as channel:
        socket.send_fds(channel, [json.dumps(reply).encode()], descriptors)
    # no destructors: LLVM's take time and can crash, and the kernel closes everything
    os._exit(0)


def _serve(request: dict[str, Any]) -> tuple[dict[str, Any], list[int]]:
    try:
        from bcc import BPF, lib  # its absence is an answer
    except (ImportError, OSError) as error:
        return {"absent": str(error)}, []

    source = request["source"]
    if not _ring_buffers(lib):
        source = request["ring_stub"] + source
    begin = _offset()
    try:
        module = BPF(text=source, cflags=request["flags"])
    except Exception:  # noqa: BLE001 - BCC raises bare Exception and has printed the cause
        return {"failed": "", "errno": 0, "offsets": (begin, _offset())}, []

    loaded: dict[str, int] = {}
    refused: dict[str, Any] = {}
    for program in request["programs"]:
        name, begin = program["name"], _offset()
        try:
            loaded[name] = module.load_func(name, program["type"], attach_type=program["hook"]).fd
        except Exception:  # noqa: BLE001 - as above
            report = {"errno": ctypes.get_errno(), "offsets": (begin, _offset())}
            if not program["optional"]:
                return {"failed": name, **report}, []
            refused[name] = report

    maps = _maps(module, lib, loaded)
    return {"maps": list(maps), "programs": list(loaded), "refused": refused}, [*maps.values(), *loaded.values()]


def _ring_buffers(lib: Any) -> bool:  # noqa: ANN401 - BCC has no types
    """Whether the kernel has ring buffers (5.8); asked by making one."""
    descriptor = lib.bcc_create_map(_MAP_TYPE_RINGBUF, b"obi_try", 0, 0, _PAGE, 0)
    if descriptor < 0:
        # EPERM and the like are not about ring buffers: the load itself will say
        return ctypes.get_errno() != errno.EINVAL
    os.close(descriptor)
    return True


def _maps(module: Any, lib: Any, programs: dict[str, int]) -> dict[str, int]:  # noqa: ANN401 - as above
    """Descriptors of the maps that the loaded programs reference, by map name: the programs' instructions hold them."""
    used = set()
    for name in programs:
        for code, registers, _, immediate in _INSTRUCTION.iter_unpack(module.dump_func(name)):
            if code == _LD_IMM64 and registers >> 4 == _PSEUDO_MAP_FD:
                used.add(immediate)
    # in libbcc's interface, but not declared by its Python side
    lib.bpf_num_tables.restype, lib.bpf_num_tables.argtypes = ctypes.c_size_t, (ctypes.c_void_p,)
    lib.bpf_table_name.restype, lib.bpf_table_name.argtypes = ctypes.c_char_p, (ctypes.c_void_p, ctypes.c_size_t)
    tables = (lib.bpf_table_name(module.module, number) for number in range(lib.bpf_num_tables(module.module)))
    descriptors = {table.decode(): lib.bpf_table_fd(module.module, table) for table in tables}
    return {name: descriptor for name, descriptor in descriptors.items() if descriptor in used}


def _offset() -> int:
    """How much has been printed to standard error."""
    sys.stderr.flush()
    return os.lseek(2, 0, os.SEEK_CUR)


if __name__ == "__main__":
    main()
