"""Interfaces of this network namespace, with what they count: rtnetlink, or /sys/class/net where that is refused."""

from collections.abc import Iterator
from pathlib import Path
from struct import Struct
from typing import Final, NamedTuple

from obi_core import HostError, errno_name
from obi_plugin_network.without_bpf import netlink

_RTM_GETLINK: Final = 18
_REQUEST: Final = Struct("=B3xiII")
_MESSAGE: Final = Struct("=BxHiII")
"""`struct ifinfomsg`: family, type, index, flags, change."""
_NAME: Final = 3
_STATS64: Final = 23
"""IFLA_IFNAME, IFLA_STATS64."""
_COUNTS: Final = Struct("=4Q 16x 2Q 56x Q")
"""`struct rtnl_link_stats64`: packets and bytes, dropped of both directions, rx_missed_errors."""
_ETHERNET: Final = 1
"""ARPHRD_ETHER: counts a link header of 14 bytes with each packet; the loopback interface and tunnels count none."""
_HEADER_BYTES: Final = 14


class Counts(NamedTuple):
    """What an interface counted since it was made."""

    rx_packets: int
    tx_packets: int
    rx_bytes: int
    """With the link header, as all bytes here."""
    tx_bytes: int
    rx_dropped: int
    tx_dropped: int
    rx_missed_errors: int


class Link(NamedTuple):
    """One interface, as it is now."""

    number: int
    name: str
    header_bytes: int
    """Of the link header that its bytes include, for each packet."""
    counts: Counts


def read(sys: Path) -> list[Link]:
    """List all interfaces.

    Args:
        sys: Where sysfs is mounted.

    Raises:
        HostError: Neither rtnetlink nor sysfs lists them.
    """
    try:
        found = [parse(message) for message in netlink.dump(netlink.ROUTE, _RTM_GETLINK, _REQUEST.pack(0, 0, 0, 0))]
    except OSError as error:
        refusal = errno_name(error.errno or 0)
        folder = sys / "class/net"
        if not folder.is_dir():
            message = f"the kernel does not list interfaces [{refusal}], and {folder} is not there: the mode netlink needs one"
            raise HostError(message) from error
        return list(_of_sysfs(folder))
    return [link for link in found if link is not None]


def parse(message: bytes) -> Link | None:
    """Read one `struct ifinfomsg` with its attributes; None if it has no name or no counts."""
    if len(message) < _MESSAGE.size:
        return None
    _, kind, index, _, _ = _MESSAGE.unpack_from(message)
    name, counts = "", None
    for attribute, value in netlink.attributes(message, _MESSAGE.size):
        if attribute == _NAME:
            name = value.rstrip(b"\0").decode("utf-8", "replace")
        elif attribute == _STATS64 and len(value) >= _COUNTS.size:
            counts = Counts(*_COUNTS.unpack_from(value))
    if not name or counts is None:
        return None
    return Link(index, name, _HEADER_BYTES if kind == _ETHERNET else 0, counts)


def _of_sysfs(folder: Path) -> Iterator[Link]:
    for interface in sorted(folder.iterdir()):
        try:
            index = int((interface / "ifindex").read_text())
            header = _HEADER_BYTES if int((interface / "type").read_text()) == _ETHERNET else 0
            counts = Counts(*(int((interface / "statistics" / name).read_text()) for name in Counts._fields))
        except (OSError, ValueError):  # it vanished meanwhile, or is no interface (bonding_masters)
            continue
        yield Link(index, interface.name, header, counts)
