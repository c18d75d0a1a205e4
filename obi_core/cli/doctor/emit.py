"""The least that the enabled plugins need, for manifests: from the needs of their modes and the kinds of their programs.

It depends on what is enabled and not on the node that it is printed on: any mode may be the one that another node takes.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from obi_core.errors import LoadError
from obi_core.kernel.sections import capabilities_of, kind_of
from obi_core.kernel.shipped import Shipped
from obi_core.model import Mode
from obi_core.probe import Probe
from obi_core.runtime.registry import discover
from obi_core.settings import Settings

_TRACEPOINTS: Final = ("tp", "tracepoint")
_MOUNTS: Final = {
    "cgroup": ("/sys/fs/cgroup", True),
    "tracefs": ("/sys/kernel/tracing", True),
    "modules": ("/lib/modules", True),
    "headers": ("/usr/src", True),
}
"""By volume name: path on the node, and whether read-only does."""


@dataclass(frozen=True, slots=True)
class Needed:
    """What the pod must be given."""

    capabilities: frozenset[str]
    """Without prefix, lower case."""
    mounts: frozenset[str]
    """Names of `_MOUNTS`."""


def needed(settings: Settings) -> Needed:
    """Collect what any mode of any enabled plugin needs.

    Raises:
        ConfigError: The list names a plugin that is not installed, or a section is wrong.
    """
    capabilities: set[str] = set()
    # who is who is told by control groups, whatever runs
    mounts = {"cgroup"}
    for plugin in discover(settings.core.agent.plugins):
        if plugin.probe is None:
            continue
        for mode in plugin.probe.modes_for(settings.probe(plugin.name, plugin.probe.settings_type)):
            sections = tuple(_sections(plugin.probe, mode))
            words = {need.partition(":")[0] for need in mode.needs}
            capabilities.update(need.removeprefix("cap:") for need in mode.needs if need.startswith("cap:"))
            capabilities.update(name for section in sections for name in capabilities_of(section))
            if words & {"tracefs", "tp"} or any(kind_of(section) in _TRACEPOINTS for section in sections):
                mounts.add("tracefs")
            if "bcc" in words:
                mounts |= {"modules", "headers"}
    return Needed(frozenset(capabilities), frozenset(mounts))


def emitted(what: str, all_of_it: Needed) -> list[str]:
    """Write it as a manifest wants it."""
    return list({"capabilities": _capabilities, "security-context": _security_context, "mounts": _mounts}[what](all_of_it))


def _capabilities(all_of_it: Needed) -> Iterator[str]:
    yield from sorted(name.upper() for name in all_of_it.capabilities)


def _security_context(all_of_it: Needed) -> Iterator[str]:
    # uid 0: tracefs and the maps of processes are root's; a node before 5.11 also wants SYS_RESOURCE, before 5.8 privileged
    yield from _list("capabilities:", ("  drop:", ["ALL"]), ("  add:", _capabilities(all_of_it)))
    yield "runAsUser: 0"
    yield "runAsNonRoot: false"
    yield "privileged: false"
    yield "allowPrivilegeEscalation: false"
    yield "readOnlyRootFilesystem: true"
    yield "seccompProfile:"
    yield "  type: RuntimeDefault"


def _mounts(all_of_it: Needed) -> Iterator[str]:
    yield "volumeMounts:"
    for name in sorted(all_of_it.mounts):
        path, read_only = _MOUNTS[name]
        yield f"  - name: {name}"
        yield f"    mountPath: {path}"
        yield f"    readOnly: {str(read_only).lower()}"
    yield "volumes:"
    for name in sorted(all_of_it.mounts):
        yield f"  - name: {name}"
        yield "    hostPath:"
        yield f"      path: {_MOUNTS[name][0]}"


def _list(head: str, *parts: tuple[str, Iterable[str]]) -> Iterator[str]:
    yield head
    for name, items in parts:
        yield name
        yield from (f"    - {item}" for item in items)


def _sections(probe: type[Probe], mode: Mode) -> Iterator[str]:
    """Sections of a mode's programs, as its object has them; nothing if it was not built."""
    if not mode.programs:
        return
    try:
        programs = Shipped.read(probe.__module__.rpartition(".")[0], probe.name).elf.programs
    except LoadError:
        return
    yield from (programs[program.name].section for program in mode.programs if program.name in programs)
