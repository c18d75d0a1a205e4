"""What the kernel has noted of programs and cgroups: rows read when a name is missing, and only then."""

import logging
import re
import time
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import Any, Final

from obi_core.errors import KernelError
from obi_core.host import Host
from obi_core.identity.running import Execution, execution_of
from obi_core.kernel import trial
from obi_core.kernel.base import BpfObject, Loader, MapStats, ProgramStats
from obi_core.model import LoadPlan, Mode, Owner, Program
from obi_core.settings.identity import REDACTED, IdentitySettings

EXEC: Final = Program("identity_exec", loses=("names beyond 15 bytes of programs that have ended",))
MKDIR: Final = Program("identity_mkdir", loses=("containers that lived for less than a second",))
MODE: Final = Mode("tp_btf", (EXEC, MKDIR), needs=("cap:bpf", "cap:perfmon", "btf"))
_READ_EVERY_S: Final = 0.2
"""Least time between two reads of one map."""
_FEW: Final = 64
"""Rows of the map of command lines where nobody wants them: a map cannot have none."""

_MOST_RUNNING: Final = 1_024
"""Processes of which is remembered what /proc said."""

_log: Final = logging.getLogger("obi.identity")


class Tracking:
    """The noted rows. Bus thread only, but for `open`.

    Args:
        settings: What to note.
        clock: s, monotonic.
    """

    def __init__(self, settings: IdentitySettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings, self._clock = settings, clock
        self._redact = tuple(re.compile(pattern) for pattern in settings.redact)
        self._bpf: BpfObject | None = None
        self._read_s: dict[str, float] = {}
        self._names: Mapping[tuple[int, str], str] = {}
        self._paths: Mapping[int, PurePosixPath] = {}
        self._executions: Mapping[tuple[int, int], Execution] = {}
        self._running: dict[tuple[int, int], Execution] = {}
        self._host = Host()
        self.lost: Mapping[str, str] = {}
        """What is not noted, by program, and why."""
        self.held: tuple[tuple[ProgramStats, ...], tuple[MapStats, ...]] = ((), ())
        """What it has in the kernel."""

    def open(self, loader: Loader, host: Host) -> None:
        """Load and attach what the node allows."""
        self._host = host
        if not self._settings.tracking:
            self.lost = {program.name: "identity.tracking is off" for program in MODE.programs}
            return
        if missing := trial.unmet(MODE.needs, host):
            why = "; ".join(f"{unmet.need} is missing: {unmet.remedy}" for unmet in missing)
            self.lost = {program.name: why for program in MODE.programs}
            return
        commands = self._settings.command_lines
        entries = {} if commands else {"identity_execs": _FEW}
        try:
            bpf = loader.load(
                "obi_core.identity", "identity", MODE, LoadPlan({"identity_commands": int(commands)}, {}, entries)
            )
        except KernelError as error:
            self.lost = {program.name: str(error) for program in MODE.programs}
            return
        for program in MODE.programs:
            if program.name not in bpf.refused:
                bpf.attach(program.name)
        self.lost = {name: str(error) for name, error in bpf.refused.items()}
        self._bpf = bpf
        # now, for later they belong to the bus thread; they do not change
        self.held = tuple(bpf.programs()), tuple(bpf.maps())

    def tell(self) -> None:
        """Say what is lost, if anything is; once."""
        if not self._settings.tracking:
            return
        for why in dict.fromkeys(self.lost.values()):
            lost = [each for program in MODE.programs if self.lost.get(program.name) == why for each in program.loses]
            _log.warning("identity: not known: %s: %s", "; ".join(lost), why)

    def name(self, owner: Owner) -> str | None:
        """Whole name of the program behind a cut-off `comm`; empty: several share it; None: it was not noted.

        Raises:
            LookupError: Ask again in a moment.
        """
        key = (owner.cgroup_id, owner.comm)
        if key not in self._names and self._due("identity_names"):
            self._names = {
                (row.cgroup_id, _text(row.comm)): "" if noted.several else PurePosixPath(_text(noted.path)).name
                for row, noted in self._rows("identity_names")
            }
        elif key not in self._names and self._reads(EXEC):
            raise LookupError
        return self._names.get(key)

    def path(self, cgroup_id: int) -> PurePosixPath | None:
        """Path of a cgroup that was made while the agent ran; None: it was not noted."""
        if cgroup_id not in self._paths and self._due("identity_cgroups"):
            self._paths = {number: PurePosixPath(_text(noted.path)) for number, noted in self._rows("identity_cgroups")}
        return self._paths.get(cgroup_id)

    def execution(self, owner: Owner) -> Execution | None:
        """How a process was started: as noted, else as /proc tells; None where nobody asks for it, or neither knows."""
        key = (owner.tgid, owner.start_ns)
        if not self._settings.command_lines or not owner.tgid:
            return None
        if key not in self._executions and self._due("identity_execs"):
            self._executions = {
                (row.tgid, row.start_ns): Execution(
                    noted.vpid, _text(noted.path), self._redacted(bytes(noted.args)[: noted.args_len])
                )
                for row, noted in self._rows("identity_execs")
            }
        return self._executions.get(key) or self._started_before(owner)

    def close(self) -> None:
        """Detach and forget. Idempotent."""
        bpf, self._bpf = self._bpf, None
        self.held = ((), ())
        if bpf is not None:
            bpf.close()

    def _started_before(self, owner: Owner) -> Execution | None:
        key = (owner.tgid, owner.start_ns)
        if key not in self._running and (found := execution_of(self._host, owner, self._redacted)) is not None:
            if len(self._running) >= _MOST_RUNNING:
                self._running.clear()
            self._running[key] = found
        return self._running.get(key)

    def _redacted(self, arguments: bytes) -> str:
        line = " ".join(arguments.decode(errors="replace").rstrip("\0").split("\0"))
        for pattern in self._redact:
            line = pattern.sub(_hide, line)
        return line

    def _reads(self, program: Program) -> bool:
        return self._bpf is not None and program.name not in self.lost

    def _due(self, map_name: str) -> bool:
        now = self._clock()
        if self._bpf is None or now - self._read_s.get(map_name, float("-inf")) < _READ_EVERY_S:
            return False
        self._read_s[map_name] = now
        return True

    def _rows(self, map_name: str) -> list[tuple[Any, Any]]:
        try:
            return list(self._bpf.rows(map_name)) if self._bpf is not None else []
        except KernelError as error:
            _log.debug("identity: %s cannot be read: %s", map_name, error)
            return []


def _hide(found: "re.Match[str]") -> str:
    if not found.re.groups or found[1] is None:
        return REDACTED
    start, end = found.span(1)
    text = found.string
    return text[found.start() : start] + REDACTED + text[end : found.end()]


def _text(raw: bytes) -> str:
    return bytes(raw).partition(b"\0")[0].decode(errors="replace")
