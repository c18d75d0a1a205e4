"""Mounting tracefs where it is absent: tracepoints are found through it, and minimal systems do not mount it."""

import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from obi_core.errors import errno_name
from obi_core.host import Host

_DETACH: Final = 2
"""MNT_DETACH: somebody may be looking into it."""


def mount(kind: str, target: Path) -> int:
    """Mount a file system that has no source; gives 0 or the errno."""
    libc = ctypes.CDLL(None, use_errno=True)
    done = libc.mount(kind.encode(), os.fsencode(target), kind.encode(), ctypes.c_ulong(0), None)
    return 0 if done == 0 else ctypes.get_errno()


def unmount(target: Path) -> int:
    """Undo `mount`; gives 0 or the errno."""
    libc = ctypes.CDLL(None, use_errno=True)
    done = libc.umount2(os.fsencode(target), ctypes.c_int(_DETACH))
    return 0 if done == 0 else ctypes.get_errno()


@contextmanager
def tracefs_meanwhile(
    host: Host, mount: Callable[[str, Path], int] = mount, unmount: Callable[[Path], int] = unmount
) -> Iterator[str]:
    """Have tracefs as `ensure_tracefs` does, and take it away again if it was not there: yields why it is still absent."""
    absent = host.tracefs() is None
    problem = ensure_tracefs(host, mount)
    try:
        yield problem
    finally:
        if absent and host.tracefs() is not None:
            unmount(host.sys / "kernel/tracing")


def ensure_tracefs(host: Host, mount: Callable[[str, Path], int] = mount) -> str:
    """Mount tracefs if it is not there, once, and only as root.

    Args:
        host: This node.
        mount: Mounts a file system of a kind at a directory; gives 0 or the errno.

    Returns:
        Why it is still absent, as one sentence; empty if it is there, or not ours to mount.
    """
    if host.tracefs() is not None or not host.has_capability("sys_admin"):
        return ""
    target = host.sys / "kernel/tracing"
    if not target.is_dir():
        return f"tracefs is not mounted and this kernel has none ({target} does not exist); probes that need it lose that mode"
    number = mount("tracefs", target)
    if not number:
        return ""
    return (
        f"tracefs is not mounted and mounting it at {target} failed [{errno_name(number)}]; mount it from outside: "
        f"`mount -t tracefs tracefs {target}`"
    )
