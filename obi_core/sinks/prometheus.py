"""Prometheus text at `/metrics`."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ClassVar, Self

from obi_core.host import Host
from obi_core.settings import CoreSettings, Listen
from obi_core.sink import Sink, Source

if TYPE_CHECKING:
    from obi_core.sinks.listener import Listener


class PrometheusSink(Sink):
    """Serves every metric of the bus as Prometheus text (or OpenMetrics, where the scraper asks for it).

    Args:
        listen: Where to listen.
        holder: Says who holds a port.
    """

    name: ClassVar[str] = "prometheus"
    sections: ClassVar[tuple[str, ...] | None] = ("metrics",)

    def __init__(self, listen: Listen, holder: Callable[[int], str | None]) -> None:
        self._listen, self._holder = listen, holder
        self._listener: Listener | None = None

    @classmethod
    def create(cls, settings: CoreSettings, resource: Mapping[str, str]) -> Self | None:  # noqa: ARG003 - text has no resource
        """Make the sink unless `metrics.enabled` is off."""
        return cls(settings.metrics.listen, Host().port_holder) if settings.metrics.enabled else None

    @property
    def address(self) -> Listen | None:
        """Where it listens; None unless started."""
        return self._listener.address if self._listener is not None else None

    def start(self, source: Source) -> None:
        """Listen.

        Raises:
            HostError: The address is taken, or is not this host's.
        """
        from prometheus_client import CollectorRegistry, make_wsgi_app  # paid for by those who scrape

        from obi_core.sinks.families import BusCollector
        from obi_core.sinks.listener import Listener, compressed, only_metrics

        registry = CollectorRegistry()
        registry.register(BusCollector(source))
        # Its own compression is at level 9, which takes longer than all the rest of a scrape.
        app = compressed(make_wsgi_app(registry, disable_compression=True))
        self._listener = Listener(self._listen, only_metrics(app), self._holder)

    def stop(self) -> None:
        """Close the socket."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()
