"""What a host allows: the words of `Mode.needs`, and the reason behind an error.

The kernel decides by being asked (the runner and `obi doctor` load and attach for real); this module only says beforehand
what cannot work and how to change that.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from obi_core.errors import AttachError, HostError, KernelError, LoadError
from obi_core.host import Host
from obi_core.model import Reason

_TRACEFS_REMEDY: Final = "mount it as root: mount -t tracefs tracefs /sys/kernel/tracing"
_REMEDIES: Final[Mapping[str, tuple[Reason, str]]] = {
    "btf": (Reason.NO_BTF, "use a kernel built with CONFIG_DEBUG_INFO_BTF=y, so that /sys/kernel/btf/vmlinux is there"),
    "tracefs": (Reason.NO_TRACEFS, _TRACEFS_REMEDY),
    "cgroup2": (Reason.NO_CGROUP2, "mount it as root: mount -t cgroup2 none /sys/fs/cgroup/unified"),
}


_REASONS: Final[Mapping[str, Reason]] = {
    "cap": Reason.MISSING_CAPABILITY,
    "tp": Reason.HOOK_MISSING,
    "hook": Reason.HOOK_MISSING,
    "interface": Reason.HOOK_MISSING,
    "object": Reason.OBJECT_MISSING,
    "budget": Reason.OVER_BUDGET,
    **{need: reason for need, (reason, _) in _REMEDIES.items()},
}
"""By the first word of `KernelError.need`."""


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
        needs: `cap:NAME`, `btf`, `tracefs`, `cgroup2`, `tp:CATEGORY/EVENT`.
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
        return _REASONS[error.need.partition(":")[0]]
    if isinstance(error, AttachError):
        return Reason.ATTACH_REFUSED
    return Reason.LOAD_REFUSED if isinstance(error, LoadError | HostError) else Reason.STEP_RAISED


def _look(need: str, host: Host) -> Unmet | None:
    kind, _, name = need.partition(":")
    if kind == "cap" and name:
        if host.has_capability(name):
            return None
        return Unmet(need, Reason.MISSING_CAPABILITY, f"run it as root, or give the process CAP_{name.upper()}")
    if kind == "tp" and name:
        return _look_for_tracepoint(need, name, host.tracefs())
    if unknown := unknown_needs((need,)):
        raise ValueError(f"a mode needs {unknown}")
    present = {"btf": host.btf, "tracefs": host.tracefs, "cgroup2": host.cgroup2}[need]()
    return None if present is not None else Unmet(need, *_REMEDIES[need])


def _look_for_tracepoint(need: str, name: str, tracefs: Path | None) -> Unmet | None:
    if tracefs is None:
        return Unmet(need, Reason.NO_TRACEFS, _TRACEFS_REMEDY)
    if (tracefs / "events" / name).is_dir():
        return None
    return Unmet(need, Reason.HOOK_MISSING, f"use a kernel that has the tracepoint {name.replace('/', ':')}")
