"""Two network namespaces joined by a veth pair that carries nothing but what a test sends, so that its counters are exact.

Both ends have one hardware address and no neighbour discovery: neither ARP nor ND nor MLD is ever sent. Standard library only.
"""

import ctypes
import fcntl
import json
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ADDRESS = {"4": ("10.97.0.1", "10.97.0.2"), "6": ("fd97::1", "fd97::2")}
FAMILY = {"4": socket.AF_INET, "6": socket.AF_INET6}
_MAC = "02:00:00:00:00:97"
_OFFLOADS = {"tso": 0x1F, "gso": 0x24, "gro": 0x2C}
"""ETHTOOL_STSO, ETHTOOL_SGSO, ETHTOOL_SGRO."""
_SIOCETHTOOL = 0x8946


def rename(name: str) -> None:
    """Set this process's `comm`."""
    if ctypes.CDLL(None).prctl(15, name.encode(), 0, 0, 0):
        raise OSError("prctl(PR_SET_NAME) failed")


def say(word: object) -> None:
    """Tell who started us."""
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def run(command: str) -> None:
    """Run a command that must work."""
    subprocess.run(command.split(), check=True)


def configure(device: str, last: int, offloads: bool, mtu: int = 1500) -> None:
    """Give one end its addresses."""
    for key in ("accept_ra", "accept_dad", "autoconf"):
        Path(f"/proc/sys/net/ipv6/conf/{device}/{key}").write_text("0")
    run(f"ip link set {device} address {_MAC} mtu {mtu} arp off addrgenmode none")
    run(f"ip address add 10.97.0.{last}/24 dev {device}")
    run(f"ip address add fd97::{last}/64 dev {device} nodad")
    run(f"ip link set {device} up")
    run("ip link set lo up")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for command in _OFFLOADS.values():
            value = ctypes.create_string_buffer(struct.pack("II", command, int(offloads)))
            request = struct.pack("16sQ8x", device.encode(), ctypes.addressof(value))
            fcntl.ioctl(control, _SIOCETHTOOL, request)


def counters(device: str) -> dict[str, int]:
    """What the device counted."""
    fields = next(line for line in Path("/proc/net/dev").read_text().splitlines() if line.strip().startswith(f"{device}:"))
    numbers = [int(number) for number in fields.partition(":")[2].split()]
    return {"rx_bytes": numbers[0], "rx_packets": numbers[1], "tx_bytes": numbers[8], "tx_packets": numbers[9]}


def since(device: str, before: dict[str, int]) -> dict[str, int]:
    """What it counted since."""
    return {name: count - before[name] for name, count in counters(device).items()}


class Peer:
    """The process at the other end, in a namespace of its own."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process

    def line(self) -> str:
        """Wait for its next line."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        assert line, "the peer ended"
        return line

    def go_on(self) -> None:
        """Let it take its next step."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def report(self) -> Any:
        """Wait for what it found."""
        return json.loads(self.line())


@contextmanager
def joined(script: str, *step: str, offloads: bool, mtu: int = 1500) -> Iterator[Peer]:
    """Start `script STEP…` in another namespace, join it to ours by `obia` (here) and `obib` (there), and let it go on."""
    command = ["unshare", "--net", sys.executable, script, *step]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        peer = Peer(process)
        assert peer.line() == "unshared"
        run(f"ip link add obia type veth peer name obib netns {process.pid}")
        configure("obia", 1, offloads, mtu)
        peer.go_on()
        assert peer.line() == "joined"
        yield peer
    finally:
        process.kill()
        process.wait()


def join(offloads: bool, mtu: int = 1500) -> None:
    """The other end's part of `joined`."""
    say("unshared")
    sys.stdin.readline()
    configure("obib", 2, offloads, mtu)
    say("joined")


if __name__ == "__main__":  # veth.py DEVICE LAST on|off
    configure(sys.argv[1], int(sys.argv[2]), sys.argv[3] == "on")
