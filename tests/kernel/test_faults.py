"""What a node may lack, taken away for real, one thing at a time: the exact reason and remedy, and the probe steps down."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from obi_core.host import Host
from obi_core.kernel.diagnosis import Cause, cause_of

pytestmark = [
    pytest.mark.kernel(
        needs=("cap:bpf", "cap:perfmon", "cap:net_admin", "btf", "tracefs", "root", "cmd:setpriv", "cmd:unshare")
    ),
    pytest.mark.timeout(60),
]

ROOT = Path(__file__).parents[2]
MODES = ("tp_btf", "tracepoint", "bcc", "netlink")
FORBID_BPF = """
import ctypes, os, struct, sys
# struct sock_filter: load the number; is it bpf()? then EPERM; else allow
number = {"x86_64": 321, "aarch64": 280}[os.uname().machine]
steps = [(0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x00050001), (0x06, 0, 0, 0x7FFF0000)]
code = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *step) for step in steps))
program = ctypes.create_string_buffer(struct.pack("<HxxxxxxQ", len(steps), ctypes.addressof(code)))
prctl = ctypes.CDLL(None, use_errno=True).prctl
assert prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
assert prctl(22, 2, program, 0, 0) == 0  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
os.execvp(sys.argv[1], sys.argv[1:])
"""


def clean():
    return {name: text for name, text in os.environ.items() if not name.startswith("OBI_") and name != "BCC_KERNEL_SOURCE"}


def without(*capabilities):
    dropped = ",".join(f"-{name}" for name in capabilities)
    return ("setpriv", f"--bounding-set={dropped}", f"--inh-caps={dropped}")


def hidden(*directories):
    script = "".join(f"mount -t tmpfs none {each} && " for each in directories)
    return ("unshare", "-m", "sh", "-c", f'{script}exec "$@"', "sh")


@pytest.fixture
def doctor():
    """Run the doctor behind a prefix; gives the tcp probe's finding and its modes by name."""

    def run(*prefix, more=()):
        command = [*prefix, sys.executable, "-m", "obi_core", "doctor", "--json", "--plugins", "tcp", *map(str, more)]
        done = subprocess.run(command, cwd=ROOT, env=clean(), capture_output=True, text=True, check=False)
        assert "Traceback" not in done.stderr, done.stderr
        (tcp,) = json.loads(done.stdout)["probes"]
        return tcp, {mode["name"]: mode for mode in tcp["modes"]}

    return run


def reasons(modes):
    return tuple(modes[name]["reason"] for name in MODES if name in modes and name != "bcc")


@pytest.mark.parametrize("name", ["bpf", "perfmon"])
def test_without_a_capability_that_loading_takes_the_probe_goes_on_without_bpf(doctor, name):
    tcp, modes = doctor(*without(name, "sys_admin"))
    assert reasons(modes) == ("missing_capability", "missing_capability", "ok")
    assert modes["tp_btf"]["detail"] == (f"cap:{name} is missing: run it as root, or give the process CAP_{name.upper()}")
    assert (tcp["mode"], tcp["support"]) == ("netlink", "degraded")


@pytest.mark.parametrize("name", ["sys_admin", "sys_ptrace", "sys_resource", "dac_read_search", "syslog"])
def test_a_capability_that_the_probe_does_not_need_costs_nothing(doctor, name):
    tcp, _ = doctor(*without(name))
    assert (tcp["mode"], tcp["support"]) == ("tp_btf", "full")


def test_without_net_admin_round_trip_times_alone_are_lost_and_the_program_is_named(doctor):
    tcp, modes = doctor(*without("net_admin", "sys_admin"))
    assert (tcp["mode"], tcp["support"], tcp["loses"]) == ("tp_btf", "degraded", ["obi.tcp.rtt"])
    (refused,) = modes["tp_btf"]["refused"]
    assert (refused["program"], refused["reason"]) == ("tcp_rtt_ops", "missing_capability")
    assert refused["detail"] == "tcp_rtt_ops (sockops): the kernel would not load it: CAP_NET_ADMIN is missing [EPERM]"
    assert refused["remedy"] == "run it as root, or give the process CAP_NET_ADMIN"


def test_with_btf_hidden_both_co_re_modes_say_so(doctor):
    tcp, modes = doctor(*hidden("/sys/kernel/btf"))
    assert reasons(modes) == ("no_btf", "no_btf", "ok")
    assert modes["tracepoint"]["detail"].endswith("or give a BTF file of this kernel (--btf or kernel.btf)")
    assert tcp["mode"] == next(name for name in MODES if modes[name]["ok"])


def test_with_tracefs_absent_the_mode_that_needs_it_says_so_and_the_best_loses_what_is_at_tracepoints(doctor):
    away = ("unshare", "-m", "sh", "-c", 'umount -l /sys/kernel/tracing && exec "$@"', "sh")
    tcp, modes = doctor(*away, *without("sys_admin"))
    assert modes["tracepoint"]["reason"] == "no_tracefs"
    assert tcp["mode"] == "tp_btf"
    assert {each["reason"] for each in modes["tp_btf"]["refused"]} == {"no_tracefs"}
    assert {each["program"] for each in modes["tp_btf"]["refused"]} == {"tcp_accept", "tcp_accept4"}


