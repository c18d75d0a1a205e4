"""A program that somebody else detaches is seen, put back and counted; by detaching one for real."""

import ctypes
import errno
import os
import platform

import pytest

from obi_core.runtime.attachments import reattach
from obi_core.testing.held import Held
from obi_core.testing.live import attached
from obi_plugin_tcp.probe import TcpProbe
from obi_plugin_tcp.settings import TcpSettings

pytestmark = pytest.mark.kernel(needs=("cap:bpf", "cap:perfmon", "cap:sys_admin", "btf", "cgroup2", "root"), since="5.9")

BPF = {"x86_64": 321, "aarch64": 280}[platform.machine()]
GET_FD_BY_ID, DETACH = 30, 34
"""BPF_LINK_GET_FD_BY_ID, BPF_LINK_DETACH."""


def bpf(command, number):
    attributes = (ctypes.c_uint32 * 4)(number)
    result = ctypes.CDLL(None, use_errno=True).syscall(BPF, command, attributes, ctypes.sizeof(attributes))
    return result if result >= 0 else -ctypes.get_errno()


def detach_all():
    """Do what `bpftool link detach` does to every link of this process; how many let it."""
    done = 0
    for kind, number in Held.now().objects:
        if kind == "link":
            fd = bpf(GET_FD_BY_ID, number)
            assert fd >= 0
            result = bpf(DETACH, fd)
            os.close(fd)
            assert result in (0, -errno.EOPNOTSUPP)
            done += result == 0
    return done


def test_a_program_that_somebody_detached_is_seen_and_put_back(caplog):
    with attached(TcpProbe, TcpSettings(), TcpProbe.modes[0]) as probe:
        before = tuple(probe.bpf.attached)
        assert "tcp_rtt_ops" in before
        assert reattach(probe) == 0, "nothing is amiss"
        assert detach_all() == 1, "the kernel lets go of cgroup links alone"
        assert reattach(probe) == 1
        assert set(probe.bpf.attached) == set(before)
        assert reattach(probe) == 0
    assert caplog.messages.count("probe tcp: program tcp_rtt_ops is detached, not by us; attaching it again") == 1
