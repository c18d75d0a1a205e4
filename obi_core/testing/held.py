"""What of the kernel this process holds, and whether the kernel still has it."""

import ctypes
import errno
import os
import platform
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_BPF: Final = {"x86_64": 321, "aarch64": 280}
"""Number of bpf(2) by machine."""
_BY_ID: Final = {"prog": 13, "map": 14, "link": 30}
"""BPF_*_GET_FD_BY_ID of include/uapi/linux/bpf.h."""


@dataclass(frozen=True, slots=True)
class Held:
    """Descriptors of this process, and the kernel's ids of the BPF objects behind them."""

    descriptors: int
    objects: frozenset[tuple[str, int]]
    """(`map`, `prog` or `link`, id)."""

    @classmethod
    def now(cls) -> "Held":
        """Count what this process has open."""
        objects: set[tuple[str, int]] = set()
        descriptors = 0
        for info in Path("/proc/self/fdinfo").iterdir():
            try:
                text = info.read_text()
            except OSError:  # the listing's own descriptor
                continue
            descriptors += 1
            fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
            # a link's fdinfo also names its program
            kind = next((kind for kind in ("link", "map", "prog") if f"{kind}_id" in fields), None)
            if kind:
                objects.add((kind, int(fields[f"{kind}_id"])))
        return cls(descriptors, frozenset(objects))


def alive(kind: str, number: int) -> bool:
    """Whether the kernel still has a BPF object; needs CAP_SYS_ADMIN.

    Args:
        kind: `map`, `prog` or `link`.
        number: Its id.

    Raises:
        OSError: The kernel does not say.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    attributes = (ctypes.c_uint32 * 4)(number)
    fd: int = libc.syscall(_BPF[platform.machine()], _BY_ID[kind], attributes, ctypes.sizeof(attributes))
    if fd >= 0:
        os.close(fd)
        return True
    if ctypes.get_errno() == errno.ENOENT:
        return False
    raise OSError(ctypes.get_errno(), f"bpf({kind} {number}): {os.strerror(ctypes.get_errno())}")


def left_behind(objects: frozenset[tuple[str, int]], patience_s: float = 5.0) -> frozenset[tuple[str, int]]:
    """Which of these objects the kernel still has. It frees them a little after the last descriptor is closed.

    Args:
        objects: (kind, id), all closed by now.
        patience_s: How long to give it.
    """
    pause = threading.Event()
    for _ in range(round(patience_s / 0.05)):
        objects = frozenset(entry for entry in objects if alive(*entry))
        if not objects:
            break
        pause.wait(0.05)
    return objects
