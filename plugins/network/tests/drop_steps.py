"""Known drops, in a network namespace of its own: `drop_steps.py STEP [ARG…]`, run as a process of its own name.

The namespace has a veth pair, both ends in it. `obia` has addresses, a queue that holds nothing, and a neighbour that does not
exist; frames that a test writes come in on it through `obib`. Each step prints what the kernel's own counters say of it, then
`done`. Standard library only.
"""

import contextlib
import ctypes
import socket
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

HERE = "10.98.0.1"
NOBODY = "10.98.0.9"
HOST = {"4": (socket.AF_INET, "127.0.0.1"), "6": (socket.AF_INET6, "::1")}
MAC = {"obia": "02:00:00:00:00:0a", "obib": "02:00:00:00:00:0b"}
_UDP_SEGMENT = 103
_SO_ATTACH_FILTER = 26


def rename(name: str) -> None:
    """Set this process's `comm`."""
    if ctypes.CDLL(None).prctl(15, name.encode(), 0, 0, 0):
        raise OSError("prctl(PR_SET_NAME) failed")


def say(word: object) -> None:
    """Tell the test."""
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def counter(group: str, name: str) -> int:
    """Read /proc/net/snmp or, for a group that ends in 6, /proc/net/snmp6."""
    if group.endswith("6"):
        lines = dict(line.split() for line in Path("/proc/net/snmp6").read_text().splitlines())
        return int(lines[f"{group}{name}"])
    rows = [line.split() for line in Path("/proc/net/snmp").read_text().splitlines() if line.startswith(f"{group}: ")]
    return int(rows[1][rows[0].index(name)])


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF


def frames(count: str, packet: bytes, *, to: str = MAC["obia"]) -> None:
    """Let packets come in on `obia`."""
    head = bytes.fromhex((to + MAC["obib"]).replace(":", "")) + b"\x08\x00"
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
        wire.bind(("obib", 0))
        for _ in range(int(count)):
            wire.send(head + packet)


def ipv4(protocol: int, payload: bytes, *, target: str = HERE, ttl: int = 64, wrong: int = 0) -> bytes:
    total = 20 + len(payload)
    addresses = socket.inet_aton("10.98.0.5") + socket.inet_aton(target)

    def header(check: int) -> bytes:
        return struct.pack("!BBHHHBBH", 0x45, 0, total, 7, 0, ttl, protocol, check) + addresses

    return header(checksum(header(0)) ^ wrong) + payload


