"""What the doctor tells of a node, from recorded /proc and /sys trees."""

import gzip
from pathlib import Path

import pytest

from obi_core.facts import kernel_facts, mount_facts, place_facts, rights_facts
from obi_core.host import Host

TREES = Path(__file__).parents[1] / "fixtures/proc"
HYBRID = Host(proc=TREES / "hybrid", sys=TREES / "nothing")
POD = "0::/kubepods.slice/kubepods-burstable.slice/cri-containerd-4f.scope\n"


@pytest.fixture
def node(tmp_path):
    """A host whose files are those that are given: `write("sys/kernel/security/lockdown", text)`."""
    host = Host(proc=tmp_path / "proc", sys=tmp_path / "sys")

    def write(path, text):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(text.encode() if isinstance(text, str) else text)
        return host

    write("proc/sys/kernel/osrelease", "6.1.0-9-amd64\n")
    return write


def test_build_options_come_from_the_running_kernel_before_the_package(node, tmp_path):
    node("boot/config-6.1.0-9-amd64", "CONFIG_BPF_SYSCALL=y\nCONFIG_KPROBES=y\n")
    host = node("proc/config.gz", gzip.compress(b"CONFIG_BPF_SYSCALL=y\n# CONFIG_KPROBES is not set\nCONFIG_IKHEADERS=m\n"))
    facts = kernel_facts(host, boot=tmp_path / "boot")
    assert facts.config_source == str(tmp_path / "proc/config.gz")
    assert {name: facts.config[name] for name in ("BPF_SYSCALL", "KPROBES", "IKHEADERS")} == {
        "BPF_SYSCALL": "y",
        "KPROBES": "n",
        "IKHEADERS": "m",
    }


@pytest.mark.parametrize("broken", [None, b"not gzip", gzip.compress(b"CONFIG_PSI=y\n")[:-9]])
def test_where_the_running_kernel_does_not_tell_the_package_does(node, tmp_path, broken):
    host = node("boot/config-6.1.0-9-amd64", "CONFIG_KPROBES=y\n")
    if broken is not None:
        node("proc/config.gz", broken)
    facts = kernel_facts(host, boot=tmp_path / "boot")
    assert (facts.config_source, facts.config["KPROBES"]) == (str(tmp_path / "boot/config-6.1.0-9-amd64"), "y")
    assert kernel_facts(host, boot=tmp_path / "nothing").config_source is None


def test_what_guards_the_kernel_is_read(node, tmp_path):
    node("sys/kernel/security/lockdown", "none [integrity] confidentiality\n")
    node("sys/kernel/security/lsm", "lockdown,capability,apparmor")
    node("proc/sys/net/core/bpf_jit_enable", "0\n")
    node("proc/sys/kernel/unprivileged_bpf_disabled", "2\n")
    node("proc/sys/kernel/perf_event_paranoid", "-1\n")
    host = node("sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet\n")
    facts = kernel_facts(host, boot=tmp_path)
    assert (facts.release, facts.lockdown, facts.lsms) == (
        "6.1.0-9-amd64",
        "integrity",
        ("lockdown", "capability", "apparmor"),
    )
    assert (facts.jit, facts.unprivileged_bpf_disabled, facts.perf_event_paranoid, facts.clock_source) == (0, 2, -1, "hpet")


STATUS = """\
Name:\tpython
Uid:\t1000\t0\t0\t0
CapEff:\t000000c000000000
CapBnd:\t000000c000001000
CapAmb:\t0000008000000000
NoNewPrivs:\t1
Seccomp:\t2
"""
LIMITS = """\
Limit                     Soft Limit           Hard Limit           Units
Max locked memory         65536                8388608              bytes
"""


def test_what_this_process_may_is_read(node):
    node("proc/self/limits", LIMITS)
    node("sys/module/apparmor/parameters/enabled", "Y\n")
    node("proc/self/attr/apparmor/current", "cri-containerd.apparmor.d (enforce)\n")
    facts = rights_facts(node("proc/self/status", STATUS))
    assert (facts.uid, facts.effective, facts.bounding, facts.ambient) == (
        0,
        ("bpf", "perfmon"),
        ("bpf", "net_admin", "perfmon"),
        ("bpf",),
    )
    assert (facts.no_new_privileges, facts.seccomp, facts.memlock) == (True, "filter", 65536)
    assert (facts.apparmor, facts.selinux) == ("cri-containerd.apparmor.d (enforce)", None)


