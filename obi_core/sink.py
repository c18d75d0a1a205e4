"""The contract between the bus and whatever carries its data out.

A sink pulls: it reads the cumulative state of all series when it wants (a scrape, an export interval), so every sink sees
the same numbers.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, Self

from obi_core.model import Metric, Row, View
from obi_core.settings import CoreSettings


@dataclass(frozen=True, slots=True)
class ViewTable:
    """The rows of one view at one moment."""

    view: View
    rows: tuple[tuple[Row, Mapping[str, str | int]], ...]
    """Each with its owner's subject attributes (empty if it has none)."""
    missed: int = 0
    """Rows left out because the table is bounded."""


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


class Sink(ABC):
    """Carries the bus's data out. `start` and `stop` are called once each, on the agent's thread."""

    name: ClassVar[str]

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
