"""The reader of sock_diag against an independent one, and what an older kernel answers."""

import socket
import sys

from obi_plugin_tcp.without_bpf import netlink


def test_a_short_tcp_info_of_an_old_kernel_gives_acknowledged_bytes_instead_of_sent_ones() -> None:
    info = bytearray(192)
    info[0] = 1
    info[120:128] = (500).to_bytes(8, sys.byteorder)
    info[128:136] = (300).to_bytes(8, sys.byteorder)
    message = bytes([2, 1]) + bytes(70) + (196).to_bytes(2, sys.byteorder) + (2).to_bytes(2, sys.byteorder) + info

    read = netlink.parse(message, 0, len(message))

    assert read is not None
    assert (read.sent, read.received) == (500, 300)


def test_the_plain_reader_and_pyroute2_see_the_same_sockets() -> None:
    from pyroute2.netlink.diag import DiagSocket

    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        peer, _ = server.accept()
        with peer:
            client.sendall(bytes(1234))
            peer.recv(2000)
            wanted = {client.getsockname(), peer.getsockname()}
            plain = {
                (each.local_port, each.peer_port): (each.state, each.inode, each.cookie, each.sent, each.received)
                for each in netlink.connections()
                if each.local_port in {port for _, port in wanted}
            }
            with DiagSocket() as diag:
                diag.bind()
                others = diag.get_sock_stats(family=socket.AF_INET, states=1 << 1, extensions=1 << 1)
                theirs = {}
                for each in others:
                    if each["idiag_sport"] in {port for _, port in wanted}:
                        info = each.get_attr("INET_DIAG_INFO")
                        theirs[each["idiag_sport"], each["idiag_dport"]] = (
                            each["idiag_state"],
                            each["idiag_inode"],
                            each["idiag_cookie"],
                            info["tcpi_bytes_sent"],
                            info["tcpi_bytes_received"],
                        )

    assert len(plain) == 2
    assert plain == theirs
