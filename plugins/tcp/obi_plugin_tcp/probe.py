"""The tcp probe: connections by who opened them, how that ended, how they fared, how long they lived, what they carried."""

import logging
import time
from collections.abc import Iterable, Iterator
from typing import ClassVar, cast

from obi_core import Instrument, Loader, Mode, Probe, Program, View, Yielded, accounts
from obi_plugin_tcp import readers, records
from obi_plugin_tcp.catalogue import (
    CONNECTION_DURATION,
    CONNECTIONS,
    CONNECTIONS_VIEW,
    CONNECTS,
    HANDSHAKE_DURATION,
    IO,
    LISTEN_DROPS,
    RESETS,
    RETRANSMITS,
    RTT,
)
from obi_plugin_tcp.settings import TcpSettings
from obi_plugin_tcp.without_bpf.mode import NETLINK, WithoutBpf
from obi_plugin_tcp.without_bpf.open_sockets import Limits

_log = logging.getLogger(__name__)

_IN_BOTH = (
    Program("tcp_accept", loses=("obi.tcp.connects: the owner of what accept took (the listener stands in)",)),
    Program("tcp_accept4", loses=("obi.tcp.connects: the owner of what accept4 took (the listener stands in)",)),
    Program("tcp_refresh", loses=("obi.tcp.io while a connection is open", "obi.tcp.listen.drops", "view connections")),
    Program("tcp_seed", loses=("obi.tcp.connections older than the agent",)),
    Program("tcp_rtt_ops", loses=("obi.tcp.rtt",)),
)


_BCC_LOSES = (
    "obi.tcp.io",
    "obi.tcp.connects: error.type but for _OTHER",
    "the cgroup where the memory controller is a v1 one; the start of a process",
    "network namespaces: their connections count as one's",
)
"""Beside what the programs that read kernel structs would give: BCC loads none of them."""


def _programs(flavour: str) -> tuple[Program, ...]:
    return (
        Program(f"tcp_state_{flavour}"),
        Program(f"tcp_retransmit_{flavour}", loses=("obi.tcp.retransmits of data and SYN",)),
        Program(f"tcp_synack_{flavour}", loses=("obi.tcp.retransmits of SYN-ACK",)),
        Program(f"tcp_reset_out_{flavour}", loses=("obi.tcp.resets sent",)),
        Program(f"tcp_reset_in_{flavour}", loses=("obi.tcp.resets received",)),
        *_IN_BOTH,
    )


class TcpProbe(Probe):
    """Follows every TCP socket of the node from its first change of state to its last."""

    name: ClassVar[str] = "tcp"
    settings_type = TcpSettings
    instruments: ClassVar[tuple[Instrument, ...]] = (
        CONNECTS,
        HANDSHAKE_DURATION,
        CONNECTION_DURATION,
        RTT,
        IO,
        RETRANSMITS,
        RESETS,
        LISTEN_DROPS,
        CONNECTIONS,
    )
    views: ClassVar[tuple[View, ...]] = (CONNECTIONS_VIEW,)
    modes: ClassVar[tuple[Mode, ...]] = (
        Mode("tp_btf", _programs("btf"), ("cap:bpf", "cap:perfmon", "btf")),
        Mode("tracepoint", _programs("tp"), ("cap:bpf", "cap:perfmon", "types", "tracefs")),
        Mode("bcc", _programs("tp"), ("cap:bpf", "cap:perfmon", "bcc", "tracefs"), _BCC_LOSES),
        NETLINK,
    )

    def __init__(self, settings: TcpSettings) -> None:
        super().__init__(settings)
        self._without_bpf: WithoutBpf | None = None

    def load(self, loader: Loader, mode: Mode) -> None:
        """Load the mode's programs; the mode without any takes its first look at the node's sockets instead."""
        super().load(loader, mode)
        if mode.name == NETLINK.name:
            own = cast("TcpSettings", self.settings)
            bounds = Limits(own.max_sockets, own.max_rows, own.max_histograms)
            self._without_bpf = WithoutBpf(bounds, by_port=own.listen_port)

    def attach(self, mode: Mode) -> None:
        """Attach, then take in the sockets that exist: listeners first, since they tell servers from clients."""
        super().attach(mode)
        if self._without_bpf is not None:
            return
        if self.runs("tcp_seed"):
            for step in (1, 2):
                self.bpf.tune("tcp_seed_pass", step)
                count = sum(1 for _ in self.bpf.iterate("tcp_seed"))
                _log.debug("tcp: took in %d %s", count, "listeners" if step == 1 else "open connections")

    def collect(self) -> Iterable[Yielded]:
        """Bring the counters of open sockets up to date, then read every map once."""
        if self._without_bpf is not None:
            yield from self._without_bpf.collect(show=self.wants(CONNECTIONS_VIEW))
            return
        yield from self._refresh()
        rows = self.rows
        yield from readers.connects(rows("tcp_connects"))
        yield from readers.handshakes(rows("tcp_handshake_duration"))
        yield from readers.lifetimes(rows("tcp_connection_duration"))
        yield from readers.round_trips(rows("tcp_rtt"))
        yield from readers.io(rows("tcp_io"))
        yield from readers.retransmits(rows("tcp_retransmits"))
        yield from readers.resets(rows("tcp_resets"))
        yield from readers.listen_drops(rows("tcp_listen_drops"))
        yield from readers.connections(self.bpf.rows("tcp_connections"))
        yield from readers.losses(self.bpf.rows("tcp_lost"))
        yield from accounts(self.bpf.rows("tcp_account"))

    def drain(self) -> Iterable[Yielded]:
        """Slow and failed connects, a sample of ended connections, resets."""
        if self._without_bpf is not None:
            return ()
        return records.events(self.bpf.drain("tcp_events"), time.time_ns() - time.monotonic_ns())

    def _refresh(self) -> Iterator[Yielded]:
        if not self.runs("tcp_refresh"):
            return
        self.bpf.tune("tcp_rows", int(self.wants(CONNECTIONS_VIEW)))
        yield from records.connection_rows(self.bpf.iterate("tcp_refresh", walk="tcp_sockets"))
