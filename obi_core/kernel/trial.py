"""What a host allows: the words of `Mode.needs` and `KernelError.need`, each with its reason code and remedy.

The kernel decides by being asked (the runner and `obi doctor` load and attach for real); this module only says beforehand
what cannot work and how to change that.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from obi_core.errors import AttachError, HostError, KernelError, LoadError
from obi_core.host import Host
from obi_core.kernel.headers import bcc_package, find_headers
from obi_core.model import Reason

_TRACEFS_REMEDY: Final = "mount it as root: mount -t tracefs tracefs /sys/kernel/tracing"
_REMEDIES: Final[Mapping[str, tuple[Reason, str]]] = {
    "btf": (Reason.NO_BTF, "use a kernel built with CONFIG_DEBUG_INFO_BTF=y, so that /sys/kernel/btf/vmlinux is there"),
    "types": (
        Reason.NO_BTF,
        "use a kernel built with CONFIG_DEBUG_INFO_BTF=y, or give a BTF file of this kernel (--btf or kernel.btf)",
    ),
    "tracefs": (Reason.NO_TRACEFS, _TRACEFS_REMEDY),
    "cgroup2": (Reason.NO_CGROUP2, "mount it as root: mount -t cgroup2 none /sys/fs/cgroup/unified"),
    "bcc": (
        Reason.NO_BCC,
        "install the Debian package python3-bpfcc, and make the virtual environment with --system-site-packages",
    ),
}
"""What a mode may need of the host, beside capabilities and tracepoints."""
_FOUND_OUT: Final[Mapping[str, tuple[Reason, str]]] = {
    "headers": (Reason.NO_HEADERS, "install the package linux-headers-$(uname -r), or set BCC_KERNEL_SOURCE"),
    "btf_file": (Reason.BAD_BTF, "give a BTF file of this very kernel, as BTFHub keeps them, unpacked"),
    "object": (Reason.OBJECT_MISSING, "install the plugin's wheel again, or run `make bpf`"),
    "budget": (Reason.OVER_BUDGET, "raise budgets.map_memory, or ask for smaller maps"),
    "bpf": (Reason.BPF_FORBIDDEN, "let the container's seccomp profile allow bpf() (RuntimeDefault of containerd 2 does)"),
    "memlock": (Reason.MEMLOCK_LIMIT, "raise it (ulimit -l unlimited), or give the process CAP_SYS_RESOURCE"),
    "lockdown": (Reason.LOCKED_DOWN, "boot without lockdown=confidentiality; integrity is no hindrance"),
}
"""What only a load or attach finds missing."""
_KINDS: Final[Mapping[str, tuple[Reason, str]]] = {
    "cap": (Reason.MISSING_CAPABILITY, "run it as root, or give the process CAP_{name}"),
    "tp": (Reason.HOOK_MISSING, "use a kernel that has the tracepoint {name}"),
    "hook": (Reason.HOOK_MISSING, "use a kernel that has {name}"),
    "interface": (Reason.HOOK_MISSING, "name a network interface that is there"),
}
"""Needs with a name behind a colon."""


@dataclass(frozen=True, slots=True)
class Unmet:
    """Something that a mode needs and this host has not."""

    need: str
    """As the mode names it: `cap:bpf`."""
    reason: Reason
    remedy: str
    """The next step, one sentence."""


def unmet(needs: Iterable[str], host: Host) -> tuple[Unmet, ...]:
    """List what is missing, in the order of `needs`; empty: nothing that can be known without trying.

    Args:
        needs: `cap:NAME`, `btf`, `types`, `bcc`, `tracefs`, `cgroup2`, `tp:CATEGORY/EVENT`.
        host: This machine.

    Raises:
        ValueError: A need is none of those words.
    """
    return tuple(missing for need in needs if (missing := _look(need, host)) is not None)


def unknown_needs(needs: Iterable[str]) -> str:
    """Name the first need that is no word of ours, with those that are; empty if all are known."""
    for need in needs:
        kind, _, name = need.partition(":")
        if need not in _REMEDIES and not (kind in ("cap", "tp") and name):
            known = ", ".join(("cap:NAME", *_REMEDIES, "tp:CATEGORY/EVENT"))
            return f"{need!r}, which is no known word; known are: {known}"
    return ""


def reason_of(error: Exception) -> Reason:
    """Give the reason code of an error of load or attach."""
    if isinstance(error, KernelError) and error.need:
        return _told(error.need)[0]
    if isinstance(error, AttachError):
        return Reason.ATTACH_REFUSED
    return Reason.LOAD_REFUSED if isinstance(error, LoadError | HostError) else Reason.STEP_RAISED


def remedy_of(error: Exception) -> str:
    """Give the next step after an error of load or attach; empty if the error's own sentence is all there is to say."""
    return _told(error.need)[1] if isinstance(error, KernelError) and error.need else ""


def _told(need: str) -> tuple[Reason, str]:
    kind, _, name = need.partition(":")
    if need in _REMEDIES or need in _FOUND_OUT:
        return _REMEDIES.get(need) or _FOUND_OUT[need]
    reason, remedy = _KINDS[kind]
    return reason, remedy.format(name=name.upper() if kind == "cap" else name.replace("/", ":"))


def _look(need: str, host: Host) -> Unmet | None:
    kind, _, name = need.partition(":")
    if kind == "cap" and name:
        return None if host.has_capability(name) else Unmet(need, *_told(need))
    if kind == "tp" and name:
        return _look_for_tracepoint(need, name, host.tracefs())
    if unknown := unknown_needs((need,)):
        raise ValueError(f"a mode needs {unknown}")
    if need == "bcc":
        return _look_for_bcc(host)
    present = {"btf": host.btf, "types": host.types, "tracefs": host.tracefs, "cgroup2": host.cgroup2}[need]()
    return None if present is not None else Unmet(need, *_REMEDIES[need])


def _look_for_tracepoint(need: str, name: str, tracefs: Path | None) -> Unmet | None:
    if tracefs is None:
        return Unmet(need, Reason.NO_TRACEFS, _TRACEFS_REMEDY)
    if (tracefs / "events" / name).is_dir():
        return None
    return Unmet(need, *_told(need))


def _look_for_bcc(host: Host) -> Unmet | None:
    if bcc_package() is None:
        return Unmet("bcc", *_REMEDIES["bcc"])
    headers = find_headers(host)
    return None if headers.usable else Unmet("bcc", Reason.NO_HEADERS, headers.problem)
