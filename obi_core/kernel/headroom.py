"""How much memory our cgroup allows, and how much of it is left: what is over the limit, the kernel kills, without asking."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from obi_core.cgroups import Cgroups
from obi_core.host import Host

_LIMIT: Final = {1: "memory.limit_in_bytes", 2: "memory.max"}
_USED: Final = {1: "memory.usage_in_bytes", 2: "memory.current"}
_PREFIX: Final = {1: "total_", 2: ""}
"""Of the fields of `memory.stat` that count the cgroups below as well."""
_HUGE: Final = 1 << 60
"""v1 says "no limit" as the largest multiple of a page."""


def cgroup_limit(host: Host) -> int | None:
    """The least memory limit of our cgroup and of those above it, bytes; None: none that can be seen."""
    return min((limit for _, limit, _ in _limited(host)), default=None)


def headroom(host: Host | None = None) -> int | None:
    """What is left until the nearest of these limits, bytes; None: there is none.

    Pages of files count as left: the kernel takes them back before it kills.
    """
    return min((limit - _used(folder, version) for folder, limit, version in _limited(host or Host())), default=None)


def _limited(host: Host) -> Iterator[tuple[Path, int, int]]:
    """Directory, limit and version of each cgroup from ours up that has a limit."""
    cgroups = Cgroups(host)
    root, version = cgroups.root("memory"), cgroups.version("memory")
    own = _own_path(host, version)
    if root is None or own is None:
        return
    for path in (own, *own.parents):
        folder = root / path.relative_to("/")
        limit = _number(folder / _LIMIT[version])
        if limit is not None and limit < _HUGE:
            yield folder, limit, version


def _own_path(host: Host, version: int) -> PurePosixPath | None:
    try:
        lines = (host.proc / "self/cgroup").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if ("memory" in controllers.split(",")) if version == 1 else not controllers:
            # A path that leaves our namespace begins with /..: what is there we cannot see.
            return PurePosixPath(path) if ".." not in path else PurePosixPath("/")
    return None


def _used(folder: Path, version: int) -> int:
    used = _number(folder / _USED[version]) or 0
    try:
        lines = (folder / "memory.stat").read_text().splitlines()
    except OSError:
        return used
    stat = {name: int(value) for name, value in map(str.split, lines)}
    return used - sum(stat.get(f"{_PREFIX[version]}{kind}_file", 0) for kind in ("active", "inactive"))


def _number(file: Path) -> int | None:
    try:
        text = file.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None
