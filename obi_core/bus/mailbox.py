"""The bounded queue between the workers and the bus thread.

A worker never waits here: a batch that finds no room is refused and counted. Values are cumulative, so the next batch
carries what a refused one said and nothing of a metric is lost; only a row that *ended* in the refused batch would not be
seen again, so its last values and its end are kept and go ahead of the probe's next batch. Spans and log events of a
refused batch are lost.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Condition

from obi_core.bus.losses import Losses, Place
from obi_core.model import Observation, Retired, Yielded


@dataclass(frozen=True, slots=True)
class Batch:
    """What one collection of one probe yielded, or a part of it."""

    probe: str
    generation: int
    entries: Sequence[Yielded]
    whole: bool = True
    """Whether it is all of a collection, with all rows of the wanted views; a part says nothing of them."""


Message = Batch | Callable[[], None]
"""A batch, or a request that the bus thread shall carry out in its turn."""


class Mailbox:
    """Messages for the bus thread, in order.

    Args:
        losses: Where refused entries are counted.
        batches: Batches of one probe that may wait, so that no probe crowds out another.
        endings: Entries of refused batches that are kept per probe because a row ends in them.
    """

    def __init__(self, losses: Losses, batches: int, endings: int) -> None:
        self._losses, self._batches, self._endings = losses, batches, endings
        self._messages: deque[Message] = deque()
        self._waiting: dict[str, int] = {}
        self._kept: dict[str, Batch] = {}
        self._changed = Condition()
        self._closed = False

    def put(self, batch: Batch) -> bool:
        """Queue a batch; False if there is no room."""
        with self._changed:
            if self._closed or self._waiting.get(batch.probe, 0) >= self._batches:
                self._losses.count(batch.probe, Place.QUEUE, len(batch.entries))
                if not self._closed:
                    self._keep_endings(batch)
                return False
            kept = self._kept.pop(batch.probe, None)
            if kept is not None:
                self._append(kept)
            self._append(batch)
            self._changed.notify()
            return True

    def ask(self, request: Callable[[], None]) -> bool:
        """Queue a request; False if the bus thread takes no more."""
        with self._changed:
            if self._closed:
                return False
            # The ends that refused batches left behind come first, so that a request sees them.
            for probe in list(self._kept):
                self._append(self._kept.pop(probe))
            self._messages.append(request)
            self._changed.notify()
            return True

    def take(self, timeout_s: float) -> Message | None:
        """Take the next message; None if none came within `timeout_s`, or none will."""
        with self._changed:
            if not self._messages and not self._closed:
                self._changed.wait(timeout_s)
            if not self._messages:
                return None
            message = self._messages.popleft()
            if isinstance(message, Batch):
                self._waiting[message.probe] -= 1
            return message

    def close(self) -> None:
        """Take no more; what is there can still be taken."""
        with self._changed:
            for probe in list(self._kept):
                self._append(self._kept.pop(probe))
            self._closed = True
            self._changed.notify_all()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def _append(self, batch: Batch) -> None:
        self._messages.append(batch)
        self._waiting[batch.probe] = self._waiting.get(batch.probe, 0) + 1

    def _keep_endings(self, batch: Batch) -> None:
        ended = {entry.key for entry in batch.entries if isinstance(entry, Retired)}
        last: list[Yielded] = [e for e in batch.entries if isinstance(e, (Observation, Retired)) and e.key in ended]
        kept = self._kept.get(batch.probe)
        before = list(kept.entries) if kept is not None and kept.generation == batch.generation else []
        if len(before) + len(last) <= self._endings and before + last:
            self._kept[batch.probe] = Batch(batch.probe, batch.generation, before + last, whole=False)
