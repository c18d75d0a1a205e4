"""The network probe keeps the contract."""

import socket

from obi_core.testing.contract import ProbeContract
from obi_plugin_network.probe import NetworkProbe
from obi_plugin_network.settings import NetworkSettings


class TestNetworkContract(ProbeContract):
    probe = NetworkProbe
    expects = (
        "obi.network.packets",
        "obi.network.io",
        "obi.network.conversation.packets",
        "obi.network.conversation.io",
        "obi.network.drops",
        "obi.network.dns.duration",
        "obi.network.dns.anomalies",
        "view processes",
    )

    def settings(self):
        return NetworkSettings(interfaces=("lo",), dns_timeout_s=0.05)

    def provoke(self):
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other,
        ):
            one.bind(("127.0.0.1", 0))
            for _ in range(23):
                other.sendto(b"x", one.getsockname())
                one.recv(1)
            # To nobody: dropped for want of a socket. A question, which comes to nothing, and what is no question.
            other.sendto(b"\0\7\1\0\0\1\0\0\0\0\0\0\4test\0\0\1\0\1", ("127.53.53.53", 53))
            other.sendto(b"x", ("127.53.53.53", 53))
