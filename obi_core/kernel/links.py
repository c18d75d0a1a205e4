"""Attach a loaded program to the hook that its section names; closing the link detaches it."""

import ctypes
import errno
import fcntl
import os
import platform
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from obi_core.errors import AttachError
from obi_core.kernel.interfaces import DIRECTIONS, attach_filter, attach_tcx, index_of
from obi_core.kernel.lib import libbpf
from obi_core.kernel.linked import is_attached

_BPF_PERF_EVENT: Final = 41
"""`enum bpf_attach_type`."""
_PERF_TYPE_TRACEPOINT: Final = 2
_PERF_FLAG_FD_CLOEXEC: Final = 8
_PERF_EVENT_IOC_ENABLE: Final = 0x2400
_PERF_EVENT_IOC_SET_BPF: Final = 0x40042408
_PERF_EVENT_OPEN: Final = {"x86_64": 298, "aarch64": 241}
_PERF_ATTR_BYTES: Final = 64
"""`PERF_ATTR_SIZE_VER0`: every kernel takes it."""
_BY_BTF: Final = ("tp_btf", "fentry", "fexit", "fmod_ret", "lsm")
_CGROUP: Final = ("cgroup", "cgroup_skb", "sockops")


class Link(Protocol):
    """One attachment of one program; ends it when closed. May be closed from any thread."""

    @property
    def attached(self) -> bool:
        """Whether the program is still attached, as far as the kernel tells."""

    def close(self) -> None:
        """Detach."""


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A link that is a descriptor: closing it detaches."""

    fd: int

    @property
    def attached(self) -> bool:
        """Whether the kernel still has the program attached by it."""
        return is_attached(self.fd)

    def close(self) -> None:
        """Close it; once, by its owner."""
        os.close(self.fd)


@dataclass(frozen=True, slots=True)
class Hooks:
    """Where programs attach on this host."""

    tracefs: Path | None = None
    """Mount point of tracefs, for `tp/…`."""
    cgroup2: Path | None = None
    """cgroup v2 directory whose processes `cgroup…` and `sockops` programs see."""
    tcx: bool = True
    """Whether to ask for a link of the kernel's at an interface before a filter."""
    disciplines: set[int] = field(default_factory=set)
    """Interfaces that got a queueing discipline for our filters."""
    lacking: Callable[[str], str] | None = None
    """Names the capability that a program of a section takes and this process has not; empty if there is none."""

    def attach(self, program: str, section: str, fd: int, to: str = "") -> Link:
        """Attach a program and give its link.

        Args:
            program: C function name.
            section: ELF section, which names the hook.
            fd: Program descriptor; stays the caller's.
            to: Where, for programs whose section does not say: `eth0:ingress` or `eth0:egress` for `tc`; for `tp` another
                tracepoint than the section's (`syscalls/sys_exit_dup`), whose context the program takes likewise.

        Returns:
            The link, which the caller owns.

        Raises:
            AttachError: The hook is missing or the kernel refused; `need` names what is missing, if that is known.
        """
        try:
            return self._attach(program, section, fd, to)
        except AttachError as error:
            denied = error.errno in (errno.EPERM, errno.EACCES) and not error.need
            if denied and self.lacking is not None and (name := self.lacking(section)):
                message = f"{error.message}: CAP_{name.upper()} is missing"
                raise AttachError(message, program=program, section=section, errno=error.errno, need=f"cap:{name}") from error
            raise

    def _attach(self, program: str, section: str, fd: int, to: str) -> Link:
        kind, _, target = section.partition("/")
        kind = kind.removesuffix(".s")
        if kind == "tc":
            return self._interface(program, section, fd, to)
        if kind in _BY_BTF:
            message = "the kernel would not attach it"
            return Descriptor(_checked(libbpf().bpf_raw_tracepoint_open(None, fd), program, section, message))
        if kind in ("raw_tp", "raw_tracepoint"):
            return Descriptor(_raw_tracepoint(program, section, target, fd))
        if kind in ("tp", "tracepoint"):
            return Descriptor(self._tracepoint(program, section, to or target, fd))
        if kind in _CGROUP:
            return Descriptor(self._cgroup(program, section, fd))
        raise AttachError("OBI cannot attach programs of this section", program=program, section=section, errno=errno.EINVAL)

    def _interface(self, program: str, section: str, fd: int, to: str) -> Link:
        interface, _, direction = to.rpartition(":")
        if not interface or direction not in DIRECTIONS:
            message = f"a tc program is attached to INTERFACE:ingress or INTERFACE:egress, not to {to!r}"
            raise AttachError(message, program=program, section=section, errno=errno.EINVAL)
        index = index_of(program, section, interface)
        if self.tcx and (link := attach_tcx(program, section, fd, index, direction)) is not None:
            return Descriptor(link)
        return attach_filter(program, section, fd, index, direction, self.disciplines)

    def _tracepoint(self, program: str, section: str, target: str, fd: int) -> int:
        if self.tracefs is None:
            message = "tracefs is not mounted: mount -t tracefs tracefs /sys/kernel/tracing"
            raise AttachError(message, program=program, section=section, errno=errno.ENOENT, need="tracefs")
        number = self.tracefs / "events" / target / "id"
        try:
            event = int(number.read_text())
        except OSError as error:
            message = f"this kernel has no tracepoint {target}" if error.errno == errno.ENOENT else f"{number} cannot be read"
            need = f"tp:{target}" if error.errno == errno.ENOENT else ""
            raise AttachError(message, program=program, section=section, errno=error.errno or 0, need=need) from error
        perf = _checked(_open_event(event), program, section, f"the tracepoint {target} cannot be opened")
        link = libbpf().bpf_link_create(fd, perf, _BPF_PERF_EVENT, None)
        try:
            if link < 0:
                # Before 5.15 a perf event takes no link: the program goes with the event's own descriptor.
                fcntl.ioctl(perf, _PERF_EVENT_IOC_SET_BPF, fd)
            fcntl.ioctl(perf, _PERF_EVENT_IOC_ENABLE, 0)
        except OSError as error:
            _close(link, perf)
            message = f"the kernel would not attach it to tracepoint {target}"
            raise AttachError(message, program=program, section=section, errno=error.errno or 0) from error
        if link < 0:
            return perf
        os.close(perf)
        return int(link)

    def _cgroup(self, program: str, section: str, fd: int) -> int:
        kind = ctypes.c_int()
        _checked(
            libbpf().libbpf_attach_type_by_name(section.encode(), ctypes.byref(kind)),
            program,
            section,
            "libbpf does not know this section",
        )
        if self.cgroup2 is None:
            message = "no cgroup v2 hierarchy is mounted: mount -t cgroup2 none /sys/fs/cgroup/unified"
            raise AttachError(message, program=program, section=section, errno=errno.ENOENT, need="cgroup2")
        try:
            directory = os.open(self.cgroup2, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            message = f"the cgroup {self.cgroup2} cannot be opened"
            raise AttachError(message, program=program, section=section, errno=error.errno or 0, need="cgroup2") from error
        try:
            link = libbpf().bpf_link_create(fd, directory, kind.value, None)
        finally:
            os.close(directory)
        return _checked(link, program, section, f"the kernel would not attach it to cgroup {self.cgroup2}")


def _raw_tracepoint(program: str, section: str, target: str, fd: int) -> int:
    link = libbpf().bpf_raw_tracepoint_open(target.encode(), fd)
    if link == -errno.ENOENT:
        message = f"this kernel has no tracepoint {target}"
        raise AttachError(message, program=program, section=section, errno=errno.ENOENT, need=f"hook:{target}")
    return _checked(link, program, section, f"the kernel would not attach it to tracepoint {target}")


def _open_event(event: int) -> int:
    """Open a tracepoint as a perf event. One CPU is enough: the program runs on all, whatever the event itself counts."""
    number = _PERF_EVENT_OPEN.get(platform.machine())
    if number is None:
        return -errno.ENOSYS
    attributes = struct.pack("<IIQQ", _PERF_TYPE_TRACEPOINT, _PERF_ATTR_BYTES, event, 0).ljust(_PERF_ATTR_BYTES, b"\0")
    syscall = ctypes.CDLL(None, use_errno=True).syscall
    syscall.restype = ctypes.c_long
    every_pid, first_cpu, no_group, flags = -1, 0, -1, _PERF_FLAG_FD_CLOEXEC
    opened: int = syscall(
        ctypes.c_long(number),
        attributes,
        ctypes.c_int(every_pid),
        ctypes.c_int(first_cpu),
        ctypes.c_int(no_group),
        ctypes.c_ulong(flags),
    )
    return opened if opened >= 0 else -ctypes.get_errno()


def _checked(result: int, program: str, section: str, message: str) -> int:
    if result < 0:
        raise AttachError(message, program=program, section=section, errno=-result)
    return result


def _close(*descriptors: int) -> None:
    for descriptor in descriptors:
        if descriptor >= 0:
            os.close(descriptor)
