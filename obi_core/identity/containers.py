"""What a cgroup's path says: which container of which runtime, which pod, which unit of systemd. Pure.

Paths are conventions of each runtime, not an interface; what is not known here is no container. In a nested path (a node that
is itself a container) the innermost container is the one.
"""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

_ID: Final = r"(?P<id>[0-9a-f]{64})"
_PREFIXES: Final = {
    "cri-containerd": "containerd",
    "nerdctl": "containerd",
    "crio": "cri-o",
    "docker": "docker",
    "libpod": "podman",
}
"""Of scopes that systemd keeps: `<prefix>-<id>.scope`."""
_SCOPE: Final = re.compile(rf"(?P<prefix>{'|'.join(_PREFIXES)})-{_ID}(?:\.scope)?")
_BARE: Final = re.compile(_ID)
"""A directory that is called as its container: the cgroupfs driver."""
_BARE_PARENTS: Final = {"docker": "docker", "libpod_parent": "podman", "crio": "cri-o"}
_ECS_ID: Final = re.compile(r"(?P<id>[0-9a-f]{32}-\d+)")
_NAMED: Final = re.compile(r"(?:lxc\.payload\.|machine-)(?P<id>[^/]+?)(?:\.scope)?")
"""LXC and systemd-nspawn: a name, which is unique on its node."""
_POD: Final = re.compile(r"pod(?P<uid>[0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32})(?:\.slice)?")
"""`pod<uid>` of the cgroupfs driver, `…-pod<uid with _ for ->.slice` of systemd's; 32 digits: a static pod's hash."""
_UNIT: Final = re.compile(r"(?P<name>[^/]+\.(?:service|scope|socket|mount|swap))")
_ESCAPE: Final = re.compile(r"\\x([0-9a-f]{2})")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a cgroup stands."""

    runtime: str = ""
    """`containerd`, `cri-o`, `docker`, `podman`, `lxc`, `nspawn`, `ecs`; empty: no container, or an unknown runtime's."""
    container_id: str = ""
    pod_uid: str = ""
    """With hyphens, as Kubernetes writes it."""
    unit: str = ""
    """Unit of systemd that it belongs to; of the node's own systemd only, so never beside a container."""


def place_of(path: PurePosixPath) -> Place:
    """Read a cgroup's path, from the root of its hierarchy."""
    found = Place()
    parts = path.parts[1:] if path.is_absolute() else path.parts
    for at, part in enumerate(parts):
        parent = parts[at - 1] if at else ""
        if pod := _POD.search(part):
            found = Place(pod_uid=_with_hyphens(pod["uid"]))
        elif container := _container(part, parent, found.pod_uid, parts):
            found = Place(*container, found.pod_uid)
        elif not found.container_id and not found.pod_uid and (unit := _UNIT.fullmatch(part)):
            found = Place(unit=_unescaped(unit["name"]))
    return found


def _container(part: str, parent: str, pod_uid: str, parts: tuple[str, ...]) -> tuple[str, str] | None:
    """Runtime and id, if this directory is a container's."""
    if scope := _SCOPE.fullmatch(part):
        return _PREFIXES[scope["prefix"]], scope["id"]
    if bare := _BARE.fullmatch(part):
        # Under a pod it is whatever runtime the node has: containerd's and Docker's look the same.
        runtime = _BARE_PARENTS.get(parent, "containerd" if pod_uid else "")
        return (runtime, bare["id"]) if runtime or parent else None
    if parts[0] == "ecs" and (ecs := _ECS_ID.fullmatch(part)):
        return "ecs", ecs["id"]
    if parent == "lxc":
        return "lxc", part
    if named := _NAMED.fullmatch(part):
        return ("lxc" if part.startswith("lxc") else "nspawn"), _unescaped(named["id"])
    return None


def _with_hyphens(uid: str) -> str:
    return uid.replace("_", "-")


def _unescaped(name: str) -> str:
    return _ESCAPE.sub(lambda found: chr(int(found[1], 16)), name)
