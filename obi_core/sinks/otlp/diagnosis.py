"""What a failed export means, in words, and how often it is said."""

import logging
from collections.abc import Callable
from typing import Final

from obi_core.settings import Signal
from obi_core.sinks.otlp.endpoint import Endpoint
from obi_core.sinks.otlp.outcome import Outcome, Verdict

PATHS: Final[dict[Signal, dict[str, str]]] = {
    "traces": {"Tempo, Collector": "/v1/traces"},
    "metrics": {
        "Mimir": "/otlp/v1/metrics",
        "Cortex and Prometheus": "/api/v1/otlp/v1/metrics",
        "VictoriaMetrics": "/opentelemetry/v1/metrics",
        "Collector": "/v1/metrics",
    },
    "logs": {"Loki": "/otlp/v1/logs", "Collector": "/v1/logs"},
}
"""HTTP paths by store, as observed."""
_HTTP_ONLY: Final[dict[Signal, str]] = {"metrics": "such as Mimir ", "logs": "such as Loki ", "traces": ""}
_AGAIN_S: Final = 60.0

_log = logging.getLogger(__name__)


def diagnose(endpoint: Endpoint, signal: Signal, outcome: Outcome) -> str:
    """Say what a failure means and what to do about it, as far as that is known; the endpoint's words otherwise.

    Args:
        endpoint: Where it was sent.
        signal: What was sent.
        outcome: What came of it.
    """
    status, text = outcome.status, outcome.text
    lower, section = text.lower(), f"otlp_{signal}"
    paths = ", ".join(f"{store}: {path}" for store, path in PATHS[signal].items())
    if "no org id" in lower:
        return f"{endpoint.target} wants a tenant; set X-Scope-OrgID in {section}.headers ({status})"
    if status == "UNIMPLEMENTED":
        scheme = "https" if endpoint.secure else "http"
        return (
            f"{endpoint.target} speaks gRPC but takes no {signal} that way; stores {_HTTP_ONLY[signal]}that take OTLP over "
            f"HTTP only want {section}.endpoint: {scheme}://HOST:PORT/PATH ({paths}); if it shall get none, set "
            f"{section}.enabled: false ({status})"
        )
    if status in ("404", "405"):
        return (
            f"{endpoint.url(signal)} takes no OTLP {signal}; set {section}.endpoint to the full URL ({paths}), or "
            f"{section}.enabled: false ({status})"
        )
    if status in ("401", "403", "UNAUTHENTICATED", "PERMISSION_DENIED"):
        return f"{endpoint.target} does not let us in; set a token or X-Scope-OrgID in {section}.headers ({status})"
    if endpoint.protocol == "grpc" and ("http1" in lower or "http/1" in lower):
        text = f"{endpoint.target} speaks HTTP, not gRPC; set {section}.protocol: http"
    elif endpoint.protocol == "http" and not status and "badstatusline" in lower:
        text = f"{endpoint.target} does not speak HTTP; if it speaks gRPC, set {section}.protocol: grpc"
    return f"{text or 'no reason given'}{status and f' ({status})'}"


class FailureLog:
    """Says the first failure and the recovery at once, and once a minute at most what goes on.

    Args:
        signal: What is exported.
        target: Where to.
        clock: Monotonic, s.
    """

    def __init__(self, signal: str, target: str, clock: Callable[[], float]) -> None:
        self._signal, self._target, self._clock = signal, target, clock
        self._failed, self._told = 0, False
        self._said: dict[str, float] = {}

    def failed(self, verdict: Verdict, why: str) -> None:
        """Note a failed request."""
        self._failed += 1
        lost = ", and it will not be tried again" if verdict is Verdict.NEVER else ""
        if self._failed == 1:
            said = self._say(verdict.value, "cannot export %s to %s%s: %s", self._signal, self._target, lost, why)
        else:
            text = "still cannot export %s to %s after %d attempts%s: %s"
            said = self._say(verdict.value, text, self._signal, self._target, self._failed, lost, why)
        self._told = self._told or said

    def rejected(self, items: int, why: str) -> None:
        """Note items that were thrown away while the rest was taken; 0: only words came along."""
        if items:
            self._say("rejected", "%s took %s but rejected %d of them: %s", self._target, self._signal, items, why)
        else:
            self._say("warned", "%s took %s and says: %s", self._target, self._signal, why)

    def dropped(self, cause: str, items: int, why: str) -> None:
        """Note items that were given up."""
        self._say(cause, "%d %s for %s are lost: %s", items, self._signal, self._target, why)

    def succeeded(self) -> None:
        """Note a request that went through. The recovery is said if the failure was."""
        if self._told:
            _log.info("%s are exported to %s again, after %d failed attempts", self._signal, self._target, self._failed)
        self._failed, self._told = 0, False

    def _say(self, kind: str, text: str, *parts: object) -> bool:
        now = self._clock()
        if kind in self._said and now - self._said[kind] < _AGAIN_S:
            return False
        self._said[kind] = now
        _log.warning(text, *parts)
        return True
