"""From an owner's cgroup to its container, or to its unit of systemd."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from obi_core.cgroups import ROOT_ID, Cgroup, Cgroups
from obi_core.identity.containers import Place, place_of
from obi_core.model import Owner
from obi_core.resolver import Resolver, Subject

_LOOK_EVERY_S: Final = 1.0
"""Least time between two walks through the hierarchy."""
_FORGET_EVERY_S: Final = 60.0
_ENDED_S: Final = 300.0
"""How long an ended cgroup is remembered: what it caused may still be on its way."""
_MOST: Final = 65_536


@dataclass(slots=True)
class _Known:
    subject: Subject
    place: Place
    seen_s: float


class CgroupResolver:
    """Names the container of an owner: `container.id`; else its `systemd.unit`; else the cgroup: `process.linux.cgroup`.

    A cgroup that is not known yet makes one walk through the hierarchy, at most one a second; meanwhile the subject is not
    complete, so the bus waits a little.

    Args:
        cgroups: The hierarchies of this node.
        pod_uid: Whether subjects carry `k8s.pod.uid`.
        noted: Path of a cgroup as the kernel noted it when it was made; None: it did not.
        clock: s, monotonic.
    """

    def __init__(
        self,
        cgroups: Cgroups,
        *,
        pod_uid: bool = False,
        noted: Callable[[int], PurePosixPath | None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cgroups, self._pod_uid, self._noted, self._clock = cgroups, pod_uid, noted, clock
        self._known: dict[int, _Known] = {}
        self._looked_s = float("-inf")

    def resolve(self, owner: Owner) -> Subject:
        """Describe the cgroup of `owner`."""
        if owner.cgroup_id <= ROOT_ID:
            return Subject({})
        known = self._known.get(owner.cgroup_id)
        if known is None:
            # what ended before anybody could walk by is known from here alone
            path = self._noted(owner.cgroup_id)
            if path is None:
                self._look()
            else:
                self._learn(Cgroup(owner.cgroup_id, path), self._clock())
                self._look(_FORGET_EVERY_S)  # so that what has ended is forgotten
            known = self._known.get(owner.cgroup_id)
        return known.subject if known is not None else Subject({}, complete=False, missing="cgroup")

    def place(self, cgroup_id: int) -> Place | None:
        """Where a cgroup stands, from what `resolve` has found so far; None: not known."""
        known = self._known.get(cgroup_id)
        return known.place if known is not None else None

    def _look(self, every_s: float = _LOOK_EVERY_S) -> None:
        now = self._clock()
        if now - self._looked_s < every_s:
            return
        self._looked_s = now
        for group in self._cgroups.all():
            known = self._known.get(group.id)
            if known is not None:
                known.seen_s = now
            elif group.id > ROOT_ID:
                self._learn(group, now)
        for number in [number for number, known in self._known.items() if now - known.seen_s > _ENDED_S]:
            del self._known[number]

    def _learn(self, group: Cgroup, now: float) -> None:
        if len(self._known) >= _MOST:
            return
        place = place_of(group.path)
        self._known[group.id] = _Known(Subject(self._attributes(group.path, place)), place, now)

    def _attributes(self, path: PurePosixPath, place: Place) -> dict[str, str | int]:
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
        return self._first.resolve(owner).joined(self._second.resolve(owner))
