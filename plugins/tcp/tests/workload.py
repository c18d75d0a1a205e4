"""A known amount of TCP, in a network namespace of its own: `workload.py STEP [ARG…]`, run as a process of its own name.

The namespace has a veth pair, both ends in it, and neighbours that do not exist, so that a SYN to them gets no answer at all;
and `tcp_syn_retries=1`, so that the kernel gives up after a few seconds. Standard library only.
"""

import contextlib
import ctypes
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

SILENT = {socket.AF_INET: "10.99.0.1", socket.AF_INET6: "fd99::1"}
LOOPBACK = {"4": (socket.AF_INET, "127.0.0.1"), "6": (socket.AF_INET6, "::1"), "m": (socket.AF_INET6, "::ffff:127.0.0.1")}


def rename(name: str) -> None:
    """Set this process's `comm`."""
    if ctypes.CDLL(None).prctl(15, name.encode(), 0, 0, 0):
        raise OSError("prctl(PR_SET_NAME) failed")


def say(word: str) -> None:
    """Tell the test that a step is reached."""
    sys.stdout.write(word + "\n")
    sys.stdout.flush()


def listener(kind: str, *, backlog: int = 128) -> socket.socket:
    family, host = LOOPBACK[kind]
    server = socket.socket(family)
    if kind == "m":
        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        host = "::"
    server.bind((host, 0))
    server.listen(backlog)
    return server


def receive(peer: socket.socket, size: int) -> None:
    while size:
        data = peer.recv(min(size, 65536))
        if not data:
            raise EOFError(f"{size} bytes are missing")
        size -= len(data)


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


def prepare() -> None:
    """Make this process's (new) network namespace what the steps need."""
    for command in (
        "link set lo up",
        "link add obia type veth peer name obib",
        "link set obia up",
        "link set obib up",
        "addr add 10.99.255.1/16 dev obia",
        "addr add fd99::ffff/64 dev obia nodad",
        f"neigh add {SILENT[socket.AF_INET]} lladdr 02:00:00:00:00:99 dev obia nud permanent",
        f"neigh add {SILENT[socket.AF_INET6]} lladdr 02:00:00:00:00:99 dev obia nud permanent",
    ):
        subprocess.run(["ip", *command.split()], check=True)
    Path("/proc/sys/net/ipv4/tcp_syn_retries").write_text("1")
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
    "prepare": prepare,
}

if __name__ == "__main__":
    STEPS[sys.argv[1]](*sys.argv[2:])
