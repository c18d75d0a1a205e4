"""The contract between the bus and whatever carries its data out.

A sink pulls: it reads the cumulative state of all series when it wants (a scrape, an export interval), so every sink sees
the same numbers.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, Self

from obi_core.model import LogEvent, Metric, Row, Span, View
from obi_core.settings import CoreSettings


@dataclass(frozen=True, slots=True)
class ViewTable:
    """The rows of one view at one moment."""

    view: View
    rows: tuple[tuple[Row, Mapping[str, str | int]], ...]
    """Each with its owner's subject attributes (empty if it has none)."""
    missed: int = 0
    """Rows left out because the table is bounded."""


@dataclass(frozen=True, slots=True)
class Happening:
    """A span or log event, and who caused it."""

    probe: str
    """Empty for the agent itself."""
    scope: str
    """The plugin's distribution and version; empty for the agent itself."""
    what: Span | LogEvent
    subject: Mapping[str, str | int]


class Source(Protocol):
    """What a sink may ask of the bus; callable from any thread."""

    def metrics(self) -> Sequence[Metric]:
        """Every instrument with its series: the probes', then the agent's own."""

    def views(self) -> Sequence[View]:
        """Views of the probes that run."""

    def subscribe(self, view: str) -> Callable[[], None]:
        """Ask for a view's rows from now on; the returned call ends it. Nobody pays for a view without subscribers."""

    def table(self, view: str) -> ViewTable | None:
        """The newest rows of a subscribed view; None before the first collection."""

    def watch(self, wake: Callable[[], None]) -> None:
        """Ask for spans and log events from now on; without that none is kept. `wake` is called when many wait."""

    def happenings(self, limit: int) -> Sequence[Happening]:
        """Take the oldest spans and log events, at most `limit`; each is given once."""

    def note(self, *events: Span | LogEvent) -> None:
        """Add events of the agent itself."""

    def undelivered(self, probe: str, place: str, number: int) -> None:
        """Count spans and log events of a probe that were lost on the way out: `queue`, `spool` or `rejected`."""


class Sink(ABC):
    """Carries the bus's data out. `start` and `stop` are called once each, on the agent's thread."""

    name: ClassVar[str]
    """Empty for one that carries nothing out."""
    sections: ClassVar[tuple[str, ...] | None] = None
    """Core sections that `create` reads: the sink is made anew when one of them changes. None: all."""

    @classmethod
    @abstractmethod
    def create(cls, settings: CoreSettings, resource: Mapping[str, str]) -> Self | None:
        """Make the sink that the settings ask for; None if they ask for none. No socket, no thread, no heavy import yet.

        Args:
            settings: All core sections.
            resource: Resource attributes of this agent.
        """

    @abstractmethod
    def start(self, source: Source) -> None:
        """Begin; open sockets and start threads here, not in the constructor.

        Raises:
            HostError: The sink cannot work here (a port is taken): the agent does not start.
        """

    def own(self) -> Sequence[Metric]:
        """Say how the sink itself is doing, as metrics of the agent; every series exists, as 0, from the start."""
        return ()

    def flush(self, deadline_s: float) -> None:
        """Hand out what is there within `deadline_s` seconds; called once, before `stop`."""

    def stop(self) -> None:
        """Close everything. Idempotent."""
