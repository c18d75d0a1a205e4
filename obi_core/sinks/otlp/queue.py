"""What waits in memory for its sender: bounded in items and in bytes; the oldest go first."""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Condition

from obi_core.bus.request import Request
from obi_core.bus.spool import Kept
from obi_core.sinks.otlp.outcome import Outcome


@dataclass(slots=True)
class Entry:
    """A request on its way."""

    request: Request
    since_s: float
    """When it was handed over; monotonic, s."""
    kept: Kept | None = None
    """Its record in the spool, if it is there too."""
    tried: bool = False
    told: Callable[[Outcome], None] | None = None
    """Called with what came of its first try."""


class Queue:
    """Entries from the thread that makes them to the one that sends them.

    Args:
        items: Most items.
        octets: Most bytes.
        lost: Told of what falls off: cause, items, items by probe.
    """

    def __init__(self, items: int, octets: int, lost: Callable[[str, int, Mapping[str, int]], None]) -> None:
        self._most_items, self._most_bytes, self._lost = items, octets, lost
        self._entries: deque[Entry] = deque()
        self._changed = Condition()
        self._news = False
        self.items = self.bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, entry: Entry) -> None:
        """Add the newest."""
        with self._changed:
            self._entries.append(entry)
            self._count(entry, 1)
            self._shrink()
            self._wake()

    def take(self) -> Entry | None:
        """Take the oldest; None if there is none."""
        with self._changed:
            if not self._entries:
                return None
            entry = self._entries.popleft()
            self._count(entry, -1)
            return entry

    def head(self) -> Entry | None:
        """Look at the oldest."""
        with self._changed:
            return self._entries[0] if self._entries else None

    def take_all(self) -> list[Entry]:
        """Take all, oldest first."""
        with self._changed:
            taken = list(self._entries)
            self._entries.clear()
            self.items = self.bytes = 0
            return taken

    def restore(self, entries: list[Entry]) -> None:
        """Return what was taken, before whatever came meanwhile."""
        with self._changed:
            for entry in reversed(entries):
                self._entries.appendleft(entry)
                self._count(entry, 1)
            self._shrink()

    def wake(self) -> None:
        """End a wait."""
        with self._changed:
            self._wake()

    def wait(self, timeout_s: float | None) -> None:
        """Wait until something was added, or somebody wakes us."""
        with self._changed:
            if not self._news:
                self._changed.wait(timeout_s)
            self._news = False

    def _wake(self) -> None:
        self._news = True
        self._changed.notify_all()

    def _shrink(self) -> None:
        while len(self._entries) > 1 and (self.items > self._most_items or self.bytes > self._most_bytes):
            fallen = self._entries.popleft()
            self._count(fallen, -1)
            if fallen.kept is None:
                self._lost("queue_full", fallen.request.items, fallen.request.probes)

    def _count(self, entry: Entry, sign: int) -> None:
        self.items += sign * entry.request.items
        self.bytes += sign * len(entry.request.payload)
