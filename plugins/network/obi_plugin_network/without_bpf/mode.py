"""The mode that needs no BPF: the same instruments, from what interfaces, sockets and protocols count themselves."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from obi_core import Mode, Observation, Retired, Yielded
from obi_plugin_network.catalogue import CONNECTIONS, DIRECTION, DROP_REASON, DROPS, INTERFACE, IO, PACKETS, STATE, TRANSPORT
from obi_plugin_network.without_bpf import links, snmp, sockets
from obi_plugin_network.without_bpf.links import Counts, Link

NETLINK: Final = Mode(
    "netlink",
    loses=(
        "obi.network.packets: the subject, network.transport, network.type, error.type",
        "obi.network.packets: each packet once (instead once at each interface that it passes)",
        "obi.network.packets: segments of a packet that a driver counts as one",
        "obi.network.io: the subject, network.transport, network.type, error.type",
        "obi.network.io: the headers that segmentation repeats",
        "obi.network.conversation.packets",
        "obi.network.conversation.io",
        "obi.network.connections of UDP",
        "obi.network.drops: the subject",
        "obi.network.drops but for rx_dropped, tx_dropped, rx_missed_errors, no_socket, socket_rcvbuff, udp_csum and tcp_csum",
        "obi.network.dns.duration",
        "obi.network.dns.anomalies",
        "network.type",
        "error.type",
        "view processes",
        "obi.network.packets and all else in other network namespaces than the agent's",
    ),
)
"""Needs nothing beforehand: loading it says whether the kernel has sock_diag."""

_LOOPBACK: Final = "lo"
_DROPPED: Final = ("rx_dropped", "tx_dropped", "rx_missed_errors")

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Known:
    """An interface that was there at the last look."""

    name: str
    first: Counts
    """What it had counted before it was counted here."""
    last: Counts
    life: int
    """Tells interfaces apart that have one number after another."""


class WithoutBpf:
    """Counts from its start on; asks anew at each collection, and holds nothing open between.

    Args:
        chosen: Interfaces to count at; none: all.
        loopback: Whether the loopback interface counts.
        by_interface: Whether packets and bytes carry network.interface.name.
        proc: Where procfs is mounted.
        sys: Where sysfs is mounted.

    Raises:
        HostError: The kernel does not give what this mode needs.
    """

    def __init__(
        self,
        chosen: Sequence[str] = (),
        *,
        loopback: bool = True,
        by_interface: bool = False,
        proc: Path = Path("/proc"),
        sys: Path = Path("/sys"),
    ) -> None:
        self._chosen, self._loopback, self._by_interface = frozenset(chosen), loopback, by_interface
        self._proc, self._sys = proc, sys
        self._lives = 0
        self._missing: frozenset[str] = frozenset()
        self._known = {link.number: self._meet(link, link.counts) for link in self._links()}
        self._say()
        self._dropped = snmp.drops(proc)
        sockets.connections()

    def collect(self) -> Iterator[Yielded]:
        """Yield all rows: cumulative since the start, but for connections by state.

        Raises:
            HostError: The kernel does not give what this mode needs.
        """
        yield from self._look()
        for known in self._known.values():
            yield from self._interface(known)
        for name, (transport, reason, count) in snmp.drops(self._proc).items():
            before = self._dropped[name][2] if name in self._dropped else 0
            yield Observation(DROPS, ("drops", name), count - before, attributes={TRANSPORT: transport, DROP_REASON: reason})
        for state, count in sockets.connections().items():
            yield Observation(CONNECTIONS, ("connections", state), count, attributes={TRANSPORT: "tcp", STATE: state})

    def _links(self) -> list[Link]:
        return [
            link
            for link in links.read(self._sys)
            if (link.name in self._chosen if self._chosen else self._loopback or link.name != _LOOPBACK)
        ]

    def _look(self) -> Iterator[Retired]:
        """Take in what interfaces count now; those that are gone, or are others under the same number, end."""
        before, self._known = self._known, {}
        for link in self._links():
            counts = _without_headers(link)
            known = before.get(link.number)
            if known is None or known.name != link.name or any(now < was for now, was in zip(counts, known.last, strict=True)):
                self._known[link.number] = self._meet(link, Counts(*[0] * len(counts)))
            else:
                known.last = counts
                self._known[link.number] = before.pop(link.number)
        for known in before.values():
            yield from (Retired(_key(what, known)) for what in ("receive", "transmit", *_DROPPED))
        self._say()

    def _meet(self, link: Link, first: Counts) -> _Known:
        self._lives += 1
        counts = _without_headers(link)
        return _Known(link.name, counts if first is link.counts else first, counts, self._lives)

    def _say(self) -> None:
        """Name chosen interfaces that are not there, once until that changes."""
        missing = self._chosen - {known.name for known in self._known.values()}
        if new := missing - self._missing:
            _log.warning("network: no interface is called %s: counted from when there is one", ", ".join(sorted(new)))
        self._missing = missing

    def _interface(self, known: _Known) -> Iterator[Observation]:
        name = {INTERFACE: known.name} if self._by_interface else {}
        new = Counts(*(now - was for now, was in zip(known.last, known.first, strict=True)))
        for direction, packets, size in (
            ("receive", new.rx_packets, new.rx_bytes),
            ("transmit", new.tx_packets, new.tx_bytes),
        ):
            attributes = {DIRECTION: direction, **name}
            yield Observation(PACKETS, _key(direction, known), packets, attributes=attributes)
            yield Observation(IO, _key(direction, known), size, attributes=attributes)
        for reason in _DROPPED:
            yield Observation(DROPS, _key(reason, known), getattr(new, reason), attributes={DROP_REASON: reason})


def _key(what: str, known: _Known) -> tuple[str, int]:
    return what, known.life


def _without_headers(link: Link) -> Counts:
    """Counts with L3 bytes."""
    counts, header = link.counts, link.header_bytes
    return counts._replace(
        rx_bytes=max(0, counts.rx_bytes - header * counts.rx_packets),
        tx_bytes=max(0, counts.tx_bytes - header * counts.tx_packets),
    )
