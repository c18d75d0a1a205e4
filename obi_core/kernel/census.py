"""Every BPF program and link on this node, whoever loaded it. Takes CAP_SYS_ADMIN; without, nothing is found.

Source: BPF_PROG_GET_NEXT_ID and BPF_LINK_GET_NEXT_ID (4.13, 5.8); `struct bpf_prog_info`, `struct bpf_link_info`.
"""

import ctypes
import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from obi_core.errors import HostError
from obi_core.kernel.lib import libbpf

PROGRAM_KINDS: Final = {
    2: "kprobe", 3: "tc", 4: "tc_action", 5: "tracepoint", 6: "xdp", 7: "perf_event", 8: "cgroup_skb", 9: "cgroup_sock",
    13: "sockops", 14: "sk_skb", 15: "cgroup_device", 16: "sk_msg", 17: "raw_tracepoint", 18: "cgroup_sock_addr",
    23: "cgroup_sysctl", 25: "cgroup_sockopt", 26: "tracing", 27: "struct_ops", 28: "extension", 29: "lsm", 30: "sk_lookup",
}  # fmt: skip
"""`enum bpf_prog_type`, those that somebody attaches to a hook that OBI uses or may use."""
_PROGRAM: Final = struct.Struct("<II8sIIQQQIIQ16s")
"""struct bpf_prog_info up to `name`."""
_LINK: Final = struct.Struct("<III4xQI")
"""struct bpf_link_info: type, id, prog_id, then the union: pointer and length of a raw tracepoint's name."""
_RAW_TRACEPOINT: Final = 1
_INFO_BYTES: Final = 256
_NAME_BYTES: Final = 128
_MOST: Final = 10_000


@dataclass(frozen=True, slots=True)
class Installed:
    """One program in the kernel."""

    id: int
    kind: str
    """In the words of a section's first part, more or less: `cgroup_skb`, `raw_tracepoint`, `tracing`."""
    name: str
    """At most 15 characters."""
    hook: str = ""
    """Name of the raw tracepoint that a link has it at; empty: not attached through a link that says."""


def installed() -> tuple[Installed, ...]:
    """List all programs, by id; those that end meanwhile are left out."""
    try:
        return tuple(_programs(dict(_links())))
    except HostError:  # no libbpf: the doctor says so where it matters
        return ()


def _programs(hooks: dict[int, str]) -> Iterator[Installed]:
    lib = libbpf()
    for number in _ids(lib.bpf_prog_get_next_id):
        info = _info(lib.bpf_prog_get_fd_by_id(number))
        if info is not None:
            kind, name = _PROGRAM.unpack_from(info)[0], _PROGRAM.unpack_from(info)[-1]
            yield Installed(number, PROGRAM_KINDS.get(kind, str(kind)), _text(name), hooks.get(number, ""))


def _links() -> Iterator[tuple[int, str]]:
    """Program id → the raw tracepoint that it is at."""
    lib = libbpf()
    for number in _ids(lib.bpf_link_get_next_id):
        name = ctypes.create_string_buffer(_NAME_BYTES)
        head = struct.pack("<III4xQI", 0, 0, 0, ctypes.addressof(name), _NAME_BYTES)
        info = _info(lib.bpf_link_get_fd_by_id(number), head)
        if info is None:
            continue
        kind, _, program, _, _ = _LINK.unpack_from(info)
        if kind == _RAW_TRACEPOINT:
            yield program, _text(name.raw)


def _ids(following: Callable[[int, object], int]) -> Iterator[int]:
    number = ctypes.c_uint32(0)
    for _ in range(_MOST):
        if following(number.value, ctypes.byref(number)) < 0:
            return
        yield number.value


def _info(fd: int, head: bytes = b"") -> bytes | None:
    if fd < 0:
        return None
    try:
        info = ctypes.create_string_buffer(head, _INFO_BYTES)
        length = ctypes.c_uint32(_INFO_BYTES)
        done: int = libbpf().bpf_obj_get_info_by_fd(fd, info, ctypes.byref(length))
        return None if done < 0 else info.raw
    finally:
        os.close(fd)


def _text(raw: bytes) -> str:
    return raw.partition(b"\0")[0].decode(errors="replace")
