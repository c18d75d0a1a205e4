"""tracefs is mounted once, by root, or the reason is said."""

import errno

import pytest

from obi_core.cli.tracefs import ensure_tracefs
from obi_core.host import Host

SYS_ADMIN = 1 << 21


@pytest.fixture
def host(tmp_path):
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/mounts").write_text("")
    (tmp_path / "proc/self/status").write_text(f"CapEff:\t{SYS_ADMIN:x}\n")
    (tmp_path / "sys/kernel/tracing").mkdir(parents=True)
    return Host(tmp_path / "proc", tmp_path / "sys")


def test_absent_it_is_mounted_once(host):
    calls = []
    assert ensure_tracefs(host, lambda *call: calls.append(call) or 0) == ""
    assert calls == [("tracefs", host.sys / "kernel/tracing")]


def test_a_mount_that_fails_names_the_errno_and_the_remedy(host):
    target = host.sys / "kernel/tracing"
    assert ensure_tracefs(host, lambda *_: errno.EPERM) == (
        f"tracefs is not mounted and mounting it at {target} failed [EPERM]; mount it from outside: "
        f"`mount -t tracefs tracefs {target}`"
    )


def test_a_kernel_without_it_is_told(host):
    (host.sys / "kernel/tracing").rmdir()
    assert ensure_tracefs(host, lambda *_: pytest.fail("mounted")) == (
        f"tracefs is not mounted and this kernel has none ({host.sys}/kernel/tracing does not exist); "
        "probes that need it lose that mode"
    )


def test_there_it_is_left_alone(host):
    mounted = host.sys / "kernel/tracing"
    (mounted / "events").mkdir()
    (host.proc / "self/mounts").write_text(f"tracefs {mounted} tracefs rw 0 0\n")
    assert ensure_tracefs(host, lambda *_: pytest.fail("mounted")) == ""


def test_without_the_capability_nothing_is_tried(host):
    (host.proc / "self/status").write_text("CapEff:\t0\n")
    assert ensure_tracefs(host, lambda *_: pytest.fail("mounted")) == ""