def test_where_seccomp_forbids_bpf_that_is_the_reason(doctor):
    tcp, modes = doctor(sys.executable, "-c", FORBID_BPF)
    assert reasons(modes) == ("bpf_forbidden", "bpf_forbidden", "ok")
    assert "bpf() itself is forbidden to this process, by seccomp or a security module [EPERM]" in modes["tp_btf"]["detail"]
    assert modes["tp_btf"]["remedy"].startswith("let the container's seccomp profile allow bpf()")
    assert "bcc" not in modes or modes["bcc"]["reason"] in {"bpf_forbidden", "no_headers", "no_bcc"}
    assert tcp["mode"] == "netlink"


def test_an_agent_that_may_not_use_bpf_lives(tmp_path):
    ports = ("--http-listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0", "--view", "off", "--plugins", "tcp")
    command = ["timeout", "--preserve-status", "-s", "TERM", "8", sys.executable, "-c", FORBID_BPF]
    command += [sys.executable, "-m", "obi_core", "run", *ports]
    done = subprocess.run(command, cwd=ROOT, env=clean(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "probe tcp: attached in mode netlink: tp_btf" in done.stderr
    assert "bpf() itself is forbidden to this process" in done.stderr


def test_a_tiny_limit_for_locked_memory_is_the_reason_where_maps_are_charged_to_it(doctor):
    tcp, modes = doctor("prlimit", "--memlock=4096:4096", *without("sys_resource"))
    charged = tuple(int(part) for part in Host().release().split(".")[:2]) < (5, 11)
    expected = ("memlock_limit", "memlock_limit", "ok") if charged else ("ok", "ok", "ok")
    assert reasons(modes) == expected
    assert tcp["mode"] == ("netlink" if charged else "tp_btf")


@pytest.mark.parametrize(
    "make", [lambda _: b"no BTF at all", lambda btf: btf[: len(btf) // 2], lambda _: b""], ids=["text", "cut", "empty"]
)
def test_a_btf_file_that_is_none_is_one_line(doctor, tmp_path, make):
    file = tmp_path / "vmlinux.btf"
    file.write_bytes(make(Path("/sys/kernel/btf/vmlinux").read_bytes()))
    _, modes = doctor(*hidden("/sys/kernel/btf"), more=("--btf", file))
    assert modes["tracepoint"]["reason"] == "bad_btf"
    assert modes["tracepoint"]["detail"] == f"{file} is not a BTF file, or is cut short"


def test_with_a_btf_file_programs_are_relocated_and_only_what_finds_its_hook_by_the_kernel_s_own_is_lost(doctor, tmp_path):
    tree = tmp_path / "btfhub"
    words = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    place = tree / words["ID"].strip('"') / words["VERSION_ID"].strip('"') / os.uname().machine
    place.mkdir(parents=True)
    shutil.copy("/sys/kernel/btf/vmlinux", place / f"{os.uname().release}.btf")
    tcp, modes = doctor(*hidden("/sys/kernel/btf"), more=("--btf", tree))
    assert (tcp["mode"], modes["tp_btf"]["reason"]) == ("tracepoint", "no_btf")
    refused = {each["program"]: each["reason"] for each in modes["tracepoint"]["refused"]}
    assert refused == {"tcp_seed": "no_btf", "tcp_refresh": "no_btf"}


def test_a_btf_path_that_is_not_there_is_status_2(tmp_path):
    command = [sys.executable, "-m", "obi_core", "doctor", "--btf", str(tmp_path / "none")]
    done = subprocess.run(command, cwd=ROOT, env=clean(), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"obi: --btf: {tmp_path}/none: no such file or directory; name a BTF file, or a tree as BTFHub keeps it\n"
    )


class Node:
    """A host that has these capabilities."""

    def __init__(self, sys_, *capabilities):
        self.sys, self._capabilities = sys_, capabilities

    def has_capability(self, name):
        return name in self._capabilities


ALL = ("bpf", "perfmon", "net_admin")


@pytest.mark.parametrize(
    ("number", "has", "log", "refusal", "charged", "need"),
    [
        (1, (), "", 0, False, "cap:bpf"),
        (1, ("bpf",), "", 0, False, "cap:perfmon"),
        (1, ALL, "", 1, False, "bpf"),
        (38, ALL, "", 38, False, "bpf"),
        (1, ALL, "", 0, True, "memlock"),
        (1, ALL, "", 0, False, None),
        (22, (), "", 1, True, None),
        (13, (), "R1 invalid mem access", 0, False, None),
        (22, ALL, "unknown func bpf_probe_read_kernel#113", 0, False, "lockdown"),
    ],
)
def test_causes_are_looked_for_in_the_kernel_s_order(tmp_path, number, has, log, refusal, charged, need):
    (tmp_path / "kernel/security").mkdir(parents=True)
    (tmp_path / "kernel/security/lockdown").write_text("none integrity [confidentiality]\n")
    host = Node(tmp_path, *has)
    found = cause_of(number, "tp_btf/x", host, log=log, refusal=lambda: refusal, charged=lambda: charged)
    assert (found.need if found else None) == need
    assert isinstance(found, Cause | None)
