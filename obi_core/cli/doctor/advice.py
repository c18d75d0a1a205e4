"""What is worth changing on a node though every probe may run, each with a code, a sentence and the remedy."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from obi_core.cli.doctor.neighbours import UNKNOWN, Neighbour, Port


class Code(Enum):
    """A fixed set, as `model.Reason` is."""

    JIT_OFF = "jit_off"
    LOCKDOWN = "lockdown_confidentiality"
    SECCOMP = "seccomp_filter"
    CGROUP_HYBRID = "cgroup_hybrid"
    OWN_PIDS = "own_pids_only"
    SLOW_CLOCK = "slow_clock"
    OTHER_AGENT = "other_agent"
    OTHER_PROGRAMS = "other_programs"
    PORT_TAKEN = "port_taken"


@dataclass(frozen=True, slots=True)
class Advice:
    """One thing worth knowing."""

    code: Code
    text: str
    remedy: str

    def document(self) -> dict[str, object]:
        """JSON-ready."""
        return {"reason": self.code.value, "text": self.text, "remedy": self.remedy}


def advise(facts: Mapping[str, object], others: Sequence[Neighbour], ports: Sequence[Port]) -> list[Advice]:
    """Look at what was found.

    Args:
        facts: See `document.node`.
        others: Other agents.
        ports: What OBI listens on.
    """
    return [*_node(facts), *_others(others), *_ports(ports)]


def _node(facts: Mapping[str, object]) -> Iterator[Advice]:
    if facts["jit"] == 0:
        text = "programs are interpreted (net.core.bpf_jit_enable=0), which makes each several times dearer"
        yield Advice(Code.JIT_OFF, text, "sysctl net.core.bpf_jit_enable=1")
    if facts["lockdown"] == "confidentiality":
        text = "the kernel is locked down (confidentiality): no program may read its memory"
        yield Advice(Code.LOCKDOWN, text, "boot with lockdown=integrity or none")
    if facts["seccomp"] == "filter":
        text = "a seccomp filter is on; if bpf() is refused below, it is the first suspect"
        yield Advice(Code.SECCOMP, text, "use a profile that allows bpf() and perf_event_open()")
    if facts["memory_cgroup"] == "v1" and facts["cgroup2"]:
        text = "cgroup v1 and v2 are both in use: containers are told apart by the v1 memory controller"
        yield Advice(Code.CGROUP_HYBRID, text, "nothing needs doing; with v2 alone pressure by container is there too")
    if not facts["host_pids"]:
        text = "only this container's processes are visible, so others' cannot be named"
        yield Advice(Code.OWN_PIDS, text, "hostPID: true in the pod, or --pid=host")
    if facts["clock_source"] not in {None, "tsc", "arch_sys_counter", "kvm-clock", "hyperv_clocksource_tsc_page"}:
        text = f"the clock source is {facts['clock_source']}: reading the time, which programs do often, is slow"
        yield Advice(Code.SLOW_CLOCK, text, "see dmesg for why the kernel gave up the TSC")


def _others(others: Sequence[Neighbour]) -> Iterator[Advice]:
    for other in others:
        count = len(other.programs)
        programs = f"{count} program{'s' if count != 1 else ''}"
        if other.name == UNKNOWN:
            names = ", ".join(dict.fromkeys(each.name or each.kind for each in other.programs[:5]))
            text = f"{programs} of somebody else are loaded at hooks that OBI uses too: {names}"
            yield Advice(Code.OTHER_PROGRAMS, text, "nothing needs doing; `bpftool prog list` shows whose they are")
            continue
        seen = ", ".join([*other.processes, *([programs] if count else [])])
        text = f"{other.name} is here ({seen}): both work, and both cost"
        yield Advice(Code.OTHER_AGENT, text, "switch off in one what the other already gives")


def _ports(ports: Sequence[Port]) -> Iterator[Advice]:
    for port in ports:
        if port.holder:
            text = f"{port.setting} {port.listen} is taken by {port.holder}"
            yield Advice(Code.PORT_TAKEN, text, f"set {port.setting} to another port, or stop that")
