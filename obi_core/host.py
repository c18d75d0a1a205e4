"""Read-only facts of this node. Everything is read when asked for; `proc` and `sys` are injectable.

Nothing here changes the node, and nothing raises because a file is missing: what cannot be read is not there.
"""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_CAPABILITIES: Final = (  # noqa: SIM905 - forty lines otherwise
    "chown dac_override dac_read_search fowner fsetid kill setgid setuid setpcap linux_immutable "
    "net_bind_service net_broadcast net_admin net_raw ipc_lock ipc_owner sys_module sys_rawio sys_chroot "
    "sys_ptrace sys_pacct sys_admin sys_boot sys_nice sys_resource sys_time sys_tty_config mknod lease "
    "audit_write audit_control setfcap mac_override mac_admin syslog wake_alarm block_suspend audit_read "
    "perfmon bpf checkpoint_restore"
).split()
"""By bit number, from 0: include/uapi/linux/capability.h."""
_STANDS_IN: Final[Mapping[str, str]] = {
    "bpf": "sys_admin",
    "perfmon": "sys_admin",
    "syslog": "sys_admin",
    "checkpoint_restore": "sys_admin",
}
"""Split off CAP_SYS_ADMIN (5.8, 5.8, 2.6.37, 5.9), which still grants them."""
_TCP_LISTEN: Final = "0A"
_OWN_START: Final = 22
"""Field of /proc/<pid>/stat with the start time, from 1 (proc(5))."""


@dataclass(frozen=True, slots=True)
class Mount:
    """One mounted file system."""

    directory: Path
    kind: str
    """As mount(8) names it: `cgroup2`, `tracefs`."""
    options: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Host:
    """What this node is and allows."""

    proc: Path = Path("/proc")
    sys: Path = Path("/sys")
    btf_file: Path | None = None
    """BTF of this kernel from elsewhere, for a kernel without its own."""

    def capabilities(self) -> frozenset[str]:
        """Effective capabilities of this process: lower case, without prefix."""
        return capability_names(int(_field(self.proc / "self/status", "CapEff:") or "0", 16))

    def has_capability(self, name: str) -> bool:
        """Whether this process has a capability, or the older one that includes it."""
        return not {name, _STANDS_IN.get(name, name)}.isdisjoint(self.capabilities())

    def btf(self) -> Path | None:
        """The kernel's own BTF; None on a kernel built without it (5.4 and later may have it)."""
        path = self.sys / "kernel/btf/vmlinux"
        return path if path.is_file() else None

    def types(self) -> Path | None:
        """Whatever describes the kernel's types: its own BTF, or else the file that stands in for it."""
        return self.btf() or self.btf_file

    def tracefs(self) -> Path | None:
        """Where tracefs can be read; None if it is not mounted, or not for us."""
        for mount in self.mounts():
            if mount.kind == "tracefs" and os.access(mount.directory / "events", os.R_OK | os.X_OK):
                return mount.directory
        return None

    def cgroup2(self) -> Path | None:
        """Where cgroup v2 is mounted (`/sys/fs/cgroup`, or `…/unified` on a hybrid node)."""
        return next((mount.directory for mount in self.mounts() if mount.kind == "cgroup2"), None)

    def memory_cgroup_v1(self) -> bool:
        """Whether the memory controller is a v1 one: then all tasks share one v2 cgroup and the v1 id says who is who."""
        for line in _lines(self.proc / "cgroups"):
            name, _, rest = line.partition("\t")
            if name == "memory":
                # hierarchy 0 is v2's
                return rest.split("\t")[0] != "0"
        return False

    def mounts(self) -> Iterator[Mount]:
        """What is mounted where, in our mount namespace."""
        for line in _lines(self.proc / "self/mounts"):
            columns = line.split()
            if len(columns) > 3:  # noqa: PLR2004 - source, directory, type, options
                yield Mount(Path(columns[1].replace("\\040", " ")), columns[2], tuple(columns[3].split(",")))

    def release(self) -> str:
        """Kernel release, as `uname -r` gives it."""
        return _text(self.proc / "sys/kernel/osrelease").strip()

    def possible_cpus(self) -> int:
        """CPUs that may ever be online: for so many the kernel keeps per-CPU values. At least 1."""
        ranges = _text(self.sys / "devices/system/cpu/possible").strip().split(",")
        bounds = [each.split("-") for each in ranges if each]
        return sum(int(each[-1]) - int(each[0]) + 1 for each in bounds) or os.cpu_count() or 1

    def boot_epoch_ns(self) -> int:
        """Realtime clock at boot, ns: a boot-clock time plus this is a realtime one.

        Taken fresh at each call, since the realtime clock may be set.
        """
        return time.clock_gettime_ns(time.CLOCK_REALTIME) - time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    def process_start_ticks(self, pid: int) -> int | None:
        """Start of a process after boot in clock ticks (`SC_CLK_TCK` a second, boot clock); None if it is gone."""
        # comm may hold spaces and parentheses: count from the last one
        rest = _text(self.proc / str(pid) / "stat").rpartition(")")[2].split()
        return int(rest[_OWN_START - 3]) if len(rest) > _OWN_START - 3 else None

    def processes_named(self, comm: str) -> Iterator[int]:
        """Ids of running processes of this `comm`."""
        for pid in self._processes():
            if _text(self.proc / str(pid) / "comm").removesuffix("\n") == comm:
                yield pid

    def process_names(self) -> dict[int, str]:
        """`comm` of every process we can see, by id."""
        return {pid: _text(self.proc / str(pid) / "comm").removesuffix("\n") for pid in self._processes()}

    def port_holder(self, port: int) -> str | None:
        """Who listens on a TCP port of our network namespace: `nginx (pid 12)`; None if nobody we can see does."""
        inodes = {inode for name in ("tcp", "tcp6") for inode in self._listeners(name, port)}
        if not inodes:
            return None
        for process in sorted(self._processes()):
            if any(target in inodes for target in _links(self.proc / str(process) / "fd")):
                return f"{_text(self.proc / str(process) / 'comm').strip()} (pid {process})"
        return None

    def _listeners(self, name: str, port: int) -> Iterator[str]:
        for line in _lines(self.proc / "net" / name)[1:]:
            columns = line.split()
            if columns[3] == _TCP_LISTEN and int(columns[1].rpartition(":")[2], 16) == port:
                yield f"socket:[{columns[9]}]"

    def _processes(self) -> Iterator[int]:
        try:
            yield from (int(path.name) for path in self.proc.iterdir() if path.name.isdigit())
        except OSError:
            return


def capability_names(mask: int) -> frozenset[str]:
    """Read a set of capabilities as /proc/<pid>/status writes it."""
    return frozenset(name for bit, name in enumerate(_CAPABILITIES) if mask >> bit & 1)


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _links(directory: Path) -> Iterator[str]:
    # The process may be gone, not ours to look at, or closing descriptors while we read.
    with suppress(OSError):
        for path in directory.iterdir():
            with suppress(OSError):
                yield str(path.readlink())


def _lines(path: Path) -> list[str]:
    return _text(path).splitlines()


def _field(path: Path, name: str) -> str | None:
    return next((line.removeprefix(name).strip() for line in _lines(path) if line.startswith(name)), None)
