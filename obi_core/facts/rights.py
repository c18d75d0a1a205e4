"""What this process may do: capabilities, seccomp, locked memory, security modules."""

from dataclasses import dataclass
from typing import Final

from obi_core.facts.files import chosen, fields, number, text
from obi_core.host import Host, capability_names

_SECCOMP: Final = {"0": "off", "1": "strict", "2": "filter"}
_MEMLOCK: Final = "Max locked memory"


@dataclass(frozen=True, slots=True)
class RightsFacts:
    """What the kernel lets this process do."""

    uid: int | None
    """Effective user id."""
    effective: tuple[str, ...]
    """Capabilities it has: lower case, without prefix, sorted."""
    bounding: tuple[str, ...]
    """Capabilities that it and what it starts can ever get."""
    ambient: tuple[str, ...]
    """Capabilities that survive an exec without being root."""
    no_new_privileges: bool | None
    seccomp: str | None
    """`off`, `strict` or `filter`."""
    memlock: int | None
    """Bytes that may be locked (soft limit); None: as many as it likes, or unknown."""
    apparmor: str | None
    """Profile and mode (`cri-containerd.apparmor.d (enforce)`); None: AppArmor is not on."""
    selinux: str | None
    """`enforcing` or `permissive`, and our context; None: SELinux is not on."""


def rights_facts(host: Host) -> RightsFacts:
    """Read them."""
    status = fields(host.proc / "self/status")

    def capabilities(name: str) -> tuple[str, ...]:
        return tuple(sorted(capability_names(int(status.get(name) or "0", 16))))

    uids = status.get("Uid", "").split()
    forbidden = status.get("NoNewPrivs")
    return RightsFacts(
        uid=int(uids[1]) if len(uids) > 1 else None,
        effective=capabilities("CapEff"),
        bounding=capabilities("CapBnd"),
        ambient=capabilities("CapAmb"),
        no_new_privileges=None if forbidden is None else forbidden == "1",
        seccomp=_SECCOMP.get(status.get("Seccomp", "")),
        memlock=_memlock(host),
        apparmor=_apparmor(host),
        selinux=_selinux(host),
    )


def _memlock(host: Host) -> int | None:
    for line in (text(host.proc / "self/limits") or "").splitlines():
        if line.startswith(_MEMLOCK):
            soft = line.removeprefix(_MEMLOCK).split()[0]
            return int(soft) if soft.isdigit() else None
    return None


def _apparmor(host: Host) -> str | None:
    if text(host.sys / "module/apparmor/parameters/enabled") != "Y":
        return None
    own = text(host.proc / "self/attr/apparmor/current")
    return own or text(host.proc / "self/attr/current") or "unconfined"


def _selinux(host: Host) -> str | None:
    enforcing = number(host.sys / "fs/selinux/enforce")
    if enforcing is None:
        return None
    context = (chosen(host.proc / "self/attr/current") or "").strip("\0")
    return f"{'enforcing' if enforcing else 'permissive'}{context and f' ({context})'}"
