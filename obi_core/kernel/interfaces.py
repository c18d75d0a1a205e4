"""Attach a `tc` program to one direction of a network interface.

The kernel's own link (tcx, Linux 6.6) ends with its descriptor. Older kernels take a filter of the clsact queueing discipline,
through pyroute2; it outlives a process that is killed, so it carries a number of ours and the next start replaces it.
"""

import errno
import socket
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from obi_core.errors import AttachError
from obi_core.kernel.lib import libbpf

DIRECTIONS: Final = ("ingress", "egress")
_TCX: Final = {"ingress": 46, "egress": 47}
"""BPF_TCX_INGRESS, BPF_TCX_EGRESS of `enum bpf_attach_type`."""
_UNKNOWN: Final = frozenset({errno.EINVAL, errno.EOPNOTSUPP, errno.E2BIG, 524})
"""What a kernel without tcx answers; 524 is its ENOTSUPP."""
_PARENTS: Final = {"ingress": 0xFFFFFFF2, "egress": 0xFFFFFFF3}
"""TC_H_CLSACT with TC_H_MIN_INGRESS, TC_H_MIN_EGRESS."""
_ETH_P_ALL: Final = 3
_PRIORITY: Final = 0x0B1
_HANDLE: Final = 0x0B1
"""Of our filters: what a killed agent left is replaced, not doubled."""


@dataclass(frozen=True, slots=True)
class Filter:
    """A clsact filter of ours; closing it removes it, and the discipline too if we made it and nobody else uses it."""

    index: int
    direction: str
    made: set[int]
    """Interfaces whose queueing discipline is of our making; shared by all filters of one object."""

    @property
    def attached(self) -> bool:
        """Whether a filter with our number is still there."""
        from pyroute2 import IPRoute, NetlinkError  # loaded since it was attached

        try:
            with IPRoute() as route:
                found = _filters(route, self.index, self.direction)
        except NetlinkError:
            return False
        return any(each.get("info", 0) >> 16 == _PRIORITY and each.get("handle") == _HANDLE for each in found)

    def close(self) -> None:
        """Remove it. An interface that is gone has taken it along."""
        from pyroute2 import IPRoute, NetlinkError  # 25 MB of memory, which only this way of attaching needs

        with IPRoute() as route, suppress(NetlinkError):
            route.tc("del-filter", "bpf", self.index, **_where(self.direction))
            if self.index in self.made and not any(_filters(route, self.index, each) for each in DIRECTIONS):
                self.made.discard(self.index)
                route.tc("del", "clsact", self.index)


def attach_tcx(program: str, section: str, fd: int, index: int, direction: str) -> int | None:
    """Attach by a link of the kernel's.

    Returns:
        The link's descriptor; None if this kernel has no such link.

    Raises:
        AttachError: The kernel refused.
    """
    link: int = libbpf().bpf_link_create(fd, index, _TCX[direction], None)
    if link >= 0:
        return link
    if -link in _UNKNOWN:
        return None
    raise AttachError(f"the kernel would not attach it to {direction}", program=program, section=section, errno=-link)


def attach_filter(program: str, section: str, fd: int, index: int, direction: str, made: set[int]) -> Filter:
    """Attach by a filter of the clsact queueing discipline.

    Raises:
        AttachError: The kernel refused.
    """
    from pyroute2 import IPRoute, NetlinkError  # as above

    try:
        with IPRoute() as route:
            try:
                route.tc("add", "clsact", index)
                made.add(index)
            except NetlinkError as error:
                if error.code != errno.EEXIST:
                    raise
            route.tc("replace-filter", "bpf", index, fd=fd, name=program, direct_action=True, **_where(direction))
    except NetlinkError as error:
        message = f"the kernel would not attach it to {direction}"
        raise AttachError(message, program=program, section=section, errno=error.code) from error
    return Filter(index, direction, made)


def index_of(program: str, section: str, interface: str) -> int:
    """Number of an interface in our network namespace.

    Raises:
        AttachError: There is none of that name.
    """
    try:
        return socket.if_nametoindex(interface)
    except OSError as error:
        message = f"there is no network interface {interface}"
        raise AttachError(
            message, program=program, section=section, errno=errno.ENODEV, need=f"interface:{interface}"
        ) from error


def _where(direction: str) -> dict[str, int]:
    return {"parent": _PARENTS[direction], "prio": _PRIORITY, "handle": _HANDLE, "protocol": _ETH_P_ALL}


def _filters(route: Any, index: int, direction: str) -> list[Any]:  # noqa: ANN401 - pyroute2 has no types
    return list(route.get_filters(index, parent=_PARENTS[direction]))