def full_queue(name: str, kind: str, count: str) -> None:
    """Fill a socket that nobody reads, then send `count` datagrams more."""
    rename(name)
    group = "Udp6" if kind == "6" else "Udp"
    family, host = HOST[kind]
    before = counter(group, "RcvbufErrors")
    with socket.socket(family, socket.SOCK_DGRAM) as unread:
        unread.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        unread.bind((host, 0))
        with socket.socket(family, socket.SOCK_DGRAM) as sender:
            while counter(group, "RcvbufErrors") == before:
                sender.sendto(bytes(500), unread.getsockname()[:2])
            for _ in range(int(count)):
                sender.sendto(bytes(500), unread.getsockname()[:2])
        say(counter(group, "RcvbufErrors") - before)
        while True:  # what is left unread at the close is another story
            try:
                unread.recv(500, socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
    say("done")


def filtered(name: str, count: str) -> None:
    """Datagrams that the receiving socket's own filter refuses."""
    rename(name)
    before = counter("Udp", "InErrors")
    nothing = ctypes.create_string_buffer(struct.pack("=HBBI", 6, 0, 0, 0))  # BPF_RET | BPF_K, 0 bytes
    program = struct.pack("=HxxxxxxQ", 1, ctypes.addressof(nothing))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as picky, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        picky.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
        picky.bind(("127.0.0.1", 0))
        for _ in range(int(count)):
            sender.sendto(b"x", picky.getsockname())
    say(counter("Udp", "InErrors") - before)
    say("done")


def no_socket(kind: str, count: str, size: str) -> None:
    """Datagrams to a port that nobody has; large ones arrive in fragments."""
    group = "Udp6" if kind == "6" else "Udp"
    family, host = HOST[kind]
    before = counter(group, "NoPorts")
    with socket.socket(family, socket.SOCK_DGRAM) as sender:
        for _ in range(int(count)):
            sender.sendto(bytes(int(size)), (host, 9))
    say(counter(group, "NoPorts") - before)
    say("done")


def refused(kind: str, count: str) -> None:
    """Connects to a port that nobody has."""
    before = counter("Tcp", "OutRsts")
    family, host = HOST[kind]
    for _ in range(int(count)):
        with socket.socket(family) as client, contextlib.suppress(ConnectionRefusedError):
            client.connect((host, 9))
            raise AssertionError("somebody listens")
    say(counter("Tcp", "OutRsts") - before)
    say("done")


def wrong_udp(count: str) -> None:
    """Datagrams with a checksum that is not theirs."""
    before = counter("Udp", "InCsumErrors")
    frames(count, ipv4(socket.IPPROTO_UDP, struct.pack("!HHHH", 9, 9, 12, 0x1234) + b"text"))
    say(counter("Udp", "InCsumErrors") - before)
    say("done")


def wrong_tcp(count: str) -> None:
    """Segments with a checksum that is not theirs."""
    before = counter("Tcp", "InCsumErrors")
    frames(count, ipv4(socket.IPPROTO_TCP, struct.pack("!HHIIBBHHH", 9, 9, 1, 1, 0x50, 0x10, 99, 0x1234, 0)))
    say(counter("Tcp", "InCsumErrors") - before)
    say("done")


def wrong_ip(count: str) -> None:
    """Packets whose IP header has another checksum."""
    frames(count, ipv4(socket.IPPROTO_UDP, struct.pack("!HHHH", 9, 9, 8, 0), wrong=0x0101))
    say(count)
    say("done")


def short_ttl(count: str) -> None:
    """Packets to be forwarded that have no hop left."""
    before = counter("Ip", "InHdrErrors")
    frames(count, ipv4(socket.IPPROTO_UDP, struct.pack("!HHHH", 9, 9, 8, 0), target="10.98.7.7", ttl=1))
    say(counter("Ip", "InHdrErrors") - before)
    say("done")


def unknown_protocol(count: str) -> None:
    """Packets of an IP protocol that the kernel does not have (RFC 3692's first for experiments)."""
    before = counter("Ip", "InUnknownProtos")
    frames(count, ipv4(253, b"experiment"))
    say(counter("Ip", "InUnknownProtos") - before)
    say("done")


def for_others(count: str) -> None:
    """Packets that a promiscuous interface sees, for another station; and what is no IP packet at all."""
    frames(count, ipv4(socket.IPPROTO_UDP, struct.pack("!HHHH", 9, 9, 8, 0)), to="02:00:00:00:00:0c")
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
        wire.bind(("obib", 0))
        for _ in range(int(count)):
            wire.send(bytes.fromhex(MAC["obia"].replace(":", "") + MAC["obib"].replace(":", "")) + b"\x88\xb5" + bytes(50))
    say("done")


def no_room(name: str, count: str, segments: str) -> None:
    """Datagrams that leave through a queue which holds nothing, in one call as so many segments each."""
    rename(name)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        if int(segments) > 1:
            sender.setsockopt(socket.IPPROTO_UDP, _UDP_SEGMENT, 1000)
        for _ in range(int(count)):
            sender.sendto(bytes(1000 * int(segments)), (NOBODY, 9))
    say("done")


def waiting(name: str, count: str) -> None:
    """Datagrams that wait for a neighbour's address, in a queue that has room for the last one alone."""
    rename(name)
    Path("/proc/sys/net/ipv4/neigh/obic/unres_qlen_bytes").write_text("1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(int(count) + 1):
            sender.sendto(b"x", ("10.97.0.77", 9))
        say(count)
        say("done")


def unread(name: str, kind: str, count: str) -> None:
    """Datagrams that a socket takes into its grave."""
    rename(name)
    family, host = HOST[kind]
    with socket.socket(family, socket.SOCK_DGRAM) as owner, socket.socket(family, socket.SOCK_DGRAM) as sender:
        owner.bind((host, 0))
        for _ in range(int(count)):
            sender.sendto(b"x", owner.getsockname()[:2])
    say(count)
    say("done")


def sound(name: str, kind: str, count: str) -> None:
    """Whole conversations without any drop: connections closed in both orders, datagrams small and in fragments."""
    rename(name)
    family, host = HOST[kind]
    with socket.create_server((host, 0), family=family) as server:
        for turn in range(int(count)):
            client = socket.create_connection(server.getsockname()[:2])
            peer, _ = server.accept()
            client.sendall(bytes(100_000))
            while len(peer.recv(100_000, socket.MSG_WAITALL)) < 100_000:
                pass
            first, second = (client, peer) if turn % 2 else (peer, client)
            first.close()
            if turn % 3:
                second.recv(1)
            second.close()
    with socket.socket(family, socket.SOCK_DGRAM) as receiver, socket.socket(family, socket.SOCK_DGRAM) as sender:
        receiver.bind((host, 0))
        for _ in range(int(count)):
            for size in (0, 1, 9000):
                sender.sendto(bytes(size), receiver.getsockname()[:2])
                receiver.recv(65536)
    say("done")


def prepare() -> None:
    """Make this process's (new) network namespace what the steps need."""
    # Else IPv6 looks for its neighbours, through the queue that drops.
    Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text("1")
    for command in (
        "link set lo up mtu 1500",
        "link add obia type veth peer name obib",
        "link add obic type veth peer name obid",
        f"link set obia address {MAC['obia']} up",
        f"link set obib address {MAC['obib']} up",
        "link set obia promisc on",
        f"addr add {HERE}/24 dev obia",
        "link set obic up",
        "link set obid up",
        "addr add 10.97.0.1/24 dev obic",
        "route add 10.98.7.0/24 dev obia",
        f"neigh replace {NOBODY} lladdr 02:00:00:00:00:99 dev obia nud permanent",
    ):
        subprocess.run(["ip", *command.split()], check=True)
    subprocess.run(["tc", "qdisc", "add", "dev", "obia", "root", "pfifo", "limit", "0"], check=True)
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    for interface in ("all", "obia"):
        Path(f"/proc/sys/net/ipv4/conf/{interface}/rp_filter").write_text("0")
    say("ready")
    sys.stdin.readline()


STEPS: dict[str, Callable[..., None]] = {
    "full-queue": full_queue,
    "filtered": filtered,
    "no-socket": no_socket,
    "refused": refused,
    "wrong-udp": wrong_udp,
    "wrong-tcp": wrong_tcp,
    "wrong-ip": wrong_ip,
    "short-ttl": short_ttl,
    "unknown-protocol": unknown_protocol,
    "for-others": for_others,
    "no-room": no_room,
    "waiting": waiting,
    "unread": unread,
    "sound": sound,
    "prepare": prepare,
}

if __name__ == "__main__":
    STEPS[sys.argv[1]](*sys.argv[2:])
