"""One signal on its way out: queue, spool, sender, and an account of every item.

`step` does at most one request and says when it wants to be called again; the thread only calls it. So a test drives ten
minutes of an outage with a clock that moves when told.
"""

import logging
import random
from collections.abc import Callable, Mapping
from threading import Event, Lock, Thread
from typing import Final

from obi_core.bus.moment import Moment
from obi_core.bus.request import Request
from obi_core.sinks.otlp.diagnosis import FailureLog, diagnose
from obi_core.sinks.otlp.headers import scrubbed
from obi_core.sinks.otlp.outcome import Outcome, Verdict
from obi_core.sinks.otlp.queue import Entry, Queue
from obi_core.sinks.otlp.store import Store
from obi_core.sinks.otlp.tally import Tally
from obi_core.sinks.otlp.transport import Destination, Transport

_JITTER: Final = 0.2
"""Share by which a wait is longer or shorter, so that the nodes of a cluster do not come back in one moment."""
_LONGEST_ASKED_S: Final = 3600.0
"""An endpoint that asks for more is asked again all the same."""
_FRESH_S: Final = 30.0
"""Nothing new waits longer than this for what is older."""
_IDLE_S: Final = 60.0

_log: Final = logging.getLogger(__name__)
Undelivered = Callable[[str, str, int], None]


