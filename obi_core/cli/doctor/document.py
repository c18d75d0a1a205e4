"""The doctor's JSON document, and its schema: docs/reference/doctor.md is made from it.

`python -m obi_core.cli.doctor.document > docs/reference/doctor.md`
"""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Final

from obi_core.cli.doctor.advice import Advice
from obi_core.cli.doctor.findings import Finding
from obi_core.cli.doctor.neighbours import Neighbour, Port
from obi_core.errors import HostError
from obi_core.facts import kernel_facts, mount_facts, place_facts, rights_facts
from obi_core.host import Host
from obi_core.kernel.headers import bcc_version, find_headers

SCHEMA: Final[tuple[tuple[str, str, str], ...]] = (
    ("status", "integer", "exit status: 0 all in full, 1 some degraded, 3 a required probe or every probe cannot run"),
    ("node.kernel", "text", "release"),
    ("node.machine", "text", "`uname -m`"),
    ("node.btf", "boolean", "whether the kernel has BTF of its own"),
    ("node.btf_file", "text or null", "the file that stands in for it (`--btf`)"),
    ("node.config_source", "text or null", "where the build options were read"),
    ("node.config", "mapping", "build options that matter, without `CONFIG_`: `y`, `m` or `n`"),
    ("node.lockdown", "text or null", "`none`, `integrity`, `confidentiality`"),
    ("node.lsms", "list or null", "active security modules; null: securityfs is not mounted"),
    ("node.jit", "integer or null", "net.core.bpf_jit_enable"),
    ("node.unprivileged_bpf_disabled", "integer or null", "kernel.unprivileged_bpf_disabled"),
    ("node.perf_event_paranoid", "integer or null", "kernel.perf_event_paranoid"),
    ("node.clock_source", "text or null", "what the kernel reads the time from"),
    ("node.uid", "integer or null", "effective user"),
    ("node.capabilities", "list", "effective capabilities, without prefix"),
    ("node.capabilities_bounding", "list", "those that can be had"),
    ("node.capabilities_ambient", "list", "those that survive an exec"),
    ("node.no_new_privileges", "boolean or null", ""),
    ("node.seccomp", "text or null", "`off`, `strict`, `filter`"),
    ("node.memlock", "integer or null", "bytes that may be locked; null: unlimited"),
    ("node.apparmor", "text or null", "profile; null: AppArmor is off"),
    ("node.selinux", "text or null", "mode and context; null: SELinux is off"),
    ("node.tracefs", "text", "mount point, empty if there is none"),
    ("node.tracefs_problem", "text", "why it could not be mounted, empty if it is there"),
    ("node.debugfs", "text or null", "mount point"),
    ("node.bpffs", "text or null", "mount point"),
    ("node.cgroup2", "text", "mount point, empty if there is none"),
    ("node.cgroup1", "mapping", "mount point by v1 controller"),
    ("node.memory_cgroup", "text", "`v1` or `v2`: by which containers are told apart"),
    ("node.container", "text or null", "runtime around this process"),
    ("node.kubernetes", "boolean", "whether this is a pod"),
    ("node.virtual_machine", "text or null", "hypervisor"),
    ("node.host_pids", "boolean", "whether all processes of the node are visible"),
    ("node.libbpf", "text or null", "version"),
    ("node.bcc", "text or null", "version"),
    ("node.headers", "text or null", "kernel headers that BCC would take"),
    ("node.headers_release", "text or null", "whose they are"),
    ("probes[].name", "text", "probe"),
    ("probes[].dist", "text", "distribution"),
    ("probes[].version", "text", "its version"),
    ("probes[].mode", "text or null", "the mode that `obi run` would take"),
    ("probes[].support", "text", "`full`, `degraded`, `none`"),
    ("probes[].loses", "list", "what that mode cannot give"),
    ("probes[].map_memory", "mapping or null", "bytes of its maps: `planned`, `asked`, `budget`, `maps` by name"),
    ("probes[].reasons", "list", "why better modes are refused, for people"),
    ("probes[].modes[].name", "text", "mode, best first"),
    ("probes[].modes[].ok", "boolean", "whether it was loaded and attached"),
    ("probes[].modes[].reason", "text", "code: docs/obi-troubleshooting.md has an entry for each"),
    ("probes[].modes[].detail", "text", "what is missing, for people"),
    ("probes[].modes[].remedy", "text", "the next step, empty if `detail` has it"),
    ("probes[].modes[].loses", "list", "what it cannot give"),
    ("probes[].modes[].refused[].program", "text", "a program that it works without"),
    ("probes[].modes[].refused[].reason", "text", "code"),
    ("probes[].modes[].refused[].detail", "text", "the kernel's answer"),
    ("probes[].modes[].refused[].remedy", "text", "the next step, if there is one"),
    ("neighbours[].name", "text", "another agent, or `unknown`"),
    ("neighbours[].processes", "list", "its processes"),
    ("neighbours[].programs[].id", "integer", "the kernel's number"),
    ("neighbours[].programs[].kind", "text", "type of program"),
    ("neighbours[].programs[].name", "text", ""),
    ("neighbours[].programs[].hook", "text", "raw tracepoint, empty if unknown"),
    ("ports[].setting", "text", "setting of a port that OBI listens on"),
    ("ports[].listen", "text", "address"),
    ("ports[].holder", "text or null", "who has it now"),
    ("advice[].reason", "text", "code: docs/obi-troubleshooting.md has an entry for each"),
    ("advice[].text", "text", "what was found"),
    ("advice[].remedy", "text", "what to do"),
)
"""Key, type, meaning; `[]` behind a key is a list of mappings."""

