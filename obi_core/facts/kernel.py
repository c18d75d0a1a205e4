"""The kernel: release, how it was configured, what guards it."""

import gzip
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from obi_core.facts.files import chosen, number, text
from obi_core.host import Host

OPTIONS: Final[Mapping[str, str]] = {
    "BPF_SYSCALL": "BPF at all",
    "BPF_JIT": "compiled programs",
    "BPF_EVENTS": "programs at tracepoints",
    "DEBUG_INFO_BTF": "CO-RE programs",
    "FTRACE_SYSCALLS": "tracepoints of single system calls",
    "KPROBES": "kprobes",
    "CGROUP_BPF": "programs at cgroups",
    "NET_CLS_BPF": "tc programs as filters",
    "NET_SCH_INGRESS": "tc programs as filters",
    "INET_DIAG": "TCP without BPF",
    "PSI": "pressure",
    "MEMCG": "memory limits",
    "IKHEADERS": "BCC without a package of headers",
}
"""Build options (without `CONFIG_`) that decide what OBI can do, and what each is for."""


@dataclass(frozen=True, slots=True)
class KernelFacts:
    """How this kernel was built and is set."""

    release: str
    machine: str
    config_source: str | None
    """File that the options were read from."""
    config: Mapping[str, str]
    """Of `OPTIONS`, by name without `CONFIG_`: `y`, `m` or `n`; empty if no file was found."""
    lockdown: str | None
    """`none`, `integrity` or `confidentiality`; None: this kernel has no lockdown, or securityfs is not mounted."""
    lsms: tuple[str, ...] | None
    """Active security modules, in order; None: securityfs is not mounted."""
    jit: int | None
    """net.core.bpf_jit_enable: 0 interpreted, 1 compiled, 2 compiled and printed; None: not ours to read."""
    unprivileged_bpf_disabled: int | None
    """kernel.unprivileged_bpf_disabled: 0, 1 or 2."""
    perf_event_paranoid: int | None
    """kernel.perf_event_paranoid; above 2 only with CAP_PERFMON."""
    clock_source: str | None


def kernel_facts(host: Host, boot: Path = Path("/boot")) -> KernelFacts:
    """Read them.

    Args:
        host: This node.
        boot: Where the distribution keeps `config-<release>`.
    """
    release, security = host.release(), host.sys / "kernel/security"
    source, config = _config(host, boot / f"config-{release}")
    lsms = text(security / "lsm")
    return KernelFacts(
        release=release,
        machine=platform.machine(),
        config_source=source,
        config=config,
        lockdown=chosen(security / "lockdown"),
        lsms=None if lsms is None else tuple(filter(None, lsms.split(","))),
        jit=number(host.proc / "sys/net/core/bpf_jit_enable"),
        unprivileged_bpf_disabled=number(host.proc / "sys/kernel/unprivileged_bpf_disabled"),
        perf_event_paranoid=number(host.proc / "sys/kernel/perf_event_paranoid"),
        clock_source=text(host.sys / "devices/system/clocksource/clocksource0/current_clocksource"),
    )


def _config(host: Host, packaged: Path) -> tuple[str | None, Mapping[str, str]]:
    running = host.proc / "config.gz"
    try:
        # EOFError and BadGzipFile: not what it should be, so as good as not there
        lines = gzip.decompress(running.read_bytes()).decode(errors="replace").splitlines()
        return str(running), _options(lines)
    except (OSError, EOFError):
        found = text(packaged)
    return (None, {}) if found is None else (str(packaged), _options(found.splitlines()))


def _options(lines: list[str]) -> Mapping[str, str]:
    given = dict(line.split("=", 1) for line in lines if line.startswith("CONFIG_") and "=" in line)
    return {name: given.get(f"CONFIG_{name}", "n") for name in OPTIONS}
