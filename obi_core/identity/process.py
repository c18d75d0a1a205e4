"""From the kernel's owner to process attributes."""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import PurePath
from typing import Final

from obi_core.host import Host
from obi_core.model import Owner
from obi_core.resolver import Subject

_COMM_LENGTH: Final = 15
"""TASK_COMM_LEN less the final zero: a name this long may have been cut off."""
_MOST_ARGUMENTS: Final = 8
"""Where to look for a script's own path: behind the interpreter and its options."""
_DELETED: Final = " (deleted)"
_MOST_NAMES: Final = 256


class ProcessResolver:
    """Names the process of an owner. What the kernel saw is enough; /proc only completes a name that was cut off.

    An owner without a process (aggregates fold processes of one name) is completed if all running processes of that cut-off
    name agree on the whole one.

    Gaps: a cut-off name stays so if the process has ended, or if its start time is not known while its id is (then nothing
    says that the process under this id is still the same).
    """

    def __init__(
        self,
        host: Host,
        *,
        process_pid: bool = False,
        noted: Callable[[Owner], str | None] = lambda _: None,
        ticks_per_s: int | None = None,
    ) -> None:
        """Use `host` for /proc.

        Args:
            host: Where to read.
            noted: See `Tracking.name`.
            process_pid: Whether subjects carry `process.pid`.
            ticks_per_s: Clock ticks in /proc/<pid>/stat; None: this system's.
        """
        self._host = host
        self._process_pid, self._noted = process_pid, noted
        self._ticks_per_s = ticks_per_s or os.sysconf("SC_CLK_TCK")
        # what all running processes of a cut-off name agreed on: many new rows of one name cost one walk through /proc
        self._whole_names: dict[str, str] = {}

    def resolve(self, owner: Owner) -> Subject:
        """Describe `owner`: `process.executable.name`, and `process.pid` where asked for."""
        attributes: dict[str, str | int] = {}
        name, missing = self._known_or_not(owner)
        if name:
            attributes["process.executable.name"] = name
        if self._process_pid and owner.tgid:
            attributes["process.pid"] = owner.tgid
        return Subject(attributes, not missing, missing)

    def _known_or_not(self, owner: Owner) -> tuple[str, str]:
        """The name, and what is missing of it."""
        comm = owner.comm
        if len(comm.encode(errors="replace")) < _COMM_LENGTH:
            return comm, ""
        try:
            noted = self._noted(owner)
        except LookupError:
            # Without a process, /proc only tells who has this cut-off name now, which may be another cgroup's: better wait.
            name = self._name(owner) if owner.tgid else comm
            return name, "process" if name == comm else ""
        return noted or self._name(owner), ""

    def _name(self, owner: Owner) -> str:
        comm = owner.comm
        if not owner.tgid:
            return self._whole_name_of_all(comm)
        if not self._alive(owner):
            return comm
        whole = self._whole(owner.tgid, comm)
        # between the two reads the process may have ended and its id gone to another
        return whole if self._alive(owner) else comm

    def _whole(self, tgid: int, comm: str) -> str:
        return next((name for name in self._candidates(tgid) if name.startswith(comm)), comm)

    def _whole_name_of_all(self, comm: str) -> str:
        if comm not in self._whole_names:
            names = {self._whole(tgid, comm) for tgid in self._host.processes_named(comm)}
            if len(names) != 1:
                return comm
            if len(self._whole_names) >= _MOST_NAMES:
                self._whole_names.clear()
            self._whole_names[comm] = names.pop()
        return self._whole_names[comm]

    def _alive(self, owner: Owner) -> bool:
        if not owner.tgid or not owner.start_ns:
            return False
        return self._host.process_start_ticks(owner.tgid) == owner.start_ns * self._ticks_per_s // 1_000_000_000

    def _candidates(self, tgid: int) -> Iterator[str]:
        process = self._host.proc / str(tgid)
        # Without CAP_SYS_PTRACE `exe` is closed; the arguments are not.
        with suppress(OSError):
            yield PurePath(str((process / "exe").readlink()).removesuffix(_DELETED)).name
        try:
            arguments = (process / "cmdline").read_bytes().split(b"\0", _MOST_ARGUMENTS)
        except OSError:
            return
        for argument in arguments[:_MOST_ARGUMENTS]:
            yield PurePath(argument.decode(errors="replace")).name
