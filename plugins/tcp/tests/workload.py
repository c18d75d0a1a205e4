"""A known amount of TCP, in a network namespace of its own: `workload.py STEP [ARG…]`, run as a process of its own name.

The namespace has a veth pair, both ends in it, and neighbours that do not exist, so that a SYN to them gets no answer at all;
and `tcp_syn_retries=1`, so that the kernel gives up after a few seconds. Standard library only.
"""

import contextlib
import os
import select
import socket
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from wire import HERE, LOOPBACK, SILENT, listener, receive, rename, say, syn


def serve(name: str, kind: str, count: str, request: str, answer: str) -> None:
    """Accept `count` connections; each sends `request` bytes, gets `answer` bytes, and closes first."""
    rename(name)
    with listener(kind) as server:
        say(str(server.getsockname()[1]))
        for _ in range(int(count)):
            peer, _ = server.accept()
            with peer:
                receive(peer, int(request))
                peer.sendall(bytes(int(answer)))
                peer.recv(1)
    say("done")


def connect(name: str, kind: str, port: str, count: str, request: str, answer: str) -> None:
    """Make `count` connections, one after the other."""
    rename(name)
    family, host = LOOPBACK[kind]
    for _ in range(int(count)):
        with socket.socket(family) as client:
            client.connect((host, int(port)))
            client.sendall(bytes(int(request)))
            receive(client, int(answer))
    say("done")


def refused(name: str, kind: str, count: str) -> None:
    """Connect to a port where nobody listens."""
    rename(name)
    family, host = LOOPBACK[kind]
    with socket.socket(family) as taken:
        taken.bind((host, 0))
        for _ in range(int(count)):
            with socket.socket(family) as client, contextlib.suppress(ConnectionRefusedError):
                client.connect(taken.getsockname()[:2])
                raise AssertionError("somebody listens")
    say("done")


def _to_silence(kind: str, count: str) -> list[socket.socket]:
    family = LOOPBACK[kind][0]
    host = f"::ffff:{SILENT[socket.AF_INET]}" if kind == "m" else SILENT[family]
    clients = [socket.socket(family) for _ in range(int(count))]
    for client in clients:
        client.setblocking(False)
        client.connect_ex((host, 9))
    return clients


def timed_out(name: str, kind: str, count: str) -> None:
    """Connect to silence and wait until the kernel gives up on each."""
    rename(name)
    for client in _to_silence(kind, count):
        with client:
            client.setblocking(True)
            client.settimeout(20)
            try:
                client.recv(1)
            except TimeoutError as error:
                if error.errno is None:
                    raise AssertionError("the kernel did not give up") from error
    say("done")


def canceled(name: str, kind: str, count: str) -> None:
    """Connect to silence and close before an answer."""
    rename(name)
    for client in _to_silence(kind, count):
        client.close()
    say("done")


def prefork(name: str, worker: str, count: str) -> None:
    """Listen under one name and accept in a child of another."""
    rename(name)
    with listener("4") as server:
        child = os.fork()
        if not child:
            rename(worker)
            say(str(server.getsockname()[1]))
            for _ in range(int(count)):
                peer, _ = server.accept()
                receive(peer, 3)
                peer.close()
            os._exit(0)
        os.waitpid(child, 0)
    say("done")


def never_accepted(name: str, client: str, count: str) -> None:
    """Connections that wait in the accept queue until the client closes and the listener goes."""
    rename(name)
    with listener("4") as server:
        child = os.fork()
        if not child:
            connect_only(client, server.getsockname()[1], int(count))
            os._exit(0)
        os.waitpid(child, 0)
    say("done")


def connect_only(name: str, port: int, count: int) -> None:
    rename(name)
    for _ in range(count):
        socket.create_connection(("127.0.0.1", port)).close()


def reset(name: str, count: str) -> None:
    """Accept, then abort: the client's connection ends by a reset."""
    rename(name)
    with listener("4") as server:
        for _ in range(int(count)):
            with socket.create_connection(server.getsockname()) as client:
                peer, _ = server.accept()
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                peer.close()
                with contextlib.suppress(ConnectionResetError):
                    client.recv(1)
    say("done")


