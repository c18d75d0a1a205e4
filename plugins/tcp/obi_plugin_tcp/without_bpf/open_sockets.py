"""Open sockets from one look to the next: whose they are, and what they carried meanwhile."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import ceil, log2
from typing import Final

from obi_core import Loss, Observation, Owner, Retired, Row, address, tcp_state
from obi_plugin_tcp.catalogue import CONNECTIONS_VIEW, DIRECTION, FAMILIES, IO, LISTEN_DROPS, PORT, ROLE, RTT, TYPE
from obi_plugin_tcp.without_bpf.netlink import LISTEN, SYN_RECEIVED, UNACCEPTED, Socket
from obi_plugin_tcp.without_bpf.owners import Owners
from obi_plugin_tcp.without_bpf.totals import Totals

_V4_MAPPED: Final = bytes(10) + b"\xff\xff"
_ANY: Final = (bytes(16), _V4_MAPPED + bytes(4))
_IPV4: Final = 2


@dataclass(frozen=True, slots=True)
class Limits:
    """How much to remember."""

    sockets: int
    rows: int
    histograms: int


@dataclass(slots=True)
class _Known:
    """A socket that was there at the last look, and what is counted of it."""

    role: str
    seen: int
    received: int = 0
    sent: int = 0
    segments_sent: int = -1
    drops: int = 0
    owner: Owner | None = None
    searched: bool = False
    """The owner is found, or is nowhere to be found."""

    def have(self, now: Socket) -> None:
        """Take all that the socket carried so far as counted."""
        self.received, self.sent, self.drops = max(self.received, now.received), max(self.sent, now.sent), now.drops
        self.segments_sent = now.segments_sent


class OpenSockets:
    """Knows every open socket by its cookie, and counts what is new of it.

    A connection that nobody has accepted waits to be counted until it has an owner. One that closes loses what it carried
    since the last look.

    Args:
        owners: Finds who holds a socket.
        limits: How much to remember.
        by_port: Whether drops of listeners carry their port.
    """

    def __init__(self, owners: Owners, limits: Limits, *, by_port: bool) -> None:
        self._owners, self._limit, self._by_port = owners, limits.sockets, by_port
        self._known: dict[int, _Known] = {}
        self._waiting: list[tuple[Socket, _Known]] = []
        self._looks = 0
        self._beyond = 0
        self._lost = 0
        self._io, self._drops = Totals(IO, limits.rows), Totals(LISTEN_DROPS, limits.rows)
        self._rtt = Totals(RTT, limits.histograms)
        self.states: Counter[int] = Counter()
        """Sockets by state at the last look."""

    def look(self, listening: Iterable[Socket], connected: Iterable[Socket], *, show: bool = False) -> list[Row]:
        """Count what is new; the first look counts nothing.

        Args:
            listening: Listeners; read to the end before `connected` is asked, since they tell servers from clients.
            connected: All other sockets.
            show: Whether to make rows of the view.

        Returns:
            Rows of the view `connections`.
        """
        self._looks += 1
        beyond, self._beyond, self.states = self._beyond, 0, Counter()
        places: set[tuple[bytes, int]] = set()
        for found in listening:
            places.add((found.local, found.local_port))
            self.states[LISTEN] += 1
            self._meet(found, "listener")
        shown: list[tuple[Socket, _Known]] = []
        for found in connected:
            self.states[found.state] += 1
            if found.state == SYN_RECEIVED:
                continue  # half open: a request, without counters
            served = any((host, found.local_port) in places for host in (found.local, *_ANY))
            known = self._meet(found, "server" if served else "client")
            if show and known is not None:
                shown.append((found, known))
        self._own()
        self._forget()
        self._lost += max(0, self._beyond - beyond)
        return [_row(found, known) for found, known in shown]

    def observations(self) -> Iterator[Observation | Retired | Loss]:
        """Give what was counted."""
        yield from self._io.observations()
        yield from self._rtt.observations()
        yield from self._drops.observations()
        yield Loss("sockets_full", self._lost)

    def _meet(self, found: Socket, role: str) -> _Known | None:
        known = self._known.get(found.cookie)
        if known is None:
            if len(self._known) >= self._limit:
                self._beyond += 1
                return None
            known = self._known[found.cookie] = _Known(role, self._looks)
            if self._looks == 1:
                known.have(found)
        known.seen = self._looks
        if known.searched:
            self._count(found, known)
        elif found.inode or found.state not in UNACCEPTED:
            self._waiting.append((found, known))
        return known

    def _own(self) -> None:
        """Find owners for all that wait for one, then count what they carried."""
        waiting, self._waiting = self._waiting, []
        owners, complete = self._owners.find(found.inode for found, _ in waiting)
        for found, known in waiting:
            known.owner = owners.get(found.inode)
            known.searched = complete or known.owner is not None
            if not known.searched:
                continue
            if known.owner is None and found.cgroup_id and self._owners.v2:
                known.owner = Owner(0, 0, found.cgroup_id, "")
            self._count(found, known)

    def _count(self, found: Socket, known: _Known) -> None:
        if found.received > known.received:
            self._io.add(known.owner, {DIRECTION: "receive"}, (0, found.received - known.received))
        if found.sent > known.sent:
            self._io.add(known.owner, {DIRECTION: "transmit"}, (0, found.sent - known.sent))
        if found.rtt_us and found.segments_sent > known.segments_sent:
            attributes = {TYPE: _type(found), ROLE: known.role}
            self._rtt.add(known.owner, attributes, (_bucket(found.rtt_us), 1), (-1, found.rtt_us * 1_000))
        if found.drops > known.drops:
            port = {PORT: found.local_port} if self._by_port else {}
            self._drops.add(known.owner, port, (0, found.drops - known.drops))
        known.have(found)

    def _forget(self) -> None:
        gone = [cookie for cookie, known in self._known.items() if known.seen != self._looks]
        for cookie in gone:
            del self._known[cookie]


def _row(found: Socket, known: _Known) -> Row:
    host = address(found.peer)
    return Row(
        CONNECTIONS_VIEW,
        found.cookie,
        known.owner,
        (
            f"[{host}]:{found.peer_port}" if ":" in host else f"{host}:{found.peer_port}",
            known.role,
            tcp_state(found.state),
            found.rtt_us / 1e6 if found.rtt_us else None,
            found.received,
            found.sent,
            found.retransmits,
            None,
        ),
    )


def _type(found: Socket) -> str:
    return FAMILIES[_IPV4] if found.peer.startswith(_V4_MAPPED) else FAMILIES[found.family]


def _bucket(rtt_us: int) -> int:
    """Choose the bucket of a histogram: that whose upper bound is the first not below the value."""
    layout = RTT.buckets
    if layout is None:
        raise TypeError(f"{RTT.name} has no buckets")
    index = ceil(log2(rtt_us / 1e6) * (1 << layout.scale)) - 1 - layout.first
    return min(max(index, 0), layout.count - 1)
