"""The doctor's findings for people, line by line."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, cast

from obi_core.cli.doctor.advice import Advice
from obi_core.cli.doctor.findings import Finding
from obi_core.cli.doctor.neighbours import UNKNOWN, Neighbour
from obi_core.kernel.budget import MapMemory
from obi_core.runtime.status import Attempt
from obi_core.settings import size_text

_COLOURS: Final = {"full": 32, "yes": 32, "degraded": 33, "note": 33, "none": 31, "no": 31}
_INDENT: Final = f"  {'':<14}"


@dataclass(frozen=True, slots=True)
class Paint:
    """Colours words, or leaves them."""

    on: bool

    def __call__(self, word: str) -> str:
        """Colour a word by what it says."""
        return f"\033[{_COLOURS[word]}m{word}\033[0m" if self.on and word in _COLOURS else word


def text(
    facts: Mapping[str, object],
    found: Sequence[Finding],
    others: Sequence[Neighbour],
    advice: Sequence[Advice],
    paint: Paint,
) -> Iterator[str]:
    """Write everything."""
    yield from _node(facts)
    for finding in found:
        yield from _finding(finding, paint)
    if not found:
        yield "no probe is installed; `pip install obi-plugin-tcp` is a start"
    known = ", ".join(other.name for other in others if other.name != UNKNOWN)
    if known:
        yield f"other agents: {known}"
    for each in advice:
        yield f"{paint('note')}: {each.code.value}: {each.text}; {each.remedy}"


def _node(facts: Mapping[str, object]) -> Iterator[str]:
    btf = "yes" if facts["btf"] else f"from {facts['btf_file']}" if facts["btf_file"] else "no"
    yield f"kernel {facts['kernel']}, BTF {btf}, tracefs {facts['tracefs'] or 'no'}, cgroup2 {facts['cgroup2'] or 'no'}"
    if facts["tracefs_problem"]:
        yield f"  {facts['tracefs_problem']}"
    config = cast("Mapping[str, str]", facts["config"])
    options = " ".join(f"{name}={value}" for name, value in config.items())
    yield f"  built with {options} ({facts['config_source']})" if config else "  its build options cannot be read"
    lsms = cast("Sequence[str] | None", facts["lsms"])
    security = [
        f"lockdown {facts['lockdown'] or 'unknown'}",
        f"modules {', '.join(lsms) if lsms else 'unknown'}",
        f"AppArmor {facts['apparmor'] or 'off'}",
        f"SELinux {facts['selinux'] or 'off'}",
        f"unprivileged_bpf_disabled {facts['unprivileged_bpf_disabled']}",
        f"perf_event_paranoid {facts['perf_event_paranoid']}",
        f"JIT {_jit(facts['jit'])}",
    ]
    yield f"  security: {', '.join(security)}"
    memlock = "unlimited" if facts["memlock"] is None else size_text(cast("int", facts["memlock"]))
    yield (
        f"  process: uid {facts['uid']}, seccomp {facts['seccomp'] or 'unknown'}, memlock {memlock},"
        f" capabilities {_capabilities(facts)}"
    )
    cgroup1 = cast("Mapping[str, str]", facts["cgroup1"])
    yield (
        f"  mounts: debugfs {facts['debugfs'] or 'no'}, bpffs {facts['bpffs'] or 'no'},"
        f" cgroup v1 {', '.join(sorted(cgroup1)) or 'no'}; containers told apart by cgroup {facts['memory_cgroup']}"
    )
    headers = f"{facts['headers']} ({facts['headers_release'] or 'release unknown'})" if facts["headers"] else "no"
    yield f"  libbpf {facts['libbpf'] or 'no'}, BCC {facts['bcc'] or 'no'}, kernel headers {headers}"
    yield (
        f"  place: container {facts['container'] or 'no'}, virtual machine {facts['virtual_machine'] or 'no'},"
        f" clock {facts['clock_source'] or 'unknown'}"
    )


def _jit(value: object) -> str:
    return {0: "off", None: "unknown"}.get(cast("int | None", value), "on")


def _capabilities(facts: Mapping[str, object]) -> str:
    held, possible = (cast("list[str]", facts[name]) for name in ("capabilities", "capabilities_bounding"))
    wanted = [name for name in ("bpf", "perfmon", "net_admin", "sys_admin", "sys_ptrace", "sys_resource") if name in held]
    return f"{' '.join(wanted) or 'none of ours'} ({len(held)} of {len(possible)} possible)"


def _finding(finding: Finding, paint: Paint) -> Iterator[str]:
    best = finding.best
    mode = f", mode {best.mode}" if best else f" ({finding.reason.value}: {finding.problem})" if finding.problem else ""
    maps = _maps(best.memory) if best and best.memory else ""
    yield f"{finding.name} ({finding.dist} {finding.version}): {paint(finding.support)}{mode}{maps}"
    for tried in finding.modes:
        yield from _mode(tried, paint)


def _mode(tried: Attempt, paint: Paint) -> Iterator[str]:
    remedy = f"; {tried.remedy}" if tried.remedy and tried.remedy not in tried.detail else ""
    if not tried.ok:
        yield f"  {tried.mode:<14} {paint('no')}: {tried.reason.value}: {tried.detail}{remedy}"
        return
    yield f"  {tried.mode:<14} {paint('yes')}{', loses' if tried.loses else ''}{tried.detail and f': {tried.detail}'}"
    yield from (f"{_INDENT} - {lost}" for lost in tried.loses)
    # programs that are refused for one cause are named together
    causes: dict[str, list[str]] = {}
    for refused in tried.refused:
        cause = refused.detail.removeprefix(f"{refused.program} ").partition("): ")[2] or refused.detail
        then = f"; {refused.remedy}" if refused.remedy else ""
        causes.setdefault(f"{refused.reason.value}: {cause}{then}", []).append(refused.program)
    yield from (f"{_INDENT} without {', '.join(programs)}: {cause}" for cause, programs in causes.items())


def _maps(memory: MapMemory) -> str:
    growing = f" and what {', '.join(memory.uncounted)} grows to" if memory.uncounted else ""
    return f", maps {size_text(memory.planned)}{growing} of {size_text(memory.budget)}" if memory.maps else ""
