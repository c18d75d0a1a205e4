"""Spans and log events on their way to a sink: a bounded queue that never makes anybody wait."""

from collections import deque
from threading import Lock

from obi_core.bus.losses import Losses, Place
from obi_core.model import LogEvent, Span


class EventQueue:
    """The newest spans and log events. When it is full, or nobody reads, the oldest go and are counted.

    Args:
        losses: Where those that fall off are counted, under `queue`.
        limit: Events kept.
    """

    def __init__(self, losses: Losses, limit: int) -> None:
        self._losses, self._limit = losses, limit
        self._lock = Lock()
        self._events: deque[tuple[str, Span | LogEvent]] = deque()

    def __len__(self) -> int:
        return len(self._events)

    def put(self, probe: str, event: Span | LogEvent) -> None:
        """Add an event of `probe`."""
        with self._lock:
            if len(self._events) >= self._limit:
                fallen, _ = self._events.popleft()
                self._losses.count(fallen, Place.QUEUE, 1)
            self._events.append((probe, event))

    def take(self, limit: int) -> list[tuple[str, Span | LogEvent]]:
        """Take at most `limit` events, oldest first, each with the probe it is from."""
        with self._lock:
            return [self._events.popleft() for _ in range(min(limit, len(self._events)))]
