"""What the agent tells of itself as spans and log events: probes that change their state, and a sample of collections.

So a quiet node is seen in a store of traces too, and a log of a probe that failed leads to the span of its attempt.
"""

import logging
import time
from collections.abc import Callable
from typing import Final, Protocol

from obi_core.model import LogEvent, ProbeState, Severity, Span
from obi_core.runtime.changes import level_of, sentence
from obi_core.runtime.status import Status

_FAILED: Final = {ProbeState.UNSUPPORTED, ProbeState.FAILED, ProbeState.QUARANTINED}
_SEVERITIES: Final = {logging.INFO: Severity.INFO, logging.WARNING: Severity.WARN, logging.ERROR: Severity.ERROR}


class Note(Protocol):
    """Takes events of the agent itself; the bus's."""

    def __call__(self, *events: Span | LogEvent) -> None:
        """Take them."""


class Diary:
    """Writes them.

    Args:
        note: Takes them; from any thread.
        every: One collection of a probe in so many becomes a span; 0: none.
        clock: ns, realtime.
    """

    def __init__(self, note: Note, every: int, clock: Callable[[], int] = time.time_ns) -> None:
        self._note, self._every, self._clock = note, every, clock
        self._began_ns = clock()
        self._since: dict[str, int] = {}
        self._collections: dict[str, int] = {}

    def changed(self, status: Status) -> None:
        """Tell of a probe's new state: a log event, and the span that led there. On the agent's thread."""
        severity = _SEVERITIES.get(level_of(status))
        if severity is None:
            return
        now = self._clock()
        since, self._since[status.probe] = self._since.get(status.probe, self._began_ns), now
        link = (status.probe, status.generation, status.state.value, now)
        attributes: dict[str, str | int | float] = {
            "obi.probe.name": status.probe,
            "obi.probe.state": status.state.value,
            "obi.probe.reason": status.reason.value,
            "obi.probe.mode": status.mode,
            "obi.probe.shed_level": len(status.sheds),
            **({"obi.probe.budget": status.over} if status.sheds else {}),
        }
        failed = status.reason.value if status.state in _FAILED else ""
        self._note(
            Span(f"obi probe {status.state.value}", since, now, None, attributes, failed, link),
            LogEvent("obi.probe.changed", now, sentence(status), None, attributes, link, severity),
        )

    def collected(self, probe: str, seconds: float, entries: int) -> None:
        """Tell of a collection that has just ended, if it is its turn. On the probe's own thread."""
        turn = self._collections[probe] = self._collections.get(probe, 0) + 1
        if self._every and (turn - 1) % self._every == 0:
            now = self._clock()
            attributes: dict[str, str | int | float] = {"obi.probe.name": probe, "obi.collect.entries": entries}
            self._note(Span("obi collect", now - int(seconds * 1e9), now, None, attributes))
