"""What the mode without BPF sees of a network namespace, and more things to happen in it: run as `workload.py` is.

`watch` is the agent's part: it prints what one collection gave as a line of JSON, once per line of input.
"""

import contextlib
import json
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from workload import SILENT, listener, rename, say

PEER = "10.98.0.2"
FIN_WAIT_2 = 5
TOTAL_RETRANS = 100
"""Offset of tcpi_total_retrans in `struct tcp_info`."""


def watch() -> None:
    """Start the mode, say so, and collect at each line of input."""
    from obi_core import Observation, Row
    from obi_plugin_tcp.without_bpf.mode import WithoutBpf
    from obi_plugin_tcp.without_bpf.open_sockets import Limits

    running = WithoutBpf(Limits(sockets=16384, rows=4096, histograms=1024), by_port=True)
    say("ready")
    while sys.stdin.readline():
        seen = list(running.collect(show=True))
        say(
            json.dumps(
                {
                    "observations": [
                        {
                            "name": each.instrument.name,
                            "value": each.value,
                            "owner": each.owner
                            and [each.owner.tgid, each.owner.start_ns, each.owner.cgroup_id, each.owner.comm],
                            "attributes": dict(each.attributes),
                        }
                        for each in seen
                        if isinstance(each, Observation)
                    ],
                    "rows": [
                        {"owner": each.owner and each.owner.comm, "cells": each.cells}
                        for each in seen
                        if isinstance(each, Row)
                    ],
                }
            )
        )
    say("done")


def counters() -> None:
    """Print what the kernel counts here, as JSON."""
    found = {}
    for name in ("snmp", "netstat"):
        lines = [line.split() for line in Path("/proc/self/net", name).read_text().splitlines()]
        for names, numbers in zip(lines[::2], lines[1::2], strict=True):
            found.update({f"{names[0]}{key}": int(value) for key, value in zip(names[1:], numbers[1:], strict=True)})
    say(json.dumps(found))
    say("done")


def overflow(name: str, count: str) -> None:
    """Let `count` clients meet a listener with room for one, and hold until a line comes."""
    rename(name)
    with contextlib.ExitStack() as held:
        server = held.enter_context(listener("4", backlog=0))
        say(str(server.getsockname()[1]))
        first = held.enter_context(socket.socket())
        first.connect(server.getsockname())
        for _ in range(int(count)):
            client = held.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        say("overflown")
        sys.stdin.readline()
    say("done")


def half_open(count: str) -> None:
    """Send SYNs for which nobody here waits: the kernel resets the half-open connection when the answer comes."""
    with listener("4") as server, socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP) as raw:
        port = server.getsockname()[1]
        for each in range(int(count)):
            segment = struct.pack("!HHIIBBHHH", 40000 + each, port, 1, 0, 5 << 4, 2, 65535, 0, 0)
            pseudo = socket.inet_aton("127.0.0.1") * 2 + struct.pack("!BBH", 0, socket.IPPROTO_TCP, len(segment))
            total = sum(struct.unpack(f"!{(len(pseudo) + len(segment)) // 2}H", pseudo + segment))
            total = (total & 0xFFFF) + (total >> 16)
            checksum = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
            raw.sendto(segment[:16] + struct.pack("!H", checksum) + segment[18:], ("127.0.0.1", 0))
    say("done")


def pending(name: str, count: str) -> None:
    """Connect to silence and hold until a line comes."""
    rename(name)
    with contextlib.ExitStack() as held:
        for _ in range(int(count)):
            client = held.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex((SILENT[socket.AF_INET], 9))
        say("pending")
        sys.stdin.readline()
    say("done")


def unaccepted(name: str, size: str) -> None:
    """Send to a server that does not accept until a line comes; then hold until the next."""
    rename(name)
    with listener("4") as server, socket.create_connection(server.getsockname()) as client:
        client.sendall(bytes(int(size)))
        say("sent")
        sys.stdin.readline()
        with server.accept()[0]:
            say("accepted")
            sys.stdin.readline()
    say("done")


def half_closed(name: str, size: str) -> None:
    """A client sends, then says that it will send no more; both ends stay until a line comes."""
    rename(name)
    with listener("4") as server, socket.create_connection(server.getsockname()) as client, server.accept()[0] as peer:
        client.sendall(bytes(int(size)))
        client.shutdown(socket.SHUT_WR)
        while peer.recv(65536):
            pass
        while client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != FIN_WAIT_2:  # the acknowledgement may be delayed
            time.sleep(0.01)
        say("half")
        sys.stdin.readline()
    say("done")


def ip(command: str) -> None:
    subprocess.run(["ip", *command.split()], check=True)


def sent_again(client: socket.socket) -> int:
    info = client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TOTAL_RETRANS + 4)
    return int.from_bytes(info[TOTAL_RETRANS:], sys.byteorder)


def lossy(name: str, retransmits: str) -> None:
    """Send a segment to another network namespace that does not hear it, until it was sent again `retransmits` times."""
    far = subprocess.Popen(
        ["unshare", "--net", sys.executable, __file__, "far"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with far:
        assert far.stdin is not None
        assert far.stdout is not None
        far.stdout.readline()
        ip("link add near type veth peer name far")
        ip(f"link set far netns {far.pid}")
        ip("addr add 10.98.0.1/24 dev near")
        ip("link set near up")
        far.stdin.write("go\n")
        far.stdin.flush()
        address = far.stdout.readline().strip()
        rename(name)
        ip(f"neigh replace {PEER} lladdr {address} dev near nud permanent")
        with socket.create_connection((PEER, 99)) as client:
            client.sendall(b"heard")
            assert client.recv(2) == b"ok"
            ip(f"neigh replace {PEER} lladdr 02:00:00:00:00:98 dev near nud permanent")
            # Two segments in flight: the probe for the last one comes well before the timeout.
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client.sendall(b"un")
            client.sendall(b"heard")
            while sent_again(client) < int(retransmits):
                time.sleep(0.01)
            ip(f"neigh replace {PEER} lladdr {address} dev near nud permanent")
            assert client.recv(2) == b"ok"
        far.stdin.close()
    say("done")


def far() -> None:
    """The other end of `lossy`."""
    say("made")
    sys.stdin.readline()
    ip(f"addr add {PEER}/24 dev far")
    ip("link set far up")
    with socket.create_server((PEER, 99)) as server:
        say(_address_of("far"))
        peer, _ = server.accept()
        with peer:
            while peer.recv(100):
                peer.sendall(b"ok")


def _address_of(interface: str) -> str:
    shown = subprocess.run(["ip", "-o", "link", "show", interface], check=True, capture_output=True, text=True).stdout
    return shown.split("link/ether ")[1].split()[0]


STEPS: dict[str, Callable[..., None]] = {
    "watch": watch,
    "counters": counters,
    "overflow": overflow,
    "half-open": half_open,
    "pending": pending,
    "unaccepted": unaccepted,
    "half-closed": half_closed,
    "lossy": lossy,
    "far": far,
}

if __name__ == "__main__":
    STEPS[sys.argv[1]](*sys.argv[2:])
