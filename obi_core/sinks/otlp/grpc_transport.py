"""OTLP over gRPC: the bytes as they are, so that what was spooled need not be read and written again.

The official exporters take the SDK's data only, and sleep through their retries; what is theirs here is the service's name and
the meaning of the answers.
"""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, cast

from obi_core.errors import ConfigError
from obi_core.sinks.otlp.outcome import Outcome, Verdict, of_grpc, partial_success, retry_delay, retry_info, unreachable
from obi_core.sinks.otlp.transport import Destination

if TYPE_CHECKING:
    import grpc

_METHODS: Final = {
    "traces": "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    "metrics": "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    "logs": "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
}
_DETAILS: Final = "grpc-status-details-bin"
_RETRY_INFO: Final = "google.rpc.retryinfo-bin"


class GrpcTransport:
    """Carries requests of one signal.

    Args:
        to: Where to.
        clock: Monotonic, s.
    """

    def __init__(self, to: Destination, clock: Callable[[], float] = time.monotonic) -> None:
        self._to, self._clock = to, clock
        self._timeout_s = to.export.settings.timeout_s
        self._channel: grpc.Channel | None = None
        self._call: grpc.UnaryUnaryMultiCallable[bytes, bytes] | None = None
        self._closed = False

    def send(self, payload: bytes) -> Outcome:
        """Send one request and read the answer, within the timeout."""
        import grpc

        if self._closed:
            return unreachable("the exporter is stopping")
        try:
            metadata = tuple(self._to.headers.now().items())
            call = self._ready()
        except (ConfigError, OSError) as error:
            return unreachable(str(error))
        try:
            return _taken(call(payload, timeout=self._timeout_s, metadata=metadata))
        except grpc.RpcError as error:
            outcome = of_grpc(*_refusal(cast("grpc.Call", error)))
            if outcome.status == "UNAVAILABLE":
                # its own wait between two connects grows to two minutes; ours is the one that counts
                self._drop()
            return outcome
        except ValueError as error:
            # the channel was closed by another thread
            return unreachable(str(error))

    def close(self) -> None:
        """Break off and close."""
        self._closed = True
        self._drop()

    def _ready(self) -> "grpc.UnaryUnaryMultiCallable[bytes, bytes]":
        import grpc

        tls, settings = self._to.tls, self._to.export.settings
        if tls is not None and tls.changed():
            self._drop()
        if self._call is not None:
            return self._call
        # a proxy for the web is none for a store in the cluster
        options: list[tuple[str, str | int]] = [("grpc.enable_http_proxy", 0), ("grpc.primary_user_agent", "obi")]
        compression = grpc.Compression.Gzip if settings.compression == "gzip" else grpc.Compression.NoCompression
        target = self._to.endpoint.target
        if tls is None:
            channel = grpc.insecure_channel(target, options, compression)
        else:
            ca, certificate, key = tls.read()
            if settings.server_name:
                options.append(("grpc.ssl_target_name_override", settings.server_name))
            credentials = grpc.ssl_channel_credentials(ca, key, certificate)
            channel = grpc.secure_channel(target, credentials, options, compression)
        self._channel = channel
        self._call = channel.unary_unary(_METHODS[self._to.export.signal])
        return self._call

    def _drop(self) -> None:
        channel, self._channel, self._call = self._channel, None, None
        if channel is not None:
            channel.close()


def _taken(response: bytes) -> Outcome:
    rejected, message = partial_success(response)
    return Outcome(Verdict.TAKEN, "OK", message, rejected=rejected)


def _refusal(error: "grpc.Call") -> tuple[str, str, float | None]:
    found = {str(name): value for name, value in error.trailing_metadata() or ()}
    wait_s = None
    for name, read in ((_DETAILS, retry_delay), (_RETRY_INFO, retry_info)):
        value = found.get(name)
        if wait_s is None and isinstance(value, bytes):
            wait_s = read(value)
    return error.code().name, error.details() or "", wait_s
