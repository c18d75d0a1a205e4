"""From an owner's cgroup to its container, or to its unit of systemd."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from obi_core.cgroups import ROOT_ID, Cgroups
from obi_core.identity.containers import place_of
from obi_core.model import Owner
from obi_core.resolver import Resolver, Subject

_LOOK_EVERY_S: Final = 1.0
"""Least time between two walks through the hierarchy."""
_ENDED_S: Final = 300.0
"""How long an ended cgroup is remembered: what it caused may still be on its way."""
_MOST: Final = 65_536


@dataclass(slots=True)
class _Known:
    subject: Subject
    seen_s: float


class CgroupResolver:
    """Names the container of an owner: `container.id`; else its `systemd.unit`; else the cgroup: `process.linux.cgroup`.

    A cgroup that is not known yet makes one walk through the hierarchy, at most one a second; meanwhile the subject is not
    complete, so the bus waits a little.

    Args:
        cgroups: The hierarchies of this node.
        pod_uid: Whether subjects carry `k8s.pod.uid`.
        clock: s, monotonic.
    """

    def __init__(self, cgroups: Cgroups, *, pod_uid: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        self._cgroups, self._pod_uid, self._clock = cgroups, pod_uid, clock
        self._known: dict[int, _Known] = {}
        self._looked_s = float("-inf")

    def resolve(self, owner: Owner) -> Subject:
        """Describe the cgroup of `owner`."""
        if owner.cgroup_id <= ROOT_ID:
            return Subject({})
        known = self._known.get(owner.cgroup_id)
        if known is None:
            self._look()
            known = self._known.get(owner.cgroup_id)
        return known.subject if known is not None else Subject({}, complete=False)

    def _look(self) -> None:
        now = self._clock()
        if now - self._looked_s < _LOOK_EVERY_S:
            return
        self._looked_s = now
        for group in self._cgroups.all():
            known = self._known.get(group.id)
            if known is not None:
                known.seen_s = now
            elif group.id > ROOT_ID and len(self._known) < _MOST:
                self._known[group.id] = _Known(Subject(self._attributes(group.path)), now)
        for number in [number for number, known in self._known.items() if now - known.seen_s > _ENDED_S]:
            del self._known[number]

    def _attributes(self, path: PurePosixPath) -> dict[str, str | int]:
        place = place_of(path)
        if place.container_id:
            pod = {"k8s.pod.uid": place.pod_uid} if self._pod_uid and place.pod_uid else {}
            return {"container.id": place.container_id, **pod}
        if place.pod_uid:
            return {"k8s.pod.uid": place.pod_uid}
        return {"systemd.unit": place.unit} if place.unit else {"process.linux.cgroup": str(path)}


class Both:
    """What two resolvers know of an owner, put together; the second one's word wins."""

    def __init__(self, first: Resolver, second: Resolver) -> None:
        self._first, self._second = first, second

    def resolve(self, owner: Owner) -> Subject:
        """Ask both."""
        first, second = self._first.resolve(owner), self._second.resolve(owner)
        return Subject({**first.attributes, **second.attributes}, first.complete and second.complete)
