"""What is missing on a host, with its remedy; and the reason code of each error."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from obi_core.errors import AttachError, HostError, KernelError, LoadError
from obi_core.kernel.trial import Unmet, reason_of, unmet
from obi_core.kernel.verifier import last_words
from obi_core.model import Reason


@dataclass
class Bare:
    """A host that has what it is given."""

    has: set[str] = field(default_factory=set)
    mount: Path | None = None

    def has_capability(self, name):
        return name in self.has

    def btf(self):
        return None

    def tracefs(self):
        return self.mount

    def types(self):
        return None

    def cgroup2(self):
        return None


def test_every_need_that_is_missing_is_listed_in_order_with_its_remedy():
    assert unmet(("cap:bpf", "cap:perfmon", "btf", "tracefs", "cgroup2"), Bare({"perfmon"})) == (
        Unmet("cap:bpf", Reason.MISSING_CAPABILITY, "run it as root, or give the process CAP_BPF"),
        Unmet(
            "btf", Reason.NO_BTF, "use a kernel built with CONFIG_DEBUG_INFO_BTF=y, so that /sys/kernel/btf/vmlinux is there"
        ),
        Unmet("tracefs", Reason.NO_TRACEFS, "mount it as root: mount -t tracefs tracefs /sys/kernel/tracing"),
        Unmet("cgroup2", Reason.NO_CGROUP2, "mount it as root: mount -t cgroup2 none /sys/fs/cgroup/unified"),
    )


def test_a_tracepoint_is_looked_for_under_tracefs(tmp_path):
    (tmp_path / "events" / "tcp" / "tcp_probe").mkdir(parents=True)
    host = Bare(mount=tmp_path)
    assert unmet(("tp:tcp/tcp_probe",), host) == ()
    assert unmet(("tp:tcp/nope",), host) == (
        Unmet("tp:tcp/nope", Reason.HOOK_MISSING, "use a kernel that has the tracepoint tcp:nope"),
    )
    assert [each.reason for each in unmet(("tp:tcp/tcp_probe",), Bare())] == [Reason.NO_TRACEFS]


@pytest.mark.parametrize("need", ["bpf", "cap:", "tracefs:x", ""])
def test_a_need_that_is_no_known_word_is_an_error_of_the_plugin(need):
    with pytest.raises(
        ValueError, match="no known word; known are: cap:NAME, btf, types, tracefs, cgroup2, bcc, tp:CATEGORY/EVENT"
    ):
        unmet((need,), Bare())


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (LoadError("x", errno=1), Reason.LOAD_REFUSED),
        (LoadError("x", need="btf"), Reason.NO_BTF),
        (LoadError("x", need="object"), Reason.OBJECT_MISSING),
        (LoadError("x", need="cap:bpf"), Reason.MISSING_CAPABILITY),
        (LoadError("x", need="hook:tcp_probe"), Reason.HOOK_MISSING),
        (LoadError("x", need="types"), Reason.NO_BTF),
        (LoadError("x", need="btf_file"), Reason.BAD_BTF),
        (LoadError("x", need="bpf"), Reason.BPF_FORBIDDEN),
        (LoadError("x", need="memlock"), Reason.MEMLOCK_LIMIT),
        (LoadError("x", need="lockdown"), Reason.LOCKED_DOWN),
        (LoadError("x", need="headers"), Reason.NO_HEADERS),
        (LoadError("x", need="bcc"), Reason.NO_BCC),
        (AttachError("x", errno=1), Reason.ATTACH_REFUSED),
        (AttachError("x", need="tp:tcp/tcp_probe"), Reason.HOOK_MISSING),
        (AttachError("x", need="tracefs"), Reason.NO_TRACEFS),
        (AttachError("x", need="cgroup2"), Reason.NO_CGROUP2),
        (HostError("no libbpf"), Reason.LOAD_REFUSED),
        (KernelError("x"), Reason.STEP_RAISED),
        (RuntimeError("x"), Reason.STEP_RAISED),
    ],
)
def test_each_error_has_its_reason_code(error, reason):
    assert reason_of(error) is reason


LOG = """\
0: R1=ctx() R10=fp0
; u64 *count = OBI_LOOKUP(numbers, &number); @ x.bpf.c:9
4: (85) call bpf_map_lookup_elem#1    ; R0_w=map_value_or_null(id=1,off=0,ks=4,vs=8)
; return *count; @ x.bpf.c:11
5: (61) r0 = *(u32 *)(r0 +0)
R0 invalid mem access 'map_value_or_null'
verification time 61 usec
stack depth 4
processed 6 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
"""


@pytest.mark.parametrize(
    ("log", "words"),
    [
        (LOG, "R0 invalid mem access 'map_value_or_null'"),
        ("BPF program is too large. Processed 1000001 insn\nprocessed 1000001 insns\n", None),
        ("back-edge from insn 4 to 2\n", None),
        ("; a comment\n1: (b7) r0 = 0\nprocessed 1 insns\n", ""),
        ("", ""),
    ],
)
def test_the_last_words_of_a_verifier_log_are_its_reason(log, words):
    assert last_words(log) == (log.splitlines()[0] if words is None else words)
