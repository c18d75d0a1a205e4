"""What a failed export means, and how often it is said."""

import logging
from collections.abc import Callable
from typing import Final

from obi_core.sinks.endpoint import Endpoint

_PATHS: Final = (
    "Mimir: /otlp/v1/metrics, Cortex and Prometheus: /api/v1/otlp/v1/metrics, VictoriaMetrics: /opentelemetry/v1/metrics"
)
_AGAIN_S: Final = 60.0

_log = logging.getLogger(__name__)


def diagnose(endpoint: Endpoint, status: str, text: str) -> str:
    """Say what a failure means and what to do about it, as far as that is known; the exporter's words otherwise.

    Args:
        endpoint: Where it was sent.
        status: gRPC's status by name, HTTP's as a number, empty if nobody answered.
        text: What the exporter said.
    """
    if "no org id" in text.lower():
        return f"{endpoint.target} wants a tenant; set X-Scope-OrgID in otlp.headers ({status})"
    if status == "UNIMPLEMENTED":
        scheme = "https" if endpoint.secure else "http"
        return (
            f"{endpoint.target} speaks gRPC but takes no metrics that way; stores such as Mimir take OTLP over HTTP only: "
            f"set the endpoint to {scheme}://HOST:PORT/PATH ({_PATHS}) ({status})"
        )
    if status in ("404", "405"):
        return f"{endpoint.url('metrics')} takes no OTLP metrics; set the endpoint to the full URL ({_PATHS}) ({status})"
    if status in ("401", "403", "UNAUTHENTICATED", "PERMISSION_DENIED"):
        return f"{endpoint.target} does not let us in; set a token or X-Scope-OrgID in otlp.headers ({status})"
    if endpoint.protocol == "grpc" and ("http1" in text.lower() or "http/1" in text.lower()):
        return f"{endpoint.target} speaks HTTP, not gRPC; say --otlp-protocol http ({status})"
    return text or "nobody answered in time"


class FailureLog:
    """Says the first failure and the recovery at once, and once a minute that it still fails.

    Args:
        target: Where the exports go.
        clock: Monotonic, s.
    """

    def __init__(self, target: str, clock: Callable[[], float]) -> None:
        self._target, self._clock = target, clock
        self._failed = 0
        self._said_at = 0.0

    def failed(self, why: str) -> None:
        """Note a failed export."""
        self._failed += 1
        now = self._clock()
        if self._failed == 1:
            self._said_at = now
            _log.warning("cannot export metrics to %s: %s", self._target, why)
        elif now - self._said_at >= _AGAIN_S:
            self._said_at = now
            _log.warning("still cannot export metrics to %s after %d attempts: %s", self._target, self._failed, why)

    def succeeded(self) -> None:
        """Note an export that went through."""
        if self._failed:
            _log.info("metrics are exported to %s again, after %d failed attempts", self._target, self._failed)
        self._failed = 0
