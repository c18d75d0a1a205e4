"""Sockets whose end no program saw: the kernel runs none on top of itself, and gives their address to the next one."""

import os
import socket
from contextlib import contextmanager
from pathlib import Path

import pytest

from obi_core.testing.seen import Seen

pytestmark = pytest.mark.kernel(needs=("cap:bpf", "cap:perfmon", "btf", "tracefs"))

MANY = 20


@contextmanager
def called(name):
    """Give this process another name, and one CPU: what one CPU frees it hands out next."""
    comm, cpus = Path(f"/proc/{os.getpid()}/comm"), os.sched_getaffinity(0)
    before = comm.read_text()
    comm.write_text(name)
    os.sched_setaffinity(0, {min(cpus)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cpus)
        comm.write_text(before.strip())


def connections(listener):
    """Both ends of many connections."""
    ends = []
    for _ in range(MANY):
        ends.append(socket.create_connection(listener.getsockname()))
        ends.append(listener.accept()[0])
    return ends


def rows(probe, name):
    """Connections of the process that is called so, by the address of their socket; copies."""
    return {
        key: type(row).from_buffer_copy(row)
        for key, row in probe.bpf.rows("tcp_sockets")
        if bytes(row.owner.comm).partition(b"\0")[0].decode() == name and row.peer_port
    }


def test_a_row_that_was_left_behind_costs_the_next_socket_at_its_address_nothing(start, unique):
    probe, name = start(), unique("obistale")
    with called(name), socket.create_server(("127.0.0.1", 0), backlog=2 * MANY) as listener:
        ends = connections(listener)
        left = rows(probe, name)
        for end in ends:
            end.close()
        for key, row in left.items():
            probe.bpf.put("tcp_sockets", key, row)
        ends = connections(listener)
        now = rows(probe, name)
        reused = [key for key in left if key in now and now[key].opened_ns > left[key].opened_ns]
        for end in ends:
            end.close()
    seen = Seen.of(probe)
    assert len(left) == len(now.keys() - (left.keys() - set(reused))) == 2 * MANY
    assert reused, "the kernel gave no address again"
    for role in ("client", "server"):
        assert seen.counts("obi.tcp.connects", name, by="error.type", network_tcp_handshake_role=role) == {"": 2 * MANY}
