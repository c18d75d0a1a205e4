"""All sinks of one agent: made, started, flushed within a deadline, stopped; a stranger's failure costs only its own sink."""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from obi_core.errors import ObiError
from obi_core.model import Metric
from obi_core.runtime.registry import ISOLATED
from obi_core.settings import CoreSettings
from obi_core.sink import Sink, Source

_log: Final = logging.getLogger("obi.sinks")


class Outputs:
    """The sinks that the settings ask for."""

    def __init__(self, sinks: Iterable[type[Sink]], settings: CoreSettings, resource: Mapping[str, str]) -> None:
        self._made: list[Sink] = []
        self._started: list[Sink] = []
        for made in sinks:
            try:
                sink = made.create(settings, resource)
            except ObiError:
                raise
            except ISOLATED:  # a stranger's code
                _log.exception("sink %s cannot be made; the agent goes on without it", made.__name__)
            else:
                if sink is not None:
                    self._made.append(sink)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the sinks that run."""
        return tuple(sink.name for sink in self._started if sink.name)

    @property
    def own(self) -> tuple[Callable[[], Sequence[Metric]], ...]:
        """What the sinks say of themselves: one provider each."""
        return tuple(sink.own for sink in self._made)

    def start(self, source: Source) -> None:
        """Start all.

        Raises:
            HostError: A sink cannot work here; those started before it are still to be stopped.
        """
        for sink in self._made:
            try:
                sink.start(source)
            except ObiError:
                raise
            except ISOLATED:  # a stranger's code
                _log.exception("sink %s did not start; the agent goes on without it", sink.name)
            else:
                self._started.append(sink)

    def flush(self, deadline_s: float) -> None:
        """Let all sinks hand out what is there, side by side, so that a slow one does not eat the others' time."""
        until = time.monotonic() + deadline_s
        threads = [
            threading.Thread(target=self._isolated, args=(sink, deadline_s), name=f"obi-flush-{sink.name}", daemon=True)
            for sink in self._started
        ]
        for thread in threads:
            thread.start()
        for sink, thread in zip(self._started, threads, strict=True):
            thread.join(max(0.0, until - time.monotonic()))
            if thread.is_alive():
                _log.warning("sink %s did not flush within %g s; what it holds is lost", sink.name, deadline_s)

    def stop(self) -> None:
        """Stop all, last first. Idempotent."""
        while self._started:
            sink = self._started.pop()
            try:
                sink.stop()
            except ISOLATED:  # a stranger's code
                _log.exception("sink %s did not stop cleanly", sink.name)

    @staticmethod
    def _isolated(sink: Sink, deadline_s: float) -> None:
        try:
            sink.flush(deadline_s)
        except ISOLATED:  # a stranger's code
            _log.exception("sink %s did not flush", sink.name)
