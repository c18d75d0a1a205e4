"""One known workload for each probe: `alike.py PROBE MODE NAME` runs it and prints what the probe counted in that mode.

Prints JSON: whether this node has BTF, and the counts of the process called NAME. Run where BTF is hidden, or where it is not.
"""

import ctypes
import json
import os
import resource
import socket
import sys
from importlib.metadata import entry_points
from pathlib import Path

from obi_core.host import Host
from obi_core.kernel.loaders import NodeLoader
from obi_core.kernel.node import node_constants
from obi_core.runtime.attempt import begin
from obi_core.testing.seen import Seen

SYSTEM_CALLS = {"x86_64": 110, "aarch64": 173}
"""getppid, which nobody else calls so often."""


def connections():
    """23 connections to a listener of our own."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        for _ in range(23):
            with socket.create_connection(server.getsockname()):
                server.accept()[0].close()


def datagrams():
    """23 datagrams of 10 bytes to a socket of our own."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as there, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as here:
        there.bind(("127.0.0.1", 0))
        for _ in range(23):
            here.sendto(bytes(10), there.getsockname())
            there.recv(10)


def calls():
    """997 calls of getppid, and 37 removals of no directory."""
    call = ctypes.CDLL(None, use_errno=True).syscall
    for _ in range(997):
        call(ctypes.c_long(SYSTEM_CALLS[os.uname().machine]))
    for _ in range(37):
        try:
            Path("/nowhere/at/all").rmdir()
        except FileNotFoundError:
            continue


def descriptors():
    """Open one file too many, 13 times."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
    for _ in range(13):
        try:
            os.open("/dev/null", os.O_RDONLY)
        except OSError:
            continue


def of_tcp(seen, name):
    return {
        "connects": seen.counts("obi.tcp.connects", name, by="network.tcp.handshake.role"),
        "lifetimes": seen.durations("obi.tcp.connection.duration", name),
    }


def of_network(seen, name):
    way = "network.io.direction"
    return {
        "packets": seen.counts("obi.network.packets", name, by=way),
        "bytes": seen.counts("obi.network.io", name, by=way),
    }


def of_syscall(seen, name):
    wanted = {"process_syscall_name": "getppid"}
    failed = {"process_syscall_name": "rmdir", "error_type": "ENOENT"}
    return {
        "getppid": seen.counts("obi.syscall.calls", name, **wanted),
        "rmdir": seen.counts("obi.syscall.errors", name, **failed),
        "durations": seen.durations("obi.syscall.duration", name, **wanted),
    }


def of_limits(seen, name):
    return {"exhaustion": seen.counts("obi.limits.exhaustion", name, by="limit.resource")}


WORKLOADS = {
    "tcp": (connections, of_tcp, {}),
    "network": (datagrams, of_network, {}),
    "syscall": (calls, of_syscall, {"calls": ("getppid", "rmdir")}),
    "limits": (descriptors, of_limits, {"exhaustion_calls": ("openat",)}),
}


def main(plugin, mode_name, name):
    work, counted, settings = WORKLOADS[plugin]
    (entry,) = {each.value: each for each in entry_points(group="obi.plugins", name=plugin)}.values()
    (cls,) = entry.load().obi_register_probes()
    mode = next(mode for mode in cls.modes if mode.name == mode_name)
    host, probe = Host(), cls(cls.settings_type(**settings))
    done = begin(probe, mode, NodeLoader(host, node_constants(host)), host)
    assert done.ok, done
    if not (child := os.fork()):  # a process of its own: some probes leave out what the agent does
        Path("/proc/self/comm").write_text(name)
        work()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    seen = Seen.of(probe)
    probe.detach()
    sys.stdout.write(json.dumps({"btf": host.btf() is not None, "counts": counted(seen, name)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
