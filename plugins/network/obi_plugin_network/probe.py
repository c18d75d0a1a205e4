"""The network probe: packets, bytes and conversations, by who sends and receives them."""

from collections.abc import Iterable
from typing import ClassVar

from obi_core import Instrument, Mode, Probe, Program, View, Yielded
from obi_plugin_network import readers
from obi_plugin_network.catalogue import CONVERSATION_IO, CONVERSATION_PACKETS, DROPS, IO, PACKETS
from obi_plugin_network.drops import Reasons, drops
from obi_plugin_network.settings import NetworkSettings

_SUBJECT = "obi.network.packets: the subject"

_OWNERS = (
    Program("network_create", loses=(f"{_SUBJECT} of sockets that are not connected",)),
    Program("network_dial4", loses=(f"{_SUBJECT} of IPv4 sockets that change hands before connect",)),
    Program("network_dial6", loses=(f"{_SUBJECT} of IPv6 sockets that change hands before connect",)),
    Program("network_bind4", loses=("obi.network.conversation.io: which IPv4 UDP socket is the server",)),
    Program("network_bind6", loses=("obi.network.conversation.io: which IPv6 UDP socket is the server",)),
    Program("network_sockops", loses=(f"{_SUBJECT} of accepted connections (the listener stands in)",)),
    Program("network_accept", loses=(f"{_SUBJECT} of what accept took (the listener stands in)",)),
    Program("network_accept4", loses=(f"{_SUBJECT} of what accept4 took (the listener stands in)",)),
)

_DROPS_BTF = "network_drop_btf"
_DROPS_TRACEPOINT = "network_drop_tp"
_DROPS = (
    Program(_DROPS_BTF, loses=("obi.network.drops: the subject",)),
    Program(_DROPS_TRACEPOINT, loses=("obi.network.drops where tp_btf is refused too",)),
)


class NetworkProbe(Probe):
    """Counts every packet of the node at the socket that sends or receives it."""

    name: ClassVar[str] = "network"
    settings_type = NetworkSettings
    instruments: ClassVar[tuple[Instrument, ...]] = (PACKETS, IO, CONVERSATION_PACKETS, CONVERSATION_IO, DROPS)
    views: ClassVar[tuple[View, ...]] = ()
    modes: ClassVar[tuple[Mode, ...]] = (
        Mode(
            "cgroup_skb",
            (Program("network_in"), Program("network_out"), *_OWNERS, *_DROPS),
            ("cap:bpf", "cap:net_admin", "cap:perfmon", "btf", "cgroup2"),
        ),
    )

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__(settings)
        self._reasons = Reasons()

    def attach(self, mode: Mode) -> None:
        """Attach every program of the mode; of the two that see drops, the tracepoint's only where the other is refused."""
        names = [program.name for program in mode.programs]
        if _DROPS_BTF in names and _DROPS_BTF not in self.bpf.refused:
            names.remove(_DROPS_TRACEPOINT)
        for name in names:
            self.bpf.attach(name)

    def collect(self) -> Iterable[Yielded]:
        """Read every map once."""
        rows = self.bpf.rows
        yield from readers.packets(rows("network_packets"))
        yield from drops(rows("network_drops"), self._reasons)
        yield from readers.losses(rows("network_lost"))