class Lane:
    """Sends the requests of one signal.

    Args:
        to: Where to.
        transport: Carries one request.
        store: The spool, if there shall be one.
        undelivered: Told of spans and log events that no store has: probe, place, number.
        clock: Reads both clocks.
        chance: A number from 0 to 1.
    """

    def __init__(
        self,
        to: Destination,
        transport: Transport,
        store: Store,
        undelivered: Undelivered,
        clock: Callable[[], Moment] = Moment.now,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._to, self._transport, self._store, self._undelivered = to, transport, store, undelivered
        self._clock, self._chance = clock, chance
        settings = to.export.settings
        self.signal = to.export.signal
        self.tally = Tally(capacity=settings.queue_items)
        self._queue = Queue(settings.queue_items, settings.queue_bytes, self._lost)
        self._losing = Lock()  # the queue may overflow on either side
        self._failures = FailureLog(self.signal, to.url, self._now_s)
        self._in_a_row = 0
        self._not_before_s = 0.0
        self._asked_to_wait = False
        self._flush: Event | None = None
        self._stopping = False
        self._thread: Thread | None = None

    def start(self) -> None:
        """Start the sender."""
        self._show()
        self._thread = Thread(target=self._run, name=f"obi-otlp-{self.signal}", daemon=True)
        self._thread.start()

    def offer(self, request: Request, told: Callable[[Outcome], None] | None = None) -> None:
        """Hand over a request; never waits. From any thread.

        Args:
            request: Of this signal.
            told: Called with what came of its first try, by the sender's thread.
        """
        self.tally.offered += request.items
        self._queue.put(Entry(request, self._now_s(), told=told))
        self._show()

    def flush(self, deadline_s: float) -> bool:
        """Send what waits in memory; False if that was not done within `deadline_s` seconds. One try, if it fails."""
        if self._thread is None or not self._thread.is_alive():
            return True
        done = self._flush = Event()
        self._queue.wake()
        return done.wait(deadline_s)

    def stop(self) -> None:
        """End: a request under way is broken off, what waits goes to the spool. Idempotent."""
        self._stopping = True
        self._transport.close()
        self._queue.wake()
        if self._thread is not None:
            self._thread.join(2.0)

    def step(self) -> float:
        """Do what is to be done now; gives the seconds until there may be more, 0 for at once."""
        self._store.tend(self)
        if self._store.always:
            self._spill()
        left = self._not_before_s - self._now_s()
        if left > 0 and (self._flush is None or self._asked_to_wait):
            if not self._store.always:
                self._spill()
            self._flushed()
            return left
        entry = self._next()
        if entry is None:
            self._flushed()
            return _IDLE_S
        self._send(entry)
        self._show()
        if not len(self._queue):
            self._flushed()
        return 0.0

    def found(self, items: int) -> None:
        """Count what the spool had from before."""
        self.tally.found += items

    def lost(self, cause: str, items: int, probes: Mapping[str, int]) -> None:
        """Count what the spool gave up."""
        self._lost(cause, items, probes)

    def _run(self) -> None:
        while not self._stopping:
            try:
                wait_s = self.step()
            except Exception:  # noqa: BLE001 - an isolation border: one bad request must not end the export
                _log.exception("the export of %s failed in an unforeseen way", self.signal)
                wait_s = 1.0
            if wait_s:
                self._queue.wait(wait_s)
        self.park()

    def park(self) -> None:
        """Put what waits in memory on disk, for the next start; without a spool it is lost. Then close the spool."""
        self._store.tend(self)
        self._spill()
        while (entry := self._queue.take()) is not None:
            if entry.kept is None:
                self._lost("shutdown", entry.request.items, entry.request.probes)
        self._show()
        self._store.close()
        self._flushed()

    def _next(self) -> Entry | None:
        fresh = self._queue.head()
        waited = fresh is not None and self._now_s() - fresh.since_s > _FRESH_S
        if fresh is not None and waited and not self._in_a_row and self._store.turn():
            return self._queue.take()
        before = fresh.kept.seq if fresh is not None and fresh.kept is not None else None
        return self._store.oldest(before, self._now_s()) or self._queue.take()

    def _send(self, entry: Entry) -> None:
        began = self._now_s()
        self.tally.retries += entry.tried or self._store.tried(entry.kept)
        outcome = self._transport.send(entry.request.payload)
        self.tally.request_s = self._now_s() - began
        entry.tried = True
        if entry.told is not None:
            entry.told(outcome)
            entry.told = None
        if outcome.verdict is Verdict.TAKEN:
            self._taken(entry, outcome)
        elif outcome.verdict is Verdict.NEVER:
            self._refused(entry, outcome)
        else:
            self._again(entry, outcome)

    def _taken(self, entry: Entry, outcome: Outcome) -> None:
        self._store.remove(entry.kept)
        items, rejected = entry.request.items, min(outcome.rejected, entry.request.items)
        self.tally.sent += items - rejected
        self.tally.rejected += rejected
        self.tally.last_success_s = self._clock().real_ns / 1e9
        self._in_a_row, self._not_before_s = 0, 0.0
        self._failures.succeeded()
        if rejected or outcome.text:
            self._failures.rejected(rejected, self._clean(outcome.text or "no reason given"))
            self._count(entry.request.probes, "rejected", rejected)

    def _refused(self, entry: Entry, outcome: Outcome) -> None:
        self._store.remove(entry.kept)
        self.tally.failed[outcome.reason] += entry.request.items
        self._count(entry.request.probes, "rejected", entry.request.items)
        self._in_a_row, self._not_before_s = 0, 0.0
        self._failures.failed(outcome.verdict, self._why(outcome))

    def _again(self, entry: Entry, outcome: Outcome) -> None:
        settings = self._to.export.settings
        if not self._stopping:
            self._failures.failed(outcome.verdict, self._why(outcome))
        self._in_a_row += 1
        wait_s = min(settings.retry_most_s, settings.retry_first_s * 2.0 ** min(self._in_a_row - 1, 30))
        wait_s *= 1 - _JITTER + 2 * _JITTER * self._chance()
        self._asked_to_wait = outcome.wait_s is not None
        if outcome.wait_s is not None:
            # never earlier than asked
            wait_s = max(wait_s, min(outcome.wait_s, _LONGEST_ASKED_S) * (1 + _JITTER * self._chance()))
        now = self._now_s()
        self._not_before_s = now + wait_s
        if now - entry.since_s >= settings.retry_total_s:
            self._store.remove(entry.kept)
            self._lost("retry_limit", entry.request.items, entry.request.probes)
        elif entry.kept is None:
            self._queue.restore([entry])
        if not self._store.always:
            self._spill()
        self._flushed()

    def _spill(self) -> None:
        """Put what waits in memory on disk; where that cannot be, it stays."""
        waiting = self._queue.take_all()
        self._store.keep([entry for entry in waiting if entry.kept is None])
        # while all goes well, what is on disk for safety only is sent from memory
        both = self._store.always and not self._in_a_row and not self._stopping
        self._queue.restore([entry for entry in waiting if entry.kept is None or both])
        self._show()

    def _lost(self, cause: str, items: int, probes: Mapping[str, int]) -> None:
        with self._losing:
            self.tally.dropped[cause] += items
        place = "queue" if cause in {"queue_full", "shutdown"} else "spool"
        self._count(probes, place, items)
        self._failures.dropped(cause, items, _CAUSES[cause])

    def _count(self, probes: Mapping[str, int], place: str, items: int) -> None:
        # of a part nobody says whose it was: the probes share it, the first ones the rest
        left = items
        for probe, number in probes.items():
            part = min(left, number)
            left -= part
            if probe and part:
                self._undelivered(probe, place, part)

    def _why(self, outcome: Outcome) -> str:
        return self._clean(diagnose(self._to.endpoint, self.signal, outcome))

    def _clean(self, text: str) -> str:
        return scrubbed(text, self._to.headers.secrets())

    def _show(self) -> None:
        if self._to.tls is not None:
            self.tally.expiry = self._to.tls.expiry
        self.tally.queued = self._queue.items
        self._store.show(self.tally)

    def _flushed(self) -> None:
        done, self._flush = self._flush, None
        if done is not None:
            done.set()

    def _now_s(self) -> float:
        return self._clock().mono_ns / 1e9


_CAUSES: Final = {
    "queue_full": "the queue in memory is full; a spool.directory would keep them",
    "spool_full": "the spool is full; raise spool.max_bytes",
    "spool_age": "they are older than spool.max_age_s",
    "retry_limit": "they could not be sent within retry_total_s",
    "damaged": "the spool's file is damaged",
    "shutdown": "the agent ends, and no spool takes them",
}
