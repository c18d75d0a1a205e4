"""The health endpoint, which moves when its settings do."""

from collections.abc import Callable, Mapping
from typing import Final

from obi_core.errors import ObiError
from obi_core.host import Host
from obi_core.runtime.http import HealthServer, Route
from obi_core.runtime.page import page
from obi_core.settings import HttpSettings

Routes = Callable[[HttpSettings], Mapping[str, Route]]
_NOWHERE: Final = 0


class Door:
    """At most one health endpoint.

    Args:
        routes: Makes its routes.
        host: Says who holds a port that is taken.
    """

    def __init__(self, routes: Routes, host: Host) -> None:
        self._routes, self._host = routes, host
        self._settings: HttpSettings | None = None
        self._server: HealthServer | None = None

    @property
    def port(self) -> int:
        """Where it listens; 0 while it does not."""
        return self._server.port if self._server else _NOWHERE

    def follow(self, settings: HttpSettings) -> None:
        """Serve by these settings from now on.

        Raises:
            HostError: The address cannot be had; it serves as before.
        """
        before, old = self._settings, self._server
        if settings == before:
            return
        if old is not None and before is not None and settings.listen == before.listen:
            # the same address by other rules: it must be free first
            old.stop()
            try:
                self._server = self._serve(settings)
            except ObiError:
                self._server = self._serve(before)
                raise
        else:
            self._server = self._serve(settings)
            if old is not None:
                old.stop()
        self._settings = settings

    def stop(self) -> None:
        """Close it. Idempotent."""
        if self._server:
            self._server.stop()

    def _serve(self, settings: HttpSettings) -> HealthServer:
        routes = self._routes(settings)

        def shown(header: str) -> str:
            health, ready, status = (routes[path]()[1] for path in ("/health", "/ready", "/status"))
            return page(health, ready, status, header)

        server = HealthServer(settings.listen, routes, self._host, shown, settings.hosts)
        server.start()
        return server
