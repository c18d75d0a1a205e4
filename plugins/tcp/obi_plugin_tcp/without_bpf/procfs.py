"""The kernel's own TCP counters: /proc/net/snmp and /proc/net/netstat, of this network namespace, since it was made."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from obi_core import HostError


@dataclass(frozen=True, slots=True)
class Counters:
    """What the mode without BPF reads; all only grow. RFC 4022 and include/uapi/linux/snmp.h have the long names."""

    active_opens: int
    """SYNs of clients sent for the first time, whatever becomes of them."""
    passive_opens: int
    """Handshakes that a server finished: the kernel counts at the last ACK, not at the SYN."""
    attempt_fails: int
    """SYN_SENT that ended by a reset, an ICMP error or a timeout, and half-open connections of servers that a reset ended.
    A client that closes before an answer is not counted."""
    embryonic_resets: int
    """The servers' part of `attempt_fails`; where net.ipv4.tcp_abort_on_overflow is set, aborted ones too."""
    resets_sent: int
    retransmitted: int
    """Segments sent again, SYN and SYN-ACK included."""
    syn_retransmitted: int
    """Those of them that were SYN or SYN-ACK."""
    fast_retransmitted: int
    """Those of them that duplicate ACKs caused."""
    slow_start_retransmitted: int
    """Those of them that followed the first one after a timeout."""
    timeouts: int
    """Retransmission timers that ran out: one segment each, but some of them a client's SYN."""
    loss_probes: int
    """Tail loss probes: the last segment again, or a new one."""


def read(proc: Path) -> Counters:
    """Read both files; /proc/net/snmp first, so that whatever /proc/net/netstat tells by kind is not older than the sum.

    Args:
        proc: Where procfs is mounted.

    Raises:
        HostError: A file cannot be read, or has not the form or the names that it should have.
    """
    snmp, netstat = proc / "net/snmp", proc / "net/netstat"
    tcp = _Names(group(_text(snmp), "Tcp", str(snmp)), f"{snmp}: Tcp")
    more = _Names(group(_text(netstat), "TcpExt", str(netstat)), f"{netstat}: TcpExt")
    return Counters(
        active_opens=tcp["ActiveOpens"],
        passive_opens=tcp["PassiveOpens"],
        attempt_fails=tcp["AttemptFails"],
        embryonic_resets=more["EmbryonicRsts"],
        resets_sent=tcp["OutRsts"],
        retransmitted=tcp["RetransSegs"],
        syn_retransmitted=more["TCPSynRetrans"],
        fast_retransmitted=more["TCPFastRetrans"],
        slow_start_retransmitted=more["TCPSlowStartRetrans"],
        timeouts=more["TCPTimeouts"],
        loss_probes=more["TCPLossProbes"],
    )


def group(text: str, name: str, source: str) -> dict[str, int]:
    """Parse one group of a file in the form of /proc/net/snmp: a line of names, then a line of numbers, `name:` before both.

    Args:
        text: The whole file.
        name: `Tcp`, `TcpExt`, …
        source: The file's name, for errors.

    Raises:
        HostError: The group is not there, or not in that form.
    """
    lines = [line.split()[1:] for line in text.splitlines() if line.startswith(f"{name}:")]
    if len(lines) != 2:  # noqa: PLR2004 - names and numbers
        raise HostError(f"{source}: {name} has {len(lines)} lines instead of one of names and one of numbers")
    names, numbers = lines
    if len(names) != len(numbers):
        raise HostError(f"{source}: {name} has {len(names)} names and {len(numbers)} numbers")
    try:
        return dict(zip(names, map(int, numbers), strict=True))
    except ValueError as error:
        raise HostError(f"{source}: {name} has something that is not a number ({error})") from error


@dataclass(frozen=True, slots=True)
class _Names:
    """Numbers by name; one that is missing is an error in words."""

    numbers: Mapping[str, int]
    where: str

    def __getitem__(self, name: str) -> int:
        number = self.numbers.get(name)
        if number is None:
            raise HostError(f"{self.where} has no {name}: this kernel does not count it, so the mode netlink cannot work")
        return number


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise HostError(f"{path} cannot be read ({error}): the mode netlink needs it") from error
