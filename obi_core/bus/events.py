"""Spans and log events on their way to a sink: a bounded queue that never makes anybody wait."""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from threading import Lock
from typing import Final

from obi_core.bus.losses import Losses, Place
from obi_core.bus.peers import describer_of, peers
from obi_core.model import LogEvent, Span
from obi_core.resolver import Resolver
from obi_core.sink import Happening

_AWAKE: Final = 2
"""A sink is woken when this part of the queue, one in so many, is full."""


class EventQueue:
    """The newest spans and log events. When it is full the oldest go and are counted. Without a sink none is kept.

    Args:
        losses: Where those that fall off are counted, under `queue`.
        limit: Events kept.
        resolver: Says who caused an event; asked on the bus thread when it comes, and once more when it is taken.
    """

    def __init__(self, losses: Losses, limit: int, resolver: Resolver) -> None:
        self._losses, self._limit, self._resolver = losses, limit, resolver
        self._describer = describer_of(resolver)
        self._lock = Lock()
        self._wake: Callable[[], None] | None = None
        self._events: deque[tuple[Happening, bool]] = deque()

    def __len__(self) -> int:
        return len(self._events)

    def watch(self, wake: Callable[[], None]) -> None:
        """Keep events from now on; `wake` is called when there are many."""
        self._wake = wake

    def put(self, probe: str, scope: str, event: Span | LogEvent) -> None:
        """Add an event of `probe`. Bus thread only."""
        if self._wake is None:
            return
        happening, known = self._described(Happening(probe, scope, event, {}))
        with self._lock:
            if len(self._events) >= self._limit:
                (fallen, _) = self._events.popleft()
                self._losses.count(fallen.probe, Place.QUEUE, 1)
            self._events.append((happening, known))
            many = len(self._events) == self._limit // _AWAKE
        if many:
            self._wake()

    def note(self, events: Iterable[Span | LogEvent]) -> None:
        """Add events of the agent itself. Bus thread only."""
        for event in events:
            self.put("", "", event)

    def settle(self) -> None:
        """Ask once more who caused the events of whom not all is known. Bus thread only."""
        with self._lock:
            for at, (happening, known) in enumerate(self._events):
                if not known:
                    self._events[at] = (self._described(happening)[0], True)

    def take(self, limit: int) -> list[Happening]:
        """Take at most `limit` events, oldest first."""
        with self._lock:
            return [self._events.popleft()[0] for _ in range(min(limit, len(self._events)))]

    def _described(self, happening: Happening) -> tuple[Happening, bool]:
        named = peers(self._describer, happening.what.attributes)
        owner = happening.what.owner
        if owner is None:
            return (replace(happening, subject=named) if named else happening), True
        subject = self._resolver.resolve(owner)
        details = self._describer.details(owner) if self._describer is not None else {}
        return replace(happening, subject={**details, **named, **subject.attributes}), subject.complete
