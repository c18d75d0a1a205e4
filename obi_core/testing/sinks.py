"""Sinks for tests."""

from collections.abc import Mapping
from typing import ClassVar, Self

from obi_core.settings import CoreSettings
from obi_core.sink import Sink, Source


class InMemorySink(Sink):
    """Carries nothing anywhere: the test reads it.

    Attributes:
        calls: `start`, `flush` and `stop`, as they came.
        flushed: What the bus knew at `flush`, as `values` gives it.
    """

    name: ClassVar[str] = "memory"

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.flushed: dict[str, dict[tuple[tuple[str, str | int | bool], ...], int | float | tuple[int, ...]]] = {}
        self._source: Source | None = None

    @classmethod
    def create(cls, settings: CoreSettings, resource: Mapping[str, str]) -> Self | None:  # noqa: ARG003 - any settings will do
        """Make one, always."""
        return cls()

    @property
    def source(self) -> Source:
        """The bus.

        Raises:
            RuntimeError: The sink was not started.
        """
        if self._source is None:
            raise RuntimeError("the sink was not started")
        return self._source

    def start(self, source: Source) -> None:
        """Remember the bus."""
        self.calls.append("start")
        self._source = source

    def flush(self, deadline_s: float) -> None:  # noqa: ARG002 - there is nothing to wait for
        """Keep what the bus knows now."""
        self.calls.append("flush")
        self.flushed = self.values()

    def stop(self) -> None:
        """Note the call; what was flushed can still be read."""
        self.calls.append("stop")

    def values(self) -> dict[str, dict[tuple[tuple[str, str | int | bool], ...], int | float | tuple[int, ...]]]:
        """Give metric name → sorted attributes → value."""
        return {
            metric.instrument.name: {point.attributes: point.value for point in metric.points}
            for metric in self.source.metrics()
        }
