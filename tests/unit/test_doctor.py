"""The doctor's parts: neighbours, advice, text, and what it emits for manifests."""

import io

import pytest

from obi_core.cli.doctor.advice import Code, advise
from obi_core.cli.doctor.document import SCHEMA
from obi_core.cli.doctor.emit import Needed, emitted
from obi_core.cli.doctor.findings import Finding
from obi_core.cli.doctor.neighbours import Neighbour, Port, neighbours, ports
from obi_core.cli.doctor.text import Paint, text
from obi_core.host import Host
from obi_core.kernel.census import Installed
from obi_core.kernel.sections import capabilities_of
from obi_core.model import Reason
from obi_core.runtime.status import Attempt, Refused
from obi_core.settings import load_settings

SOUND = {
    "jit": 1,
    "lockdown": "none",
    "seccomp": "off",
    "memory_cgroup": "v2",
    "cgroup2": "/sys/fs/cgroup",
    "host_pids": True,
    "clock_source": "tsc",
}


def processes(tmp_path, **named):
    for pid, comm in named.items():
        (tmp_path / pid.strip("p")).mkdir()
        (tmp_path / pid.strip("p") / "comm").write_text(f"{comm}\n")
    return Host(proc=tmp_path)


def test_an_agent_is_known_by_its_process_or_by_its_programs(tmp_path):
    host = processes(tmp_path, p7="falco", p9="bash")
    programs = [
        Installed(3, "tc", "cil_from_netdev"),
        Installed(4, "cgroup_skb", "sd_fw_egress"),
        Installed(5, "cgroup_device", "sd_devices"),
    ]
    assert neighbours(host, programs) == [
        Neighbour("Cilium", (), (programs[0],)),
        Neighbour("Falco", ("falco (pid 7)",), ()),
        Neighbour("unknown", (), (programs[1],)),
    ]


def test_whoever_has_our_programs_loaded_is_another_obi(tmp_path):
    programs = [Installed(3, "tracing", "tcp_state_btf")]
    assert neighbours(Host(proc=tmp_path), programs, frozenset({"tcp_state_btf"})) == [Neighbour("OBI", (), tuple(programs))]


def test_a_port_is_named_with_its_setting():
    settings = load_settings(None, {"OBI_METRICS__ENABLED": "false"}, {})
    assert ports(settings, Host()) == [Port("http.listen", "127.0.0.1:8080", Host().port_holder(8080))]


def test_a_sound_node_gets_no_advice():
    assert advise(SOUND, [], [Port("http.listen", "127.0.0.1:8080", None)]) == []


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        ({"jit": 0}, Code.JIT_OFF),
        ({"lockdown": "confidentiality"}, Code.LOCKDOWN),
        ({"seccomp": "filter"}, Code.SECCOMP),
        ({"memory_cgroup": "v1"}, Code.CGROUP_HYBRID),
        ({"host_pids": False}, Code.OWN_PIDS),
        ({"clock_source": "hpet"}, Code.SLOW_CLOCK),
    ],
)
def test_each_shortcoming_of_a_node_has_its_code_and_a_remedy(facts, code):
    (found,) = advise({**SOUND, **facts}, [], [])
    assert found.code is code
    assert found.remedy


def test_others_and_taken_ports_are_told():
    others = [Neighbour("Falco", ("falco (pid 7)",), ()), Neighbour("unknown", (), (Installed(4, "tc", "mine"),))]
    found = advise(SOUND, others, [Port("metrics.listen", "127.0.0.1:9090", "nginx (pid 12)")])
    assert [(each.code, each.text) for each in found] == [
        (Code.OTHER_AGENT, "Falco is here (falco (pid 7)): both work, and both cost"),
        (Code.OTHER_PROGRAMS, "1 program of somebody else are loaded at hooks that OBI uses too: mine"),
        (Code.PORT_TAKEN, "metrics.listen 127.0.0.1:9090 is taken by nginx (pid 12)"),
    ]


@pytest.mark.parametrize(
    ("section", "capabilities"),
    [
        ("tp_btf/sys_enter", ("bpf", "perfmon")),
        ("tp/sock/inet_sock_set_state", ("bpf", "perfmon")),
        ("iter.s/task", ("bpf", "perfmon")),
        ("sockops", ("bpf", "net_admin")),
        ("cgroup_skb/egress", ("bpf", "net_admin")),
        ("cgroup/sock_create", ("bpf", "net_admin")),
        ("tc", ("bpf", "net_admin")),
        ("socket", ("bpf",)),
    ],
)
def test_a_section_tells_what_its_program_takes(section, capabilities):
    assert capabilities_of(section) == capabilities


def test_what_is_emitted_is_yaml_of_a_container():
    import yaml

    needed = Needed(frozenset({"perfmon", "bpf"}), frozenset({"cgroup", "tracefs"}))
    assert emitted("capabilities", needed) == ["BPF", "PERFMON"]
    context = yaml.safe_load(io.StringIO("\n".join(emitted("security-context", needed))))
    assert context == {
        "capabilities": {"drop": ["ALL"], "add": ["BPF", "PERFMON"]},
        "runAsUser": 0,
        "runAsNonRoot": False,
        "privileged": False,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    mounts = yaml.safe_load(io.StringIO("\n".join(emitted("mounts", needed))))
    assert mounts["volumeMounts"] == [
        {"name": "cgroup", "mountPath": "/sys/fs/cgroup", "readOnly": True},
        {"name": "tracefs", "mountPath": "/sys/kernel/tracing", "readOnly": True},
    ]
    assert mounts["volumes"][1] == {"name": "tracefs", "hostPath": {"path": "/sys/kernel/tracing"}}


def shown(paint):
    modes = (
        Attempt("best", False, Reason.MISSING_CAPABILITY, "the kernel would not", (), remedy="give it CAP_BPF"),
        Attempt(
            "plain",
            True,
            Reason.OK,
            "",
            ("obi.x.rtt",),
            refused=(Refused("x_rtt", Reason.MISSING_CAPABILITY, "x_rtt (sockops): CAP_NET_ADMIN is missing", "give it"),),
        ),
    )
    facts = dict.fromkeys(key.removeprefix("node.") for key, _, _ in SCHEMA if key.startswith("node."))
    facts |= {"config": {}, "cgroup1": {}, "capabilities": [], "capabilities_bounding": []}
    return list(text(facts, [Finding("x", "obi-plugin-x", "1", modes)], [], [], paint))[-5:]


def test_a_refusal_is_followed_by_its_remedy_and_a_loss_by_the_program_that_caused_it():
    assert shown(Paint(on=False)) == [
        "x (obi-plugin-x 1): degraded, mode plain",
        "  best           no: missing_capability: the kernel would not; give it CAP_BPF",
        "  plain          yes, loses",
        "                 - obi.x.rtt",
        "                 without x_rtt: missing_capability: CAP_NET_ADMIN is missing; give it",
    ]


def test_colour_is_put_around_the_verdicts_and_nothing_else():
    plain, coloured = shown(Paint(on=False)), shown(Paint(on=True))
    assert coloured[0] == "x (obi-plugin-x 1): \033[33mdegraded\033[0m, mode plain"
    assert coloured[1] == "  best           \033[31mno\033[0m: missing_capability: the kernel would not; give it CAP_BPF"
    assert [
        line.replace("\033[33m", "").replace("\033[32m", "").replace("\033[31m", "").replace("\033[0m", "")
        for line in coloured
    ] == plain