_HEAD: Final = """\
# `obi doctor --json`

Generated by `python -m obi_core.cli.doctor.document`; do not edit. Keys may be added; those that are here keep their meaning.

| key | type | meaning |
|---|---|---|
"""


def node(host: Host, tracefs_problem: str) -> dict[str, object]:
    """What this node has, JSON-ready."""
    kernel, rights, mounts = kernel_facts(host), rights_facts(host), mount_facts(host)
    place, headers = place_facts(host, os.environ), find_headers(host)
    facts = {**asdict(kernel), **asdict(mounts), **asdict(place), **asdict(rights)}
    for name in ("release", "effective", "bounding", "ambient"):
        facts.pop(name)
    return {
        "kernel": kernel.release,
        **facts,
        "btf": host.btf() is not None,
        "btf_file": None if host.btf_file is None else str(host.btf_file),
        "capabilities": list(rights.effective),
        "capabilities_bounding": list(rights.bounding),
        "capabilities_ambient": list(rights.ambient),
        "tracefs": mounts.tracefs or "",
        "tracefs_problem": tracefs_problem,
        "cgroup2": mounts.cgroup2 or "",
        "libbpf": _libbpf(),
        "bcc": bcc_version(),
        "headers": (str(headers.source) if headers.source else "kheaders") if headers.usable else None,
        "headers_release": headers.release or None,
    }


def document(
    status: int,
    facts: Mapping[str, object],
    found: Sequence[Finding],
    others: Sequence[Neighbour],
    ports: Sequence[Port],
    advice: Sequence[Advice],
) -> dict[str, object]:
    """All of it, JSON-ready."""
    return {
        "status": status,
        "node": facts,
        "probes": [finding.document() for finding in found],
        "neighbours": [other.document() for other in others],
        "ports": [port.document() for port in ports],
        "advice": [each.document() for each in advice],
    }


def reference() -> str:
    """The schema as a page."""
    return _HEAD + "".join(f"| `{key}` | {kind} | {meaning} |\n" for key, kind, meaning in SCHEMA)


def _libbpf() -> str | None:
    from obi_core.kernel.lib import libbpf_version  # its absence is a finding

    try:
        return libbpf_version()
    except HostError:
        return None


if __name__ == "__main__":
    sys.stdout.write(reference())
