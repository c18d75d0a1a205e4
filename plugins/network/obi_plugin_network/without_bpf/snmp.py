"""Drops that the protocols of this network namespace count: /proc/net/snmp and /proc/net/snmp6."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

_REASONS: Final[Mapping[str, tuple[str, str]]] = {
    "UdpNoPorts": ("udp", "no_socket"),
    "UdpRcvbufErrors": ("udp", "socket_rcvbuff"),
    "UdpInCsumErrors": ("udp", "udp_csum"),
    "Udp6NoPorts": ("udp", "no_socket"),
    "Udp6RcvbufErrors": ("udp", "socket_rcvbuff"),
    "Udp6InCsumErrors": ("udp", "udp_csum"),
    "TcpInCsumErrors": ("tcp", "tcp_csum"),
}
"""Counters that count exactly what one of the kernel's drop reasons means; the others count several, or other things too."""


def drops(proc: Path) -> dict[str, tuple[str, str, int]]:
    """Read transport, reason and count, by the counter's name; a counter that this kernel lacks is left out.

    Args:
        proc: Where procfs is mounted.
    """
    numbers = _groups(_text(proc / "net/snmp")) | _pairs(_text(proc / "net/snmp6"))
    return {name: (*known, numbers[name]) for name, known in _REASONS.items() if name in numbers}


def _groups(text: str) -> dict[str, int]:
    """Parse /proc/net/snmp: a line of names, then a line of numbers, both with their group before them."""
    lines = [line.split() for line in text.splitlines()]
    found: dict[str, int] = {}
    for names, numbers in zip(lines[::2], lines[1::2], strict=False):
        if names and numbers and names[0] == numbers[0]:
            group = names[0].rstrip(":")
            found.update((f"{group}{name}", int(number)) for name, number in zip(names[1:], numbers[1:], strict=False))
    return found


def _pairs(text: str) -> dict[str, int]:
    return {name: int(number) for name, _, number in (line.partition(" ") for line in text.replace("\t", " ").splitlines())}


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:  # no IPv6, or no procfs for us
        return ""
