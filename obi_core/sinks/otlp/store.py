"""The spool as a lane sees it: opened when it can be, given up while it cannot, and said loudly."""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

from obi_core.bus.moment import Moment
from obi_core.bus.spool import Kept, Spool, SpoolError
from obi_core.settings import Signal, SpoolSettings
from obi_core.sinks.otlp.queue import Entry
from obi_core.sinks.otlp.tally import Tally

_AGAIN_S: Final = 10.0
"""A disk that refused is asked again after so long."""
_SAY_S: Final = 60.0

_log: Final = logging.getLogger(__name__)


class Keeper(Protocol):
    """Who accounts for what the spool has and loses."""

    def found(self, items: int) -> None:
        """Count what the spool had from before."""

    def lost(self, cause: str, items: int, probes: Mapping[str, int]) -> None:
        """Count what the spool gave up."""


class Store:
    """The spool of one signal. On the lane's thread only.

    Args:
        settings: Section `spool`.
        signal: Whose requests.
        clock: Reads both clocks.
    """

    def __init__(self, settings: SpoolSettings, signal: Signal, clock: Callable[[], Moment] = Moment.now) -> None:
        self._settings, self._signal, self._clock = settings, signal, clock
        self._spool: Spool | None = None
        self._refused_s: float | None = None
        self._said_s: float | None = None
        self._fresh_turn = False
        self._tried: set[int] = set()

    @property
    def always(self) -> bool:
        """Whether every request goes to disk before it is sent."""
        return self._settings.write == "always"

    def tend(self, keeper: Keeper) -> None:
        """Open the spool if it shall be open and is not."""
        if self._settings.directory is None or self._spool is not None or not self._willing():
            return
        file = Path(self._settings.directory) / f"{self._signal}.db"
        try:
            self._spool = Spool(
                file, self._signal, self._settings.max_bytes, self._settings.max_age_s, keeper.lost, self._clock
            )
        except SpoolError as error:
            self._complain(error)
        else:
            keeper.found(self._spool.items)
            self._recovered()

    def keep(self, entries: Sequence[Entry]) -> None:
        """Put entries on disk and note their records in them; if the disk refuses they stay as they are."""
        if self._spool is None or not entries or not self._willing():
            return
        try:
            records = self._spool.append([entry.request for entry in entries])
        except SpoolError as error:
            self._complain(error)
        else:
            for entry, record in zip(entries, records, strict=True):
                entry.kept = record
                if entry.tried:
                    self._tried.add(record.seq)
            self._recovered()

    def oldest(self, before: int | None, now_s: float) -> Entry | None:
        """Give the record accepted first, if it is older than record `before`."""
        while self._spool is not None and (kept := self._spool.oldest(before)) is not None:
            try:
                request = self._spool.load(kept)
            except SpoolError as error:
                self._complain(error)
                return None
            if request is not None:
                return Entry(request, min(now_s, kept.since_ns / 1e9), kept)
        return None

    def turn(self) -> bool:
        """Whether it is the turn of something new, while there is something old: every other time."""
        self._fresh_turn = not self._fresh_turn
        return self._fresh_turn

    def tried(self, kept: Kept | None) -> bool:
        """Whether a record was sent before by this process; from now on it was."""
        if kept is None:
            return False
        before = kept.seq in self._tried
        self._tried.add(kept.seq)
        return before

    def remove(self, kept: Kept | None) -> None:
        """Let a record go."""
        if kept is not None:
            self._tried.discard(kept.seq)
        if self._spool is not None and kept is not None:
            self._spool.remove(kept)

    def show(self, tally: Tally) -> None:
        """Say how much is on disk."""
        tally.spooled, tally.spool_bytes = (self._spool.items, self._spool.bytes) if self._spool else (0, 0)
        if self._settings.directory is not None:
            tally.spool_state = "ok" if self._spool is not None and self._refused_s is None else "memory_only"

    def close(self) -> None:
        """Close the file; everything stays on disk."""
        if self._spool is not None:
            self._spool.close()

    def _willing(self) -> bool:
        return self._refused_s is None or self._now_s() - self._refused_s >= _AGAIN_S

    def _complain(self, error: SpoolError) -> None:
        self._refused_s = now = self._now_s()
        if self._said_s is None or now - self._said_s >= _SAY_S:
            self._said_s = now
            _log.error("%s wait in memory only: %s", self._signal, error)

    def _recovered(self) -> None:
        if self._refused_s is not None:
            _log.info("%s are spooled again", self._signal)
        self._refused_s = None

    def _now_s(self) -> float:
        return self._clock().mono_ns / 1e9
