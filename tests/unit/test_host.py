"""Facts of a node, from recorded /proc trees and from this machine."""

import os
import socket
import time
from pathlib import Path

import pytest

from obi_core.host import Host

TREES = Path(__file__).parents[1] / "fixtures/proc"
HYBRID = Host(proc=TREES / "hybrid")
UNIFIED = Host(proc=TREES / "unified")


def test_effective_capabilities_have_the_kernel_s_names():
    assert UNIFIED.capabilities() == {"perfmon", "bpf"}
    assert len(HYBRID.capabilities()) == 40
    assert "sys_resource" not in HYBRID.capabilities()
    assert {"chown", "checkpoint_restore", "sys_admin"} <= HYBRID.capabilities()


def test_sys_admin_stands_in_for_the_capabilities_split_off_from_it(tmp_path):
    (tmp_path / "self").mkdir()
    (tmp_path / "self/status").write_text(f"CapEff:\t{1 << 21:016x}\n")
    host = Host(proc=tmp_path)
    assert host.capabilities() == {"sys_admin"}
    assert host.has_capability("bpf")
    assert host.has_capability("perfmon")
    assert not host.has_capability("net_admin")


def test_a_capability_that_is_held_is_had():
    assert UNIFIED.has_capability("bpf")
    assert not UNIFIED.has_capability("sys_admin")


@pytest.mark.parametrize(("text", "count"), [("0\n", 1), ("0-1\n", 2), ("0-3,8-11\n", 8), ("0,2\n", 2)])
def test_possible_cpus_are_counted_with_their_gaps(tmp_path, text, count):
    (tmp_path / "devices/system/cpu").mkdir(parents=True)
    (tmp_path / "devices/system/cpu/possible").write_text(text)
    assert Host(sys=tmp_path).possible_cpus() == count


def test_without_the_file_the_cpus_that_are_online_count(tmp_path):
    assert Host(sys=tmp_path).possible_cpus() == os.cpu_count()


def test_btf_is_the_kernel_s_file_or_none(tmp_path):
    assert Host(sys=tmp_path).btf() is None
    (tmp_path / "kernel/btf").mkdir(parents=True)
    (tmp_path / "kernel/btf/vmlinux").write_bytes(b"")
    assert Host(sys=tmp_path).btf() == tmp_path / "kernel/btf/vmlinux"


def test_tracefs_is_where_it_is_mounted_and_readable(tmp_path):
    (tmp_path / "self").mkdir()
    mount = tmp_path / "with space"
    escaped = str(mount).replace(" ", "\\040")
    (tmp_path / "self/mounts").write_text(f"tracefs {escaped} tracefs ro 0 0\n")
    assert Host(proc=tmp_path).tracefs() is None
    (mount / "events").mkdir(parents=True)
    assert Host(proc=tmp_path).tracefs() == mount


def test_cgroup2_is_found_on_unified_and_hybrid_nodes():
    assert UNIFIED.cgroup2() == Path("/sys/fs/cgroup")
    assert HYBRID.cgroup2() == Path("/sys/fs/cgroup/unified")


def test_a_v1_memory_controller_is_recognised():
    assert HYBRID.memory_cgroup_v1()
    assert not UNIFIED.memory_cgroup_v1()


def test_the_release_is_the_kernel_s():
    assert HYBRID.release() == "6.18.44"
    assert Host().release() == os.uname().release


def test_the_start_of_a_process_is_read_past_a_name_with_parentheses():
    assert HYBRID.process_start_ticks(4242) == 123456
    assert HYBRID.process_start_ticks(1) is None


def test_boot_plus_boot_clock_is_now():
    before = time.time_ns()
    now = Host().boot_epoch_ns() + time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    assert abs(now - before) < 10**9


@pytest.mark.parametrize(("port", "inode"), [(9090, 4711), (8080, 4713)])
def test_the_holder_of_a_port_is_named(tmp_path, port, inode):
    (tmp_path / "net").symlink_to(TREES / "hybrid/net")
    for pid, comm, target in ((7, "other", "socket:[1]"), (12, "nginx", f"socket:[{inode}]")):
        (tmp_path / str(pid) / "fd").mkdir(parents=True)
        (tmp_path / str(pid) / "comm").write_text(f"{comm}\n")
        (tmp_path / str(pid) / "fd/3").symlink_to(target)
    assert Host(proc=tmp_path).port_holder(port) == "nginx (pid 12)"


def test_a_connection_from_a_port_does_not_hold_it():
    assert HYBRID.port_holder(9091) is None


def test_a_holder_that_cannot_be_seen_is_nobody():
    assert HYBRID.port_holder(9090) is None


@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_this_process_holds_the_port_it_listens_on(family, address):
    with socket.create_server((address, 0), family=family) as server:
        comm = Path("/proc/self/comm").read_text().strip()
        assert Host().port_holder(server.getsockname()[1]) == f"{comm} (pid {os.getpid()})"


def test_a_node_without_proc_has_nothing_and_raises_nothing(tmp_path):
    host = Host(proc=tmp_path / "no", sys=tmp_path / "no")
    assert (host.btf(), host.tracefs(), host.cgroup2(), host.port_holder(1), host.process_start_ticks(1)) == (None,) * 5
    assert (host.capabilities(), host.release(), host.memory_cgroup_v1()) == (frozenset(), "", False)
