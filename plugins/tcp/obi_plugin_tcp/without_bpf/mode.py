"""The mode that needs no BPF: the same instruments, from netlink and /proc, as far as these can give them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from obi_core import Mode, Observation, Yielded, tcp_state
from obi_plugin_tcp.catalogue import (
    CONNECTIONS,
    CONNECTS,
    DIRECTION,
    ERROR,
    OTHER,
    RESETS,
    RETRANSMIT,
    RETRANSMITS,
    ROLE,
    STATE,
)
from obi_plugin_tcp.without_bpf import netlink, procfs
from obi_plugin_tcp.without_bpf.deductions import Connects, Retransmits
from obi_plugin_tcp.without_bpf.open_sockets import Limits, OpenSockets
from obi_plugin_tcp.without_bpf.owners import Owners

NETLINK: Final = Mode(
    "netlink",
    loses=(
        "obi.tcp.handshake.duration",
        "obi.tcp.connection.duration",
        "obi.tcp.connects: the subject; error.type but for _OTHER, and what is canceled before an answer counts as a success",
        "obi.tcp.io between the last collection and the close of a connection, so all of a short one",
        "obi.tcp.rtt at each measurement (instead one for each connection that sent since the last collection)",
        "obi.tcp.retransmits: the subject; syn_ack in network.tcp.retransmit.type (counts as syn)",
        "obi.tcp.resets: the subject; receive in network.io.direction",
        "network.tcp.reset.cause",
        "obi.tcp.listen.drops between the last collection and the close of a listener",
        "view connections: column age",
        "obi.tcp.connections and all else in other network namespaces than the agent's",
    ),
)
"""Needs nothing beforehand: loading it says whether the kernel has sock_diag."""


class WithoutBpf:
    """Counts from its start on; reads /proc and asks netlink anew at each collection, and holds nothing open between.

    Args:
        limits: How much to remember.
        by_port: Whether obi.tcp.listen.drops carries server.port.
        proc: Where procfs is mounted.

    Raises:
        HostError: /proc or sock_diag does not give what this mode needs.
    """

    def __init__(self, limits: Limits, *, by_port: bool = False, proc: Path = Path("/proc")) -> None:
        self._proc = proc
        self._sockets = OpenSockets(Owners(proc), limits, by_port=by_port)
        first = procfs.read(proc)
        self._look(show=False)
        self._connects = Connects(first, self._sockets.states[netlink.SYN_SENT])
        self._retransmits = Retransmits(first)
        self._resets_before = first.resets_sent

    def collect(self, *, show: bool) -> Iterator[Yielded]:
        """Yield all rows: cumulative since the start, but for connections by state.

        Args:
            show: Whether somebody looks at the view `connections`.

        Raises:
            HostError: /proc or sock_diag does not give what this mode needs.
        """
        now = procfs.read(self._proc)
        yield from self._look(show=show)
        self._connects.take(now, self._sockets.states[netlink.SYN_SENT])
        self._retransmits.take(now)
        yield from self._sockets.observations()
        yield from self._connections()
        for attributes, count in (
            ({ROLE: "client"}, self._connects.succeeded),
            ({ROLE: "client", ERROR: OTHER}, self._connects.failed),
            ({ROLE: "server"}, self._connects.accepted),
        ):
            yield Observation(CONNECTS, ("connects", *attributes.values()), count, attributes=attributes)
        for kind, count in self._retransmits.by_type.items():
            yield Observation(RETRANSMITS, ("retransmits", kind), count, attributes={RETRANSMIT: kind})
        yield Observation(RESETS, "resets", now.resets_sent - self._resets_before, attributes={DIRECTION: "transmit"})

    def _look(self, *, show: bool) -> Iterator[Yielded]:
        return iter(self._sockets.look(netlink.listeners(), netlink.connections(), show=show))

    def _connections(self) -> Iterator[Observation]:
        for headline in CONNECTIONS.headline:
            yield Observation(
                CONNECTIONS, ("connections", headline[STATE]), self._in_state(headline[STATE]), attributes=headline
            )

    def _in_state(self, name: str) -> int:
        return sum(count for state, count in self._sockets.states.items() if tcp_state(state) == name)
