"""Rows of `network_drops` → observations, and the names of the kernel's reasons."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, Protocol

from obi_core import Observation, OwnerRecord, kernel_enum, owner
from obi_plugin_network.catalogue import DROP_REASON, DROPS, OTHER, TRANSPORT, TRANSPORTS, name_of

NOT_SPECIFIED: Final = "not_specified"
"""What the kernel says where it does not say why, and what stands for all before v5.17, which never say."""

_SUBSYSTEM_SHIFT: Final = 16
_PREFIX: Final = "SKB_DROP_REASON_"
_SUBSYSTEM: Final = "SKB_DROP_REASON_SUBSYS_"
_MODULES: Final[Mapping[str, tuple[str, str, str]]] = {
    "openvswitch": ("openvswitch", "ovs_drop_reason", "OVS_DROP_"),
    "mac80211_unusable": ("mac80211", "mac80211_drop_reason", "RX_DROP_"),
}
"""Where a sub-system has its own reasons: module, enum, and what their names begin with."""


class DropKey(Protocol):
    """`struct network_drop_key`, 48 bytes."""

    owner: OwnerRecord
    transport: int
    reason: int

    def __bytes__(self) -> bytes: ...


class Reasons:
    """Names reasons as this kernel numbers them.

    Source: `enum skb_drop_reason` (v5.17+), whose upper 16 bits are the sub-system's (v6.3+), read once and for a sub-system
    when its first reason comes.

    Args:
        enum: Reads an enum of the running kernel or, with a second word, of a module.
    """

    def __init__(self, enum: Callable[[str, str], Mapping[str, int]] = kernel_enum) -> None:
        self._enum = enum
        self._names: dict[int, str] | None = None
        self._subsystems: dict[int, str] = {}
        self._modules: dict[str, dict[int, str]] = {}

    def name(self, number: int) -> str:
        """Give the reason in lower snake case without its prefix; one that the kernel does not name is `_OTHER`."""
        if self._names is None:
            self._read()
        names = self._names or {}
        if not number:
            return NOT_SPECIFIED
        subsystem = self._subsystems.get(number >> _SUBSYSTEM_SHIFT) if number >> _SUBSYSTEM_SHIFT else None
        return names.get(number, OTHER) if subsystem is None else self._name_within(subsystem, number)

    def _read(self) -> None:
        self._names = {number: _snake(name, _PREFIX) for name, number in self._enum("skb_drop_reason", "").items()}
        for name, number in self._enum("skb_drop_reason_subsys", "").items():
            self._subsystems[number] = _snake(name, _SUBSYSTEM)

    def _name_within(self, subsystem: str, number: int) -> str:
        if subsystem not in self._modules:
            module, enum, prefix = _MODULES.get(subsystem, ("", "", ""))
            members = self._enum(enum, module) if module else {}
            self._modules[subsystem] = {value: f"{module}_{_snake(name, prefix)}" for name, value in members.items()}
        return self._modules[subsystem].get(number, f"{subsystem}_{number & ((1 << _SUBSYSTEM_SHIFT) - 1)}")


def drops(rows: Iterable[tuple[DropKey, int]], reasons: Reasons) -> Iterator[Observation]:
    """Count dropped packets by the kernel's reason.

    Args:
        rows: `(struct network_drop_key, u64)` from map `network_drops`; the owner is zero where no socket has a part in it.
        reasons: Names the reasons.

    Yields:
        One observation per key. Unit: {packet} (segments), cumulative for its row, monotonic.
    Source: tracepoint skb:kfree_skb; reasons since v5.17, the receiving socket since v6.11.
    Gaps: What a card or its driver drops before it has made a packet of it.
    """
    for key, count in rows:
        attributes = {TRANSPORT: name_of(TRANSPORTS, key.transport), DROP_REASON: reasons.name(key.reason)}
        yield Observation(DROPS, ("network_drops", bytes(key)), count, owner(key.owner), attributes)


def _snake(name: str, prefix: str) -> str:
    return name.strip("_").removeprefix(prefix).lower()
