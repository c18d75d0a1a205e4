"""System calls that may fail for want of something, and which program looks at their exits. Pure."""

from typing import Final

CALL_PROGRAM: Final = "limits_call"
FORK_PROGRAM: Final = "limits_fork"
WATCH_PROGRAM: Final = "limits_watch"

OWN_CALLS: Final = {CALL_PROGRAM: "openat", FORK_PROGRAM: "clone", WATCH_PROGRAM: "inotify_add_watch"}
"""The call that the section of each program names in limits.bpf.c."""

_FORKS: Final = frozenset({"clone", "clone3", "fork", "vfork"})
_WATCHES: Final = frozenset({"epoll_ctl", "inotify_add_watch"})

DEFAULT_CALLS: Final = (
    # descriptors
    *("openat", "open", "socket", "accept", "accept4", "dup", "pipe2", "epoll_create1", "eventfd2"),
    # processes
    *("clone", "clone3", "fork", "vfork"),
    # memory
    "mmap",
    # ports
    "connect",
    # storage
    *("mkdir", "fallocate", "fsync"),
    # watches
    "inotify_add_watch",
)
"""Where a program that runs out of something meets it first. Calls that move data (write, sendto) are not among them: looking
at each costs too much to be a default."""
_NOT_EVERYWHERE: Final = frozenset({"fork", "mkdir", "open", "vfork"})
"""Calls that x86-64 has and younger architectures have not: libraries use others there."""


def program_of(call: str) -> str:
    """Name the program that looks at the exits of a call."""
    if call in _FORKS:
        return FORK_PROGRAM
    return WATCH_PROGRAM if call in _WATCHES else CALL_PROGRAM


def tracepoint_of(call: str) -> str:
    """Name the tracepoint at the exits of a call, as tracefs does."""
    return f"syscalls/sys_exit_{call}"


def may_be_missing(call: str) -> bool:
    """Whether a kernel may do without this call and nothing is lost."""
    return call in _NOT_EVERYWHERE
