"""Known DNS, in a network namespace of its own: `dns_steps.py STEP [ARG…]`, run as a process of its own name.

The first label of a question says what the server does with it. Standard library only.
"""

import ctypes
import random
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

HOST = {"4": (socket.AF_INET, "127.0.0.1"), "6": (socket.AF_INET6, "::1"), "h": (socket.AF_INET, "127.53.53.53")}
"""Loopback addresses; `h` is one that nobody else uses in the machine's own namespace."""
CODE = {"formerr": 1, "servfail": 2, "nxdomain": 3, "notimp": 4, "refused": 5, "notauth": 9, "strange": 14}
_ANSWER, _TRUNCATED, _WANTED = 0x8000, 0x0200, 0x0100
_EDNS = b"\0" + struct.pack("!HHIH", 41, 1232, 0, 0)


def rename(name: str) -> None:
    """Set this process's `comm`."""
    if ctypes.CDLL(None).prctl(15, name.encode(), 0, 0, 0):
        raise OSError("prctl(PR_SET_NAME) failed")


def say(word: object) -> None:
    """Tell the test."""
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def question(number: int, name: str, kind: int, *, edns: bool = False) -> bytes:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"
    return struct.pack("!HHHHHH", number, _WANTED, 1, 0, 0, edns) + labels + struct.pack("!HH", kind, 1) + _EDNS * edns


def answers(asked: bytes) -> Iterator[bytes]:
    """What the server says to a question, after what time."""
    number = asked[:2]
    word, _, _ = asked[13 : 13 + asked[12]].decode().lower().partition("-")
    flags = _ANSWER | _WANTED | CODE.get(word, 0)
    rest = struct.pack("!HHHH", 1, 0, 0, 0) + asked[12:]
    if word.startswith("delay"):
        time.sleep(int(word.removeprefix("delay")) / 1000)
    if word == "silent":
        return
    if word == "truncated":
        flags |= _TRUNCATED
    if word == "bare":  # some servers leave the question out of an error
        flags, rest = _ANSWER | CODE["servfail"], bytes(8)
    if word == "broken":
        yield number + b"\x81"
        return
    for _ in range(2 if word == "twice" else 1):
        yield number + struct.pack("!H", flags) + rest


def serve(name: str, kind: str) -> None:
    """Answer until the test ends."""
    rename(name)
    family, host = HOST[kind]
    with socket.socket(family, socket.SOCK_DGRAM) as server:
        server.bind((host, 53))
        say("serving")
        while True:
            asked, peer = server.recvfrom(2048)
            for each in answers(asked):
                server.sendto(each, peer)


def ask(name: str, kind: str, count: str, record: str, host_name: str, replies: str = "1", edns: str = "") -> None:
    """Ask `count` times, each time waiting for `replies` answers; say between what times all of them came."""
    rename(name)
    family, host = HOST[kind]
    took = []
    with socket.socket(family, socket.SOCK_DGRAM) as client:
        for number in range(int(count)):
            start = time.monotonic_ns()
            client.sendto(question(number, host_name, int(record), edns=bool(edns)), (host, 53))
            for _ in range(int(replies)):
                client.recv(2048)
            took.append(time.monotonic_ns() - start)
    say(f"{min(took)} {max(took)}")
    say("done")


def insist(name: str, kind: str, count: str, host_name: str) -> None:
    """Ask one thing `count` times before the first answer is read."""
    rename(name)
    family, host = HOST[kind]
    with socket.socket(family, socket.SOCK_DGRAM) as client:
        for _ in range(int(count)):
            client.sendto(question(7, host_name, 1), (host, 53))
        for _ in range(int(count)):
            client.recv(2048)
    say("done")


def late(name: str, kind: str, wait_ms: str) -> None:
    """Ask, and ask another thing by the same number when the first is over."""
    rename(name)
    family, host = HOST[kind]
    with socket.socket(family, socket.SOCK_DGRAM) as client:
        client.sendto(question(7, "silent.test", 1), (host, 53))
        time.sleep(int(wait_ms) / 1000)
        client.sendto(question(7, "fine.test", 28), (host, 53))
        client.recv(2048)
    say("done")


def noise(name: str, count: str, seed: str) -> None:
    """Random bytes to port 53, through a raw socket."""
    rename(name)
    chance = random.Random(int(seed))
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP) as wire:
        for _ in range(int(count)):
            payload = chance.randbytes(chance.randrange(200))
            wire.sendto(struct.pack("!HHHH", 1000, 53, 8 + len(payload), 0) + payload, ("127.0.0.1", 0))
    say("done")


def uninvited(name: str, count: str) -> None:
    """Answers that nobody asked for."""
    rename(name)
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server,
    ):
        client.bind(("127.0.0.1", 0))
        server.bind(("127.0.0.1", 53))
        for number in range(int(count)):
            server.sendto(struct.pack("!HHHHHH", number, _ANSWER, 0, 0, 0, 0), client.getsockname())
            client.recv(2048)
    say("done")


def prepare() -> None:
    """Make this process's (new) network namespace what the steps need."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    say("ready")
    sys.stdin.readline()


STEPS: dict[str, Callable[..., None]] = {
    "serve": serve,
    "ask": ask,
    "insist": insist,
    "late": late,
    "noise": noise,
    "uninvited": uninvited,
    "prepare": prepare,
}

if __name__ == "__main__":
    STEPS[sys.argv[1]](*sys.argv[2:])