def test_selinux_says_its_mode_and_our_context(node):
    node("proc/self/attr/current", "system_u:system_r:container_t:s0\0")
    assert rights_facts(node("sys/fs/selinux/enforce", "1")).selinux == "enforcing (system_u:system_r:container_t:s0)"
    assert rights_facts(node("sys/fs/selinux/enforce", "0")).selinux == "permissive (system_u:system_r:container_t:s0)"


def test_locked_memory_without_a_limit_is_none(node):
    assert rights_facts(node("proc/self/limits", LIMITS.replace("65536 ", "unlimited "))).memlock is None


def test_mounts_and_controllers_of_a_hybrid_node():
    facts = mount_facts(HYBRID)
    assert (facts.cgroup2, facts.memory_cgroup) == ("/sys/fs/cgroup/unified", "v1")
    assert facts.cgroup1["memory"] == "/sys/fs/cgroup/memory"


def test_mounts_of_a_unified_node(node):
    mounts = "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\nbpf /sys/fs/bpf bpf rw 0 0\nd /sys/kernel/debug debugfs rw 0 0\n"
    facts = mount_facts(node("proc/self/mounts", mounts))
    assert (facts.cgroup2, facts.cgroup1, facts.memory_cgroup) == ("/sys/fs/cgroup", {}, "v2")
    assert (facts.bpffs, facts.debugfs, facts.tracefs) == ("/sys/fs/bpf", "/sys/kernel/debug", None)


@pytest.mark.parametrize(
    ("path", "text", "environ", "container"),
    [
        ("root/run/.containerenv", "", {}, "podman"),
        ("root/.dockerenv", "", {}, "docker"),
        ("proc/self/cgroup", POD, {}, "kubernetes"),
        ("proc/self/cgroup", POD, {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "kubernetes"),
        ("proc/self/cgroup", "0::/init.scope\n", {"container": "lxc"}, "lxc"),
        ("proc/self/cgroup", "0::/init.scope\n", {}, None),
    ],
)
def test_a_container_is_known_by_what_its_runtime_leaves(node, tmp_path, path, text, environ, container):
    facts = place_facts(node(path, text), environ, root=tmp_path / "root")
    assert (facts.container, facts.kubernetes) == (container, "KUBERNETES_SERVICE_HOST" in environ)


@pytest.mark.parametrize(
    ("path", "text", "name"),
    [
        ("sys/class/dmi/id/sys_vendor", "QEMU\n", "qemu"),
        ("sys/class/dmi/id/product_name", "VMware Virtual Platform\n", "vmware"),
        ("sys/hypervisor/type", "xen\n", "xen"),
        ("proc/cpuinfo", "flags\t\t: fpu hypervisor lahf_lm\n", "unknown"),
        ("proc/cpuinfo", "flags\t\t: fpu lahf_lm\n", None),
    ],
)
def test_a_virtual_machine_is_known_by_its_firmware_or_its_processor(node, tmp_path, path, text, name):
    assert place_facts(node(path, text), {}, root=tmp_path).virtual_machine == name


@pytest.mark.parametrize(("comm", "all_of_them"), [("kthreadd\n", True), ("sleep\n", False)])
def test_a_process_that_sees_kthreadd_sees_the_node_s_processes(node, tmp_path, comm, all_of_them):
    assert place_facts(node("proc/2/comm", comm), {}, root=tmp_path).host_pids is all_of_them


def test_a_node_without_proc_and_sys_has_nothing_and_raises_nothing(tmp_path):
    bare = Host(proc=tmp_path / "no", sys=tmp_path / "no")
    kernel, rights = kernel_facts(bare, boot=tmp_path), rights_facts(bare)
    assert (kernel.release, kernel.config, kernel.lockdown, kernel.lsms, kernel.jit) == ("", {}, None, None, None)
    assert (rights.uid, rights.effective, rights.seccomp, rights.memlock, rights.apparmor) == (None, (), None, None, None)
    assert mount_facts(bare).cgroup1 == {}
    assert place_facts(bare, {}, root=tmp_path).container is None
