"""How a process that runs was started, as /proc tells it."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from obi_core.host import Host
from obi_core.model import Owner

_LONGEST: Final = 512
"""Bytes of a command line, as many as the kernel side keeps."""
_NSPID: Final = "NSpid:"


@dataclass(frozen=True, slots=True)
class Execution:
    """One process as its last exec made it."""

    vpid: int
    """Its id in its own pid namespace."""
    path: str
    command_line: str
    """Redacted."""


def execution_of(host: Host, owner: Owner, redacted: Callable[[bytes], str]) -> Execution | None:
    """Read it; None if the process has ended, or its id has gone to another.

    Args:
        host: Where to read.
        owner: The process.
        redacted: Makes text of the arguments, which end with NUL each.
    """
    process = host.proc / str(owner.tgid)
    started = owner.start_ns * os.sysconf("SC_CLK_TCK") // 1_000_000_000
    if not owner.start_ns or host.process_start_ticks(owner.tgid) != started:
        return None
    try:
        with (process / "cmdline").open("rb") as file:
            arguments = file.read(_LONGEST)
        lines = (process / "status").read_text(errors="replace").splitlines()
    except OSError:
        return None
    try:
        path = str((process / "exe").readlink())
    except OSError:  # not ours to look at without CAP_SYS_PTRACE; the arguments are
        path = ""
    # none: it is in the middle of an exec; and between the reads the process may have ended and its id gone to another
    if not arguments or host.process_start_ticks(owner.tgid) != started:
        return None
    ids = next((line.removeprefix(_NSPID).split() for line in lines if line.startswith(_NSPID)), [])
    return Execution(int(ids[-1]) if ids else owner.tgid, path, redacted(arguments))
