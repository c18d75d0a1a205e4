"""What the kernel asks of whoever loads and attaches a program, by its ELF section.

Source: kernel/bpf/syscall.c, `bpf_prog_load` (`is_net_admin_prog_type`, `is_perfmon_prog_type`) and
`bpf_prog_attach_check_attach_type`, since v5.8 (2c78ee898d8f, "bpf: Implement CAP_BPF"); before, CAP_SYS_ADMIN for all of it.
"""

from typing import Final

_NETWORK: Final = frozenset({
    "cgroup", "cgroup_skb", "classifier", "flow_dissector", "sk_lookup", "sk_msg", "sk_reuseport", "sk_skb", "sockops", "tc",
    "tcx", "xdp",
})  # fmt: skip
_TRACING: Final = frozenset({
    "fentry", "fexit", "fmod_ret", "iter", "kprobe", "kretprobe", "ksyscall", "lsm", "perf_event", "raw_tp", "raw_tracepoint",
    "tp", "tp_btf", "tracepoint", "uprobe", "uretprobe", "usdt",
})  # fmt: skip
_BY_OWN_BTF: Final = frozenset({"fentry", "fexit", "fmod_ret", "iter", "lsm", "tp_btf"})


def kind_of(section: str) -> str:
    """First word of a section: `tp_btf` of `tp_btf/sys_enter`, `iter` of `iter.s/task`."""
    return section.partition("/")[0].partition(".")[0]


def capabilities_of(section: str) -> tuple[str, ...]:
    """Capabilities that loading and attaching take: lower case, without prefix; never fewer than `bpf`."""
    kind = kind_of(section)
    return ("bpf", *(["perfmon"] if kind in _TRACING else []), *(["net_admin"] if kind in _NETWORK else []))


def needs_own_btf(section: str) -> bool:
    """Whether the kernel finds the hook through its own BTF: a file from elsewhere is of no use then."""
    return kind_of(section) in _BY_OWN_BTF
