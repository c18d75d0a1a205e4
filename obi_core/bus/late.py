"""Late binding: rows whose owner is not fully known yet wait a little, then bind once, to what is known."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from obi_core.bus.bindings import Binding
from obi_core.bus.moment import Moment
from obi_core.bus.peers import describer_of, peers
from obi_core.bus.series import Attributes, SeriesSet
from obi_core.model import Kind, Owner
from obi_core.resolver import Resolver, Subject


def merged(subject: Mapping[str, str | int], attributes: Mapping[str, str | int]) -> Attributes:
    """Join whose a point is with what it says; an observation's own attribute wins."""
    return tuple(sorted({**subject, **attributes}.items()))


@dataclass(frozen=True, slots=True)
class Waiting:
    """One binding that counts into a private series until its owner is known."""

    series: SeriesSet
    binding: Binding
    attributes: Mapping[str, str | int]

    def bind(self, subject: Subject, now: Moment) -> None:
        """Move what was counted to the series it belongs to."""
        private = self.binding.series
        if not private.live and self.series.instrument.kind not in (Kind.COUNTER, Kind.HISTOGRAM):
            return  # The row ended before it was bound: it has no present value.
        started = Moment(private.start_ns, now.mono_ns)
        target = self.series.at(merged(subject.attributes, self.attributes), started)
        target.live += private.live
        target.time_ns = max(target.time_ns, private.time_ns)
        target.point = None
        self.binding.move(target)
        self.series.changed = True


class LateBinder:
    """Everything that waits for its owner; bounded in rows and in time.

    Args:
        resolver: Asked again for each waiting owner.
        grace_ns: Longest wait, ns.
        limit: Rows that may wait; one more is bound at once to what is known.
    """

    def __init__(self, resolver: Resolver, grace_ns: int, limit: int) -> None:
        self._resolver, self._grace_ns, self._limit = resolver, grace_ns, limit
        self._describer = describer_of(resolver)
        self._owners: dict[Owner, tuple[int, list[Waiting]]] = {}
        self._rows = 0
        self.unresolved = {"cgroup": 0, "container": 0, "full": 0, "late": 0, "pod": 0, "process": 0}
        """Rows that were bound to what was known: too many waited (`full`), or the wait was over: by what was not known."""

    def __len__(self) -> int:
        return self._rows

    def retune(self, grace_ns: int, limit: int) -> None:
        """Wait otherwise from now on."""
        self._grace_ns, self._limit = grace_ns, limit

    def resolve(self, owner: Owner) -> Subject:
        """Ask the resolver."""
        return self._resolver.resolve(owner)

    def with_peers(self, attributes: Mapping[str, str | int]) -> Mapping[str, str | int]:
        """Add whose the addresses among `attributes` are."""
        found = peers(self._describer, attributes)
        return {**attributes, **found} if found else attributes

    def admits(self, subject: Subject) -> bool:
        """Whether one more row may wait; if not, count it as bound too early."""
        if self._grace_ns <= 0 or self._rows >= self._limit:
            self._count("full" if self._grace_ns > 0 else subject.missing, 1)
            return False
        return True

    def wait(self, owner: Owner, waiting: Waiting, now: Moment) -> None:
        """Keep `waiting` until its owner is known or its time is over."""
        self._owners.setdefault(owner, (now.mono_ns, []))[1].append(waiting)
        self._rows += 1

    def settle(self, now: Moment, *, all_of_them: bool = False) -> None:
        """Bind whatever is known by now, and what has waited long enough (or `all_of_them`)."""
        for owner, subject, waiting in list(self._ready(now, all_of_them)):
            del self._owners[owner]
            self._rows -= len(waiting)
            if not subject.complete:
                self._count(subject.missing, len(waiting))
            for each in waiting:
                each.bind(subject, now)

    def _count(self, reason: str, number: int) -> None:
        # the words of a stranger's resolver are not ours to make series of
        self.unresolved[reason if reason in self.unresolved else "late"] += number

    def _ready(self, now: Moment, all_of_them: bool) -> Iterator[tuple[Owner, Subject, list[Waiting]]]:
        for owner, (since, waiting) in self._owners.items():
            subject = self._resolver.resolve(owner)
            if subject.complete or all_of_them or now.mono_ns - since >= self._grace_ns:
                yield owner, subject, waiting
