"""The contract of what carries one request, and the choice between the two that there are."""

import time
from dataclasses import dataclass
from typing import Protocol

from obi_core.errors import ConfigError
from obi_core.settings import Export
from obi_core.sinks.otlp.endpoint import Endpoint, parse_endpoint
from obi_core.sinks.otlp.headers import Headers
from obi_core.sinks.otlp.outcome import Outcome
from obi_core.sinks.otlp.tls import TlsContext, TlsFiles


class Transport(Protocol):
    """Carries requests to one endpoint, one at a time."""

    def send(self, payload: bytes) -> Outcome:
        """Send one serialised request and wait for the answer, as long as the settings allow. Never raises."""

    def close(self) -> None:
        """End; a request under way is broken off. From any thread."""


@dataclass(frozen=True, slots=True)
class Destination:
    """Where one signal goes, checked: every file has been read."""

    export: Export
    endpoint: Endpoint
    headers: Headers
    tls: TlsContext | None

    @property
    def url(self) -> str:
        """For people and for HTTP."""
        return self.endpoint.url(self.export.signal)


def destination(export: Export) -> Destination:
    """Check everything that can be without a connection.

    Raises:
        ConfigError: Endpoint, headers or TLS files are wrong: the setting and the file.
    """
    settings = export.settings
    endpoint = parse_endpoint(settings.endpoint or "", settings.protocol, export.key("endpoint"))
    headers = Headers(export)
    tls = None
    if endpoint.secure:
        files = TlsFiles.of(export)
        if endpoint.protocol == "grpc" and settings.tls_min_version != "1.2":
            key = export.key("tls_min_version")
            raise ConfigError(f"{key}: gRPC cannot be held to TLS {settings.tls_min_version}; use HTTP or say 1.2", key=key)
        tls = TlsContext(files, settings.tls_min_version, time.time)
    return Destination(export, endpoint, headers, tls)


def make_transport(to: Destination) -> Transport:
    """Make what carries requests to `to`; grpc is imported only for gRPC."""
    if to.endpoint.protocol == "grpc":
        from obi_core.sinks.otlp.grpc_transport import GrpcTransport

        return GrpcTransport(to)
    from obi_core.sinks.otlp.http_transport import HttpTransport

    return HttpTransport(to)
