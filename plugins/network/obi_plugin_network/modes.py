"""Ways for the network probe to work, best first, and what each cannot give."""

from typing import Final

from obi_core import Mode, Program

SEED: Final = "network_seed"
ALIVE: Final = "network_alive"
SWEEP: Final = "network_sweep"
DNS_SWEEP: Final = "network_dns_sweep"
DROPS_BTF: Final = "network_drop_btf"
DROPS_TRACEPOINT: Final = "network_drop_tp"
AT_INTERFACES: Final = {"ingress": "network_tc_in", "egress": "network_tc_out"}
"""Attached where the settings say."""

_SUBJECT: Final = "obi.network.packets: the subject"
_SERVER: Final = "obi.network.conversation.packets: which end is the server"

_SOCKETS: Final = (
    Program(
        "network_create",
        loses=(f"{_SUBJECT} of sockets that are not connected", "view processes: those that do not connect"),
    ),
    Program("network_dial4", loses=(f"{_SUBJECT} of IPv4 sockets that change hands before connect",)),
    Program("network_dial6", loses=(f"{_SUBJECT} of IPv6 sockets that change hands before connect",)),
    Program("network_bind4", loses=(f"{_SERVER}, of IPv4 sockets that do not listen",)),
    Program("network_bind6", loses=(f"{_SERVER}, of IPv6 sockets that do not listen",)),
    Program("network_sockops", loses=(f"{_SUBJECT} of accepted connections (the listener stands in)",)),
    Program("network_accept", loses=(f"{_SUBJECT} of what accept took (the listener stands in)",)),
    Program("network_accept4", loses=(f"{_SUBJECT} of what accept4 took (the listener stands in)",)),
    Program(SEED, loses=(f"{_SUBJECT} of sockets older than the agent",)),
    Program(ALIVE, loses=("obi.network.connections: those that are quiet for longer than network.tcp_gone_s",)),
    Program(SWEEP, loses=("obi.network.connections",)),
    Program(DNS_SWEEP, loses=("obi.network.dns.duration: timeouts, but for those that are asked or answered later",)),
    Program(DROPS_BTF, loses=("obi.network.drops: the subject",)),
    Program(DROPS_TRACEPOINT, loses=("obi.network.drops where tp_btf is refused too",)),
)

INTERFACES: Final = Mode(
    "tc",
    (*map(Program, AT_INTERFACES.values()), *_SOCKETS),
    ("cap:bpf", "cap:net_admin", "cap:perfmon", "types"),
    (
        f"{_SUBJECT} of what an interface receives, and of what passes through",
        "obi.network.packets of other interfaces than those chosen",
    ),
)
"""Opt-in: taken when interfaces are chosen."""
SOCKETS: Final = Mode(
    "cgroup_skb",
    (Program("network_in"), Program("network_out"), *_SOCKETS),
    ("cap:bpf", "cap:net_admin", "cap:perfmon", "types", "cgroup2"),
)
_SEGMENTS: Final = (
    "obi.network.packets: segments (an offloaded packet counts as one)",
    "obi.network.io: the headers that segmentation repeats",
)
PLAIN: Final = {"network_in": "network_in_skb", "network_out": "network_out_skb"}
"""What counts whole skbs where the kernel refuses what counts segments (before v5.7)."""
INSTEAD: Final = {**PLAIN, DROPS_BTF: DROPS_TRACEPOINT}
"""The worse of two programs that see the same, by the better."""
COMPILED: Final = Mode(
    "bcc",
    (
        *map(Program, PLAIN.values()),
        *(Program(name, _SEGMENTS) for name in PLAIN),
        *_SOCKETS,
    ),
    ("cap:bpf", "cap:net_admin", "bcc", "cgroup2"),
    (
        "network.interface.name",
        "obi.network.drops",
        "obi.network.dns.duration",
        "obi.network.dns.anomalies",
        "network.trace",
        "the cgroup where the memory controller is a v1 one; the start of a process",
    ),
)
"""Owners are kept by the cookie of a socket: a listener's owner stands in for what is accepted."""
