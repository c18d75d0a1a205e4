"""The tcp probe: connections by who opened them, how that ended, how long they lived and what they carried."""

import logging
from collections.abc import Iterable, Iterator
from typing import ClassVar

from obi_core import Instrument, Mode, Probe, Program, View, Yielded
from obi_plugin_tcp import readers
from obi_plugin_tcp.catalogue import (
    CONNECTION_DURATION,
    CONNECTIONS,
    CONNECTIONS_VIEW,
    CONNECTS,
    HANDSHAKE_DURATION,
    IO,
)
from obi_plugin_tcp.settings import TcpSettings

_log = logging.getLogger(__name__)

_BESIDE_THE_STATE = (
    Program("tcp_accept", loses=("obi.tcp.connects: the owner of what accept took (the listener stands in)",)),
    Program("tcp_accept4", loses=("obi.tcp.connects: the owner of what accept4 took (the listener stands in)",)),
    Program("tcp_refresh", loses=("obi.tcp.io while a connection is open", "view connections")),
    Program("tcp_seed", loses=("obi.tcp.connections older than the agent",)),
)


class TcpProbe(Probe):
    """Follows every TCP socket of the node from its first change of state to its last."""

    name: ClassVar[str] = "tcp"
    settings_type = TcpSettings
    instruments: ClassVar[tuple[Instrument, ...]] = (CONNECTS, HANDSHAKE_DURATION, CONNECTION_DURATION, IO, CONNECTIONS)
    views: ClassVar[tuple[View, ...]] = (CONNECTIONS_VIEW,)
    modes: ClassVar[tuple[Mode, ...]] = (
        Mode("tp_btf", (Program("tcp_state_btf"), *_BESIDE_THE_STATE), ("cap:bpf", "cap:perfmon", "btf")),
        Mode("tracepoint", (Program("tcp_state_tp"), *_BESIDE_THE_STATE), ("cap:bpf", "cap:perfmon", "btf", "tracefs")),
    )

    def attach(self, mode: Mode) -> None:
        """Attach, then take in the sockets that exist: listeners first, since they tell servers from clients."""
        super().attach(mode)
        if "tcp_seed" not in self.bpf.refused:
            for step in (1, 2):
                self.bpf.tune("tcp_seed_pass", step)
                count = sum(1 for _ in self.bpf.iterate("tcp_seed"))
                _log.debug("tcp: took in %d %s", count, "listeners" if step == 1 else "open connections")

    def collect(self) -> Iterable[Yielded]:
        """Bring the byte counters of open connections up to date, then read every map once."""
        yield from self._refresh()
        rows = self.bpf.rows
        yield from readers.connects(rows("tcp_connects"))
        yield from readers.handshakes(rows("tcp_handshake_duration"))
        yield from readers.lifetimes(rows("tcp_connection_duration"))
        yield from readers.io(rows("tcp_io"))
        yield from readers.connections(rows("tcp_connections"))
        yield from readers.losses(rows("tcp_lost"))

    def _refresh(self) -> Iterator[Yielded]:
        if "tcp_refresh" in self.bpf.refused:
            return
        self.bpf.tune("tcp_rows", int(self.wants(CONNECTIONS_VIEW)))
        yield from readers.connection_rows(self.bpf.iterate("tcp_refresh", walk="tcp_sockets"))
