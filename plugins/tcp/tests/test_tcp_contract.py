"""The tcp probe keeps the contract."""

import socket

from obi_core.testing.contract import ProbeContract
from obi_plugin_tcp.probe import TcpProbe


class TestTcpContract(ProbeContract):
    probe = TcpProbe
    expects = ("obi.tcp.connects", "obi.tcp.handshake.duration", "obi.tcp.connection.duration", "obi.tcp.io")

    def provoke(self):
        with socket.create_server(("127.0.0.1", 0)) as server:
            for _ in range(23):
                with socket.create_connection(server.getsockname()) as client:
                    peer, _ = server.accept()
                    client.sendall(b"x")
                    peer.close()
