"""The sentence that ends a preflight that fails."""

from obi_core.cli.doctor.findings import Finding
from obi_core.cli.doctor.verdict import verdict
from obi_core.model import Reason
from obi_core.runtime.status import Attempt


def refused(name, detail="CAP_BPF is missing", remedy="add BPF to the pod's capabilities"):
    attempts = (
        Attempt("tp_btf", False, Reason.MISSING_CAPABILITY, detail, (), remedy=remedy),
        Attempt("bcc", False, Reason.NO_BCC, "bcc is missing", ()),
    )
    return Finding(name, f"obi-plugin-{name}", "0.1.0", attempts)


def fine(name):
    return Finding(name, f"obi-plugin-{name}", "0.1.0", (Attempt("netlink", True, Reason.OK, "", ()),))


def test_it_names_the_required_probe_the_cause_and_the_remedy():
    assert verdict([refused("syscall"), refused("tcp"), fine("limits")], ["syscall"]) == (
        "preflight: no agent can start here: syscall: tp_btf: missing_capability: CAP_BPF is missing; "
        "add BPF to the pod's capabilities"
    )


def test_without_a_required_probe_it_names_all():
    text = verdict([refused("syscall", remedy=""), refused("tcp", remedy="")], [])
    assert text.endswith(
        "syscall: tp_btf: missing_capability: CAP_BPF is missing; tcp: tp_btf: missing_capability: CAP_BPF is missing"
    )  # fmt: skip


def test_a_required_probe_that_is_not_listed_is_named():
    assert verdict([fine("limits")], ["tcp"]).endswith("tcp: it is required and not listed in agent.plugins")


def test_it_fits_a_termination_message():
    assert len(verdict([refused(f"p{number}", "x" * 200) for number in range(30)], []).encode()) < 2048
