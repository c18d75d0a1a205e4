"""The network probe: packets, bytes, conversations and connections, by who sends and receives them."""

import logging
from collections.abc import Iterable, Iterator
from typing import ClassVar

from obi_core import Instrument, Loader, Mode, Probe, ProbeSettings, View, Yielded, accounts
from obi_plugin_network import dns, modes, readers, records
from obi_plugin_network.catalogue import (
    CONNECTIONS,
    CONVERSATION_IO,
    CONVERSATION_PACKETS,
    DNS_ANOMALIES,
    DNS_DURATION,
    DROPS,
    IO,
    PACKETS,
    PROCESSES_VIEW,
)
from obi_plugin_network.drops import Reasons, drops
from obi_plugin_network.interfaces import Chosen, Names, local_ports
from obi_plugin_network.settings import NetworkSettings
from obi_plugin_network.without_bpf.mode import NETLINK, WithoutBpf

_log = logging.getLogger(__name__)


class NetworkProbe(Probe):
    """Counts every packet of the node at the socket that sends or receives it."""

    name: ClassVar[str] = "network"
    settings_type = NetworkSettings
    instruments: ClassVar[tuple[Instrument, ...]] = (
        PACKETS,
        IO,
        CONVERSATION_PACKETS,
        CONVERSATION_IO,
        CONNECTIONS,
        DROPS,
        DNS_DURATION,
        DNS_ANOMALIES,
    )
    views: ClassVar[tuple[View, ...]] = (PROCESSES_VIEW,)
    modes: ClassVar[tuple[Mode, ...]] = (modes.INTERFACES, modes.SOCKETS, modes.COMPILED, NETLINK)

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__(settings)
        self._own = settings
        self._chosen: Chosen | None = None
        self._names = Names()
        self._reasons = Reasons()
        self._without_bpf: WithoutBpf | None = None
        self._passes = 1
        self._driven_out = 0

    @classmethod
    def modes_for(cls, settings: ProbeSettings) -> tuple[Mode, ...]:
        """That at interfaces only where some are chosen."""
        chosen = isinstance(settings, NetworkSettings) and settings.interfaces
        return tuple(mode for mode in cls.modes if chosen or mode is not modes.INTERFACES)

    def load(self, loader: Loader, mode: Mode) -> None:
        """Load the mode's programs; the mode without any takes its first look at the node's interfaces instead."""
        super().load(loader, mode)
        if mode.name == NETLINK.name:
            own = self._own
            self._without_bpf = WithoutBpf(own.interfaces, loopback=own.loopback, by_interface=own.interface_name)

    def attach(self, mode: Mode) -> None:
        """Attach every program of the mode, then take in the sockets that exist.

        Of two programs that see the same the worse stays attached only where the better is refused; never are both, or what
        they see would count twice.
        """
        if self._without_bpf is not None:
            return
        for name, port in zip(("network_min_port", "network_max_port"), local_ports(), strict=True):
            self.bpf.tune(name, port)
        names = [program.name for program in self.chosen(mode).programs]
        instead = {better: other for better, other in modes.INSTEAD.items() if better in names and other in names}
        for name in names:
            if name not in (*modes.AT_INTERFACES.values(), *instead):
                self.bpf.attach(name)
        for better, other in instead.items():
            self._prefer(better, other)
        if mode.name == modes.INTERFACES.name:
            self._chosen = Chosen(self._own.interfaces, modes.AT_INTERFACES)
            self._chosen.begin(self.bpf)
        if self.runs(modes.SEED):
            count = sum(1 for _ in self.bpf.iterate(modes.SEED))
            _log.debug("network: took in %d open sockets", count)
        self._look_at_sockets()

    def collect(self) -> Iterable[Yielded]:
        """Look at interfaces, sockets and connections, then read every map once."""
        if self._without_bpf is not None:
            yield from self._without_bpf.collect()
            return
        if self._chosen is not None:
            self._chosen.follow(self.bpf)
        self.bpf.tune("network_shown", int(self.wants(PROCESSES_VIEW)))
        self._look_at_sockets()
        yield from self._connections()
        yield from readers.packets(self.rows("network_packets"), self._names.name)
        yield from readers.conversations(self.rows("network_conversation"), self._names.name)
        yield from drops(self.rows("network_drops"), self._reasons)
        yield from self._dns()
        if self.wants(PROCESSES_VIEW):
            yield from records.process_rows(self.bpf.rows("network_processes"))
        yield from readers.losses(self.bpf.rows("network_lost"))
        yield from accounts(self.bpf.rows("network_account"))

    def _prefer(self, better: str, other: str) -> None:
        if self.runs(better):
            self.bpf.detach(other)
            self.bpf.attach(better)
            if better in self.bpf.refused:
                self.bpf.attach(other)

    def _look_at_sockets(self) -> None:
        if modes.ALIVE not in self.bpf.refused:
            self._passes += 1
            self.bpf.tune("network_pass", self._passes)
            for _ in self.bpf.iterate(modes.ALIVE, walk="network_sockets"):
                pass

    def _dns(self) -> Iterator[Yielded]:
        if not self._own.dns:
            return
        if modes.DNS_SWEEP not in self.bpf.refused:
            for _ in self.bpf.iterate(modes.DNS_SWEEP, walk="network_dns_inflight"):
                pass
        yield from dns.durations(self.rows("network_dns_duration"), names=self._own.dns_names)
        yield from dns.anomalies(self.rows("network_dns_anomalies"))

    def _connections(self) -> Iterator[Yielded]:
        if not self._own.connections or modes.SWEEP in self.bpf.refused:
            return
        before = dict(self.bpf.rows("network_connections"))
        for _ in self.bpf.iterate(modes.SWEEP, walk="network_tracked"):
            pass
        counts = {state: count - before.get(state, 0) for state, count in self.bpf.rows("network_connections")}
        yield from readers.connections(counts.items())
        loss = readers.driven_out(self.bpf.rows("network_tally"), sum(counts.values()), self._driven_out)
        self._driven_out = loss.count
        yield loss
