"""Loss, counted by probe and place."""

from collections.abc import Mapping
from enum import Enum
from threading import Lock


class Place(Enum):
    """Where on its way something was lost."""

    KERNEL = "kernel"
    """A full map or ring buffer."""
    DECODE = "decode"
    """A record whose bytes do not fit its type."""
    QUEUE = "queue"
    """The bus had no room: entries of a refused batch, or events that no sink took in time."""
    SPOOL = "spool"
    """The spool was full or its entries too old."""
    REJECTED = "rejected"
    """A store refused it for good."""


class Losses:
    """Counts of what was lost; safe from any thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._counts: dict[tuple[str, str], int] = {}
        self._causes: dict[tuple[str, str, str], int] = {}

    def register(self, probe: str) -> None:
        """Let every place of `probe` exist, as 0."""
        with self._lock:
            for place in Place:
                self._counts.setdefault((probe, place.value), 0)

    def count(self, probe: str, place: Place, number: int, cause: str = "") -> None:
        """Add `number` lost entries; `cause` is the probe's own word for it."""
        with self._lock:
            key = (probe, place.value)
            self._counts[key] = self._counts.get(key, 0) + number
            if cause:
                why = (probe, place.value, cause)
                self._causes[why] = self._causes.get(why, 0) + number

    def read(self) -> Mapping[tuple[str, str], int]:
        """Give a copy: (probe, place) → entries lost."""
        with self._lock:
            return dict(self._counts)

    def causes(self) -> Mapping[tuple[str, str, str], int]:
        """Give a copy of those with a cause: (probe, place, cause) → entries lost."""
        with self._lock:
            return dict(self._causes)
