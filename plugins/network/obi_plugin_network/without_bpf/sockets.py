"""TCP connections of this network namespace by state: netlink's sock_diag."""

import socket
from collections import Counter
from struct import Struct
from typing import Final

from obi_core import HostError, errno_name
from obi_plugin_network.without_bpf import netlink

_BY_FAMILY: Final = 20
_REQUEST: Final = Struct("=BBBxI 48x")
_STATE: Final = Struct("=xB")
"""Of `struct inet_diag_msg`."""
STATES: Final = {
    1: "established",
    2: "syn_sent",
    3: "syn_received",
    4: "fin_wait_1",
    5: "fin_wait_1",
    6: "time_wait",
    8: "close_wait",
    9: "time_wait",
    11: "time_wait",
}
"""include/net/tcp_states.h as the catalogue has them: who closed a half, or that both did."""
_WANTED: Final = sum(1 << state for state in STATES)


def connections() -> Counter[str]:
    """Count TCP connections by `network.connection.state`; listeners are none.

    Raises:
        HostError: The kernel refuses, or has no sock_diag for TCP.
    """
    found: Counter[str] = Counter(dict.fromkeys(STATES.values(), 0))
    try:
        for family in (socket.AF_INET, socket.AF_INET6):
            request = _REQUEST.pack(family, socket.IPPROTO_TCP, 0, _WANTED)
            for message in netlink.dump(netlink.SOCK_DIAG, _BY_FAMILY, request):
                (state,) = _STATE.unpack_from(message)
                if state in STATES:
                    found[STATES[state]] += 1
    except OSError as error:
        refusal = errno_name(error.errno or 0)
        raise HostError(f"the kernel does not list TCP sockets [{refusal}]: load the kernel module tcp_diag") from error
    return found
