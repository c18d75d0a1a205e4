"""Other agents that use the kernel as OBI does, known by their processes and their programs; and who holds our ports."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from obi_core.host import Host
from obi_core.kernel.census import Installed
from obi_core.settings import Settings


@dataclass(frozen=True, slots=True)
class Agent:
    """How another agent is known."""

    name: str
    processes: tuple[str, ...]
    """Names of processes (`comm`, at most 15 characters)."""
    programs: tuple[str, ...]
    """Beginnings of the names of its programs."""


AGENTS: Final = (
    Agent("Calico", ("calico-node",), ("cali_", "calico_")),
    Agent("Cilium", ("cilium-agent",), ("cil_", "tail_handle_", "tail_nodeport_")),
    Agent("Coroot node agent", ("coroot-node-age",), ()),
    Agent("Datadog system-probe", ("system-probe",), ()),
    Agent("Falco", ("falco",), ("sys_enter_", "sched_proc_")),
    Agent("Inspektor Gadget", ("ig", "gadgettracerman"), ("ig_",)),
    Agent("Kepler", ("kepler",), ("kepler_",)),
    Agent("NetObserv", ("netobserv-ebpf-",), ("ingress_flow_pa", "egress_flow_par", "tcx_ingress_flo", "tcx_egress_flow")),
    Agent(
        "OpenTelemetry eBPF Instrumentation", ("ebpf-instrument", "beyla", "otel-ebpf-instr"), ("obi_kprobe_", "obi_uprobe_")
    ),
    Agent("Parca agent", ("parca-agent",), ()),
    Agent("Pixie", ("pem", "vizier-pem"), ()),
    Agent("Retina", ("retina-agent", "controller-retin"), ("retina_",)),
    Agent("Tetragon", ("tetragon",), ("generic_kprobe_", "generic_tracepo", "event_execve", "event_exit")),
    Agent("Tracee", ("tracee", "tracee-ebpf"), ("tracepoint__raw", "trace_cgroup_")),
    Agent("bpftrace", ("bpftrace",), ()),
    Agent("ebpf_exporter", ("ebpf_exporter",), ()),
)
"""As their sources name them; a process or a program that is named so is enough."""
SELF: Final = "OBI"
"""Name for another OBI."""
UNKNOWN: Final = "unknown"
"""Name for programs of nobody we know."""
SHARED_KINDS: Final = frozenset(
    {"cgroup_skb", "cgroup_sock", "cgroup_sock_addr", "raw_tracepoint", "sockops", "tc", "tracepoint", "tracing", "xdp"}
)
"""Kinds of program that meet OBI's at a hook."""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """Another agent that was found."""

    name: str
    processes: tuple[str, ...]
    """`falco (pid 12)`."""
    programs: tuple[Installed, ...]

    def document(self) -> dict[str, object]:
        """JSON-ready."""
        programs = [{"id": each.id, "kind": each.kind, "name": each.name, "hook": each.hook} for each in self.programs]
        return {"name": self.name, "processes": list(self.processes), "programs": programs}


@dataclass(frozen=True, slots=True)
class Port:
    """A port that OBI listens on."""

    setting: str
    """`metrics.listen`."""
    listen: str
    """`127.0.0.1:9090`."""
    holder: str | None
    """Who has it now: `nginx (pid 12)`; None: nobody that we can see."""

    def document(self) -> dict[str, object]:
        """JSON-ready."""
        return {"setting": self.setting, "listen": self.listen, "holder": self.holder}


def neighbours(host: Host, programs: Sequence[Installed], names: frozenset[str] = frozenset()) -> list[Neighbour]:
    """Find other agents.

    Args:
        host: This node.
        programs: What is in the kernel.
        names: Of our own programs: whoever has them loaded is another OBI.
    """
    processes = host.process_names()
    ours = tuple(each for each in programs if each.name in names)
    result = [Neighbour(SELF, (), ours)] if ours else []
    claimed = {each.id for each in ours}
    for agent in AGENTS:
        running = tuple(f"{comm} (pid {pid})" for pid, comm in sorted(processes.items()) if comm in agent.processes)
        theirs = tuple(each for each in programs if agent.programs and each.name.startswith(agent.programs))
        claimed |= {each.id for each in theirs}
        if running or theirs:
            result.append(Neighbour(agent.name, running, theirs))
    rest = tuple(each for each in programs if each.id not in claimed and each.kind in SHARED_KINDS)
    return [*result, Neighbour(UNKNOWN, (), rest)] if rest else result


def ports(settings: Settings, host: Host) -> list[Port]:
    """Say who holds the ports that OBI would listen on."""
    core = settings.core
    listened = [
        ("http.listen", core.http.listen),
        *([("metrics.listen", core.metrics.listen)] if core.metrics.enabled else []),
    ]
    return [Port(name, str(listen), host.port_holder(listen.port) if listen.port else None) for name, listen in listened]
