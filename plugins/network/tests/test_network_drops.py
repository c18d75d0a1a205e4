"""Readers of drops, and reasons as different kernels number them."""

from dataclasses import dataclass, field

import pytest

from obi_core import Owner
from obi_plugin_network.drops import Reasons, drops

KERNELS = {
    "5.10": {},
    "5.17": {"skb_drop_reason": {"SKB_DROP_REASON_NOT_SPECIFIED": 0, "SKB_DROP_REASON_NO_SOCKET": 1}},
    "6.18": {
        "skb_drop_reason": {
            "SKB_NOT_DROPPED_YET": 0,
            "SKB_CONSUMED": 1,
            "SKB_DROP_REASON_NOT_SPECIFIED": 2,
            "SKB_DROP_REASON_NO_SOCKET": 3,
            "SKB_DROP_REASON_SUBSYS_MASK": 0xFFFF0000,
        },
        "skb_drop_reason_subsys": {"SKB_DROP_REASON_SUBSYS_CORE": 0, "SKB_DROP_REASON_SUBSYS_OPENVSWITCH": 2},
        "ovs_drop_reason@openvswitch": {"OVS_DROP_LAST_ACTION": 0x20001},
    },
}


@dataclass
class OwnerRecord:
    cgroup_id: int = 7
    start_ns: int = 0
    tgid: int = 0
    comm: bytes = b"curl"


@dataclass
class Key:
    transport: int = 2
    reason: int = 3
    owner: OwnerRecord = field(default_factory=OwnerRecord)

    def __bytes__(self) -> bytes:
        return b"row"


def on(kernel, asked=None):
    """Reasons of a kernel; what is read of it is noted in `asked`."""

    def enum(name, module=""):
        if asked is not None:
            asked.append(name)
        return KERNELS[kernel].get(f"{name}@{module}" if module else name, {})

    return Reasons(enum)


@pytest.mark.parametrize(
    ("kernel", "number", "name"),
    [
        ("5.10", 0, "not_specified"),
        ("5.17", 0, "not_specified"),
        ("5.17", 1, "no_socket"),
        ("6.18", 2, "not_specified"),
        ("6.18", 3, "no_socket"),
        ("6.18", 77, "_OTHER"),
        ("6.18", 0x20001, "openvswitch_last_action"),
        ("6.18", 0x20007, "openvswitch_7"),
        ("6.18", 0x50001, "_OTHER"),
    ],
)
def test_a_reason_has_the_name_that_this_kernel_gives_its_number(kernel, number, name):
    assert on(kernel).name(number) == name


def test_the_kernel_is_asked_for_its_names_once_and_only_when_there_is_a_drop():
    asked: list[str] = []
    reasons = on("6.18", asked)
    assert asked == []

    for number in (3, 3, 0x20001, 0x20002):
        reasons.name(number)

    assert asked == ["skb_drop_reason", "skb_drop_reason_subsys", "ovs_drop_reason"]


def test_a_row_of_drops_has_transport_reason_and_owner():
    (seen,) = drops([(Key(), 5)], on("6.18"))

    assert (seen.value, seen.key, seen.owner) == (5, ("network_drops", b"row"), Owner(0, 0, 7, "curl"))
    assert seen.attributes == {"network.transport": "udp", "network.packet.drop.reason": "no_socket"}


@pytest.mark.kernel(needs=("btf",), since="5.17")
def test_every_reason_of_this_kernel_has_a_name_of_its_own():
    reasons = Reasons()
    names = [reasons.name(number) for number in range(1, 40)]

    assert len(set(names)) == len(names)
    assert {"no_socket", "socket_rcvbuff", "netfilter_drop"} <= set(names)
