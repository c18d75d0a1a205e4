"""Changed configuration: when to read it again, what came of it, and which one is in force."""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Final

from obi_core.bus.own import own_metric
from obi_core.model import Kind, LogEvent, Metric
from obi_core.settings import Settings

RESULTS: Final = ("applied", "unchanged", "refused")
LOOK_EVERY_S: Final = 2.0

_log: Final = logging.getLogger("obi.config")


class Reloads:
    """Keeps count. On the agent's thread, but for `ask`.

    Args:
        read: Reads the whole configuration again; None: it cannot change.
        changed: Whether its files have changed; None: nobody looks.
        note: Takes what happened as a log event.
        clock: s, monotonic.
    """

    def __init__(
        self,
        read: Callable[[], Settings] | None,
        changed: Callable[[], bool] | None,
        note: Callable[[LogEvent], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.read = read
        self._changed, self._note, self._clock = changed, note, clock
        self._asked, self._looked_s = False, clock()
        self._started_ns = time.time_ns()
        self._counts = dict.fromkeys(RESULTS, 0)
        self.digest = ""
        """Of the configuration in force."""
        self.watching = True
        """Whether changed files count."""

    def ask(self) -> None:
        """Want a reload; from any thread, and from a signal handler."""
        self._asked = True

    def due(self) -> bool:
        """Whether to read again now; once for each reason."""
        if self.read is None:
            return False
        now = self._clock()
        if self._changed is not None and self.watching and now - self._looked_s >= LOOK_EVERY_S:
            self._looked_s = now
            self._asked = self._changed() or self._asked
        asked, self._asked = self._asked, False
        return asked

    def came(self, result: str, detail: str) -> None:
        """Say what came of one, then count it: who sees the count finds the rest said."""
        level = logging.ERROR if result == "refused" else logging.INFO
        _log.log(level, "%s", detail)
        self._note(
            LogEvent(
                "obi.config.reload",
                time.time_ns(),
                detail,
                attributes={"obi.config.result": result, "obi.config.hash": self.digest},
            )
        )
        self._counts[result] += 1

    def own(self) -> Sequence[Metric]:
        """Say it as metrics."""
        counts = [({"result": result}, number) for result, number in self._counts.items()]
        return (
            own_metric(
                "obi_config_info", Kind.GAUGE, "Always 1; which configuration is in force.", [({"hash": self.digest}, 1)]
            ),
            own_metric(
                "obi_config_reloads_total",
                Kind.COUNTER,
                "Times that the configuration was read again, by what came of it.",
                counts,
                start_ns=self._started_ns,
                time_ns=time.time_ns(),
            ),
        )