def hold(name: str, count: str, before: str, after: str, cgroup: str = "") -> None:
    """Open connections to itself, send `before` bytes on each, at a line of input `after` more, and close at the next."""
    rename(name)
    if cgroup:
        Path(cgroup, "cgroup.procs").write_text(str(os.getpid()))
    with listener("4") as server, contextlib.ExitStack() as held:
        pairs = []
        for _ in range(int(count)):
            client = held.enter_context(socket.create_connection(server.getsockname()))
            peer = held.enter_context(server.accept()[0])
            pairs.append((client, peer))
        for word, size in (("held", int(before)), ("sent", int(after))):
            for client, peer in pairs:
                client.sendall(bytes(size))
                receive(peer, size)
            say(word)
            sys.stdin.readline()
    say("done")


def half_open(name: str, count: str) -> None:
    """Send SYNs from an address that does not answer; the kernel sends each SYN-ACK again once and gives up."""
    rename(name)
    with socket.socket() as server, socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        server.bind((HERE, 0))
        server.listen(128)
        for number in range(int(count)):
            raw.sendto(syn(40000 + number, server.getsockname()[1]), (HERE, 0))
        say("sent")
        sys.stdin.readline()
    say("done")


def overflow(name: str, count: str) -> None:
    """Fill an accept queue of one, connect `count` times more, and close before any SYN is sent again."""
    rename(name)
    with listener("4", backlog=1) as server, contextlib.ExitStack() as held:
        for _ in range(2):
            held.enter_context(socket.create_connection(server.getsockname()))
        for _ in range(int(count)):
            with socket.socket() as client:
                client.setblocking(False)
                client.connect_ex(server.getsockname())
        say("full")
        sys.stdin.readline()
    say("done")


def unread(name: str, count: str) -> None:
    """Close the accepting end while data waits in it: the kernel answers with a reset."""
    rename(name)
    with listener("4") as server:
        for _ in range(int(count)):
            with socket.create_connection(server.getsockname()) as client:
                peer, _ = server.accept()
                client.sendall(b"unread")
                while not select.select([peer], [], [], 1)[0]:
                    pass
                peer.close()
                with contextlib.suppress(ConnectionResetError):
                    client.recv(1)
    say("done")


def ping_pong(name: str, count: str, size: str) -> None:
    """Send `size` bytes to itself and wait until they have come, `count` times; then keep the connection open."""
    rename(name)
    with listener("4") as server, socket.create_connection(server.getsockname()) as client, server.accept()[0] as peer:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        say(str(client.getsockname()[1]))
        sys.stdin.readline()
        for _ in range(int(count)):
            client.sendall(bytes(int(size)))
            receive(peer, int(size))
        say("sent")
        sys.stdin.readline()
    say("done")


def prepare() -> None:
    """Make this process's (new) network namespace what the steps need."""
    for command in (
        "link set lo up",
        "link add obia type veth peer name obib",
        "link set obia up",
        "link set obib up",
        f"addr add {HERE}/16 dev obia",
        "addr add fd99::ffff/64 dev obia nodad",
        f"neigh add {SILENT[socket.AF_INET]} lladdr 02:00:00:00:00:99 dev obia nud permanent",
        f"neigh add {SILENT[socket.AF_INET6]} lladdr 02:00:00:00:00:99 dev obia nud permanent",
    ):
        subprocess.run(["ip", *command.split()], check=True)
    for setting, value in (("tcp_syn_retries", "1"), ("tcp_synack_retries", "1"), ("tcp_syn_linear_timeouts", "0")):
        file = Path("/proc/sys/net/ipv4", setting)
        if file.exists():  # the last since Linux 6.5
            file.write_text(value)
    say("ready")
    sys.stdin.readline()


STEPS: dict[str, Callable[..., None]] = {
    "serve": serve,
    "connect": connect,
    "refused": refused,
    "timed-out": timed_out,
    "canceled": canceled,
    "prefork": prefork,
    "never-accepted": never_accepted,
    "reset": reset,
    "hold": hold,
    "half-open": half_open,
    "overflow": overflow,
    "unread": unread,
    "ping-pong": ping_pong,
    "prepare": prepare,
}

if __name__ == "__main__":
    STEPS[sys.argv[1]](*sys.argv[2:])
