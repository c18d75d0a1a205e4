"""Where this process runs: on a machine, in a virtual machine, in a container, in a pod."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from obi_core.facts.files import text
from obi_core.host import Host

_RUNTIMES: Final = (("run/.containerenv", "podman"), (".dockerenv", "docker"))
"""Files that a runtime leaves at the root of a container."""
_PATHS: Final = (("/kubepods", "kubernetes"), ("/docker", "docker"), ("/libpod", "podman"), ("/lxc", "lxc"))
_VENDORS: Final = (
    ("QEMU", "qemu"),
    ("KVM", "kvm"),
    ("VMware", "vmware"),
    ("VirtualBox", "virtualbox"),
    ("innotek", "virtualbox"),
    ("Microsoft Corporation Virtual", "hyper-v"),
    ("Amazon EC2", "kvm"),
    ("Google", "kvm"),
    ("Xen", "xen"),
    ("Parallels", "parallels"),
)
"""In the words of the firmware: /sys/class/dmi/id."""


@dataclass(frozen=True, slots=True)
class PlaceFacts:
    """What is around this process."""

    container: str | None
    """Runtime, as far as it can be told (`docker`, `podman`, `kubernetes`, `container`); None: no container."""
    kubernetes: bool
    """Whether it runs in a pod."""
    virtual_machine: str | None
    """Hypervisor, `unknown` if it does not say; None: none that shows."""
    host_pids: bool
    """Whether it sees the node's processes: else it cannot name who caused what in other containers."""


def place_facts(host: Host, environ: Mapping[str, str], root: Path = Path("/")) -> PlaceFacts:
    """Read them.

    Args:
        host: This node.
        environ: The environment.
        root: The root directory.
    """
    pod = "KUBERNETES_SERVICE_HOST" in environ
    return PlaceFacts(
        container=_container(host, environ, root, pod=pod),
        kubernetes=pod,
        virtual_machine=_virtual_machine(host),
        host_pids=_host_pids(host),
    )


def _container(host: Host, environ: Mapping[str, str], root: Path, *, pod: bool) -> str | None:
    if pod:
        return "kubernetes"
    for file, runtime in _RUNTIMES:
        if (root / file).exists():
            return runtime
    if environ.get("container"):
        return environ["container"]
    own = text(host.proc / "self/cgroup") or ""
    return next((runtime for part, runtime in _PATHS if part in own), None)


def _virtual_machine(host: Host) -> str | None:
    firmware = host.sys / "class/dmi/id"
    words = " ".join(text(firmware / name) or "" for name in ("sys_vendor", "product_name", "bios_vendor"))
    named = next((vm for vendor, vm in _VENDORS if vendor in words), None)
    if named or (named := text(host.sys / "hypervisor/type")):
        return named
    flags = next((line for line in (text(host.proc / "cpuinfo") or "").splitlines() if line.startswith("flags")), "")
    return "unknown" if "hypervisor" in flags.split() else None


def _host_pids(host: Host) -> bool:
    """Kernel threads live in the first pid namespace only: the second process there is kthreadd."""
    return text(host.proc / "2/comm") == "kthreadd"
