"""One item on its way to an endpoint, step by step: what `obi test-export` shows."""

import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, cast

from obi_core.bus.request import Request
from obi_core.model import Instrument, Kind, LogEvent, Metric, Point, Span
from obi_core.settings import Export, OtlpMetricsSettings, Signal
from obi_core.sink import Happening
from obi_core.sinks.otlp.certificate import not_after_der
from obi_core.sinks.otlp.diagnosis import PATHS, diagnose
from obi_core.sinks.otlp.endpoint import Endpoint
from obi_core.sinks.otlp.headers import scrubbed
from obi_core.sinks.otlp.http_transport import connect
from obi_core.sinks.otlp.outcome import Outcome, Verdict
from obi_core.sinks.otlp.transport import Destination, make_transport

_ITEM: Final = Instrument("obi.export.test", Kind.GAUGE, "1", "Sent by obi test-export.", subject=False)
_UNAUTHORIZED: Final = {"401", "403", "UNAUTHENTICATED", "PERMISSION_DENIED"}


@dataclass(frozen=True, slots=True)
class Step:
    """One step."""

    name: str
    """`dns`, `tcp`, `tls`, `auth`, `otlp`."""
    ok: bool
    detail: str
    ms: float

    def document(self) -> dict[str, object]:
        """JSON-ready."""
        return {"step": self.name, "ok": self.ok, "detail": self.detail, "ms": round(self.ms, 1)}


@dataclass(frozen=True, slots=True)
class Report:
    """What became of one item."""

    signal: Signal
    url: str
    protocol: str
    steps: tuple[Step, ...]
    outcome: Outcome | None
    """None: it was never sent."""

    @property
    def accepted(self) -> bool:
        """Whether the endpoint took the item."""
        return self.outcome is not None and self.outcome.verdict is Verdict.TAKEN and not self.outcome.rejected

    @property
    def reached(self) -> bool:
        """Whether something listens there."""
        return any(step.name == "tcp" and step.ok for step in self.steps)

    def document(self) -> dict[str, object]:
        """JSON-ready."""
        return {
            "signal": self.signal,
            "url": self.url,
            "protocol": self.protocol,
            "accepted": self.accepted,
            "status": self.outcome.status if self.outcome else "",
            "rejected": self.outcome.rejected if self.outcome else 0,
            "steps": [step.document() for step in self.steps],
        }


def examine(to: Destination, resource: Mapping[str, str], clock: Callable[[], float] = time.monotonic) -> Report:
    """Go the whole way once, and stop where it ends.

    Args:
        to: Where to.
        resource: Attributes of this agent.
        clock: Monotonic, s.
    """
    steps: list[Step] = []
    outcome: Outcome | None = None
    for step, result in _steps(to, resource, clock):
        steps.append(replace(step, detail=scrubbed(step.detail, to.headers.secrets())))
        outcome = result
    return Report(to.export.signal, to.url, to.endpoint.protocol, tuple(steps), outcome)


def candidates(export: Export, endpoint: Endpoint) -> Iterator[Endpoint]:
    """Give the ways in which an endpoint may be meant, likeliest first: the stores' HTTP paths, and gRPC."""
    ways = [replace(endpoint, protocol="http", path=path) for path in dict.fromkeys(PATHS[export.signal].values())]
    ways.sort(key=lambda way: way.path != f"/v1/{export.signal}")
    grpc = replace(endpoint, protocol="grpc", path="")
    yield from [grpc, *ways] if endpoint.protocol == "grpc" else [*ways, grpc]


def _steps(to: Destination, resource: Mapping[str, str], clock: Callable[[], float]) -> Iterator[tuple[Step, Outcome | None]]:
    endpoint, timeout_s = to.endpoint, to.export.settings.timeout_s
    began = clock()

    def step(name: str, ok: bool, detail: str, outcome: Outcome | None = None) -> tuple[Step, Outcome | None]:
        nonlocal began
        took, began = (clock() - began) * 1e3, clock()
        return Step(name, ok, detail, took), outcome

    try:
        found = socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
    except OSError as error:
        yield step("dns", False, f"{endpoint.host} is not known: {error.strerror or error}")
        return
    yield step("dns", True, ", ".join(dict.fromkeys(str(each[4][0]) for each in found)))
    try:
        connection = connect(endpoint, timeout_s, lambda _: None)
    except OSError as error:
        yield step("tcp", False, f"nobody answers at {endpoint.target}: {(error.strerror or 'no answer in time').lower()}")
        return
    with connection:
        yield step("tcp", True, f"connected to {endpoint.target}")
        if to.tls is not None:
            try:
                detail = _handshake(to, connection)
            except (OSError, ValueError) as error:
                yield step("tls", False, _tls_problem(error))
                return
            yield step("tls", True, detail)
    transport = make_transport(to)
    outcome = transport.send(item(to.export.signal, resource).payload)
    transport.close()
    unauthorized = outcome.status in _UNAUTHORIZED or "no org id" in outcome.text.lower()
    if unauthorized:
        yield step("auth", False, diagnose(endpoint, to.export.signal, outcome), outcome)
        return
    if outcome.status:
        yield Step("auth", True, "let in" if to.headers.now() else "let in without headers", 0.0), outcome
    if outcome.verdict is not Verdict.TAKEN:
        yield step("otlp", False, diagnose(endpoint, to.export.signal, outcome), outcome)
    elif outcome.rejected:
        yield step("otlp", False, f"the item was rejected: {outcome.text or 'no reason given'} ({outcome.status})", outcome)
    else:
        says = f", and says: {outcome.text}" if outcome.text else ""
        yield step("otlp", True, f"one item accepted ({outcome.status}){says}", outcome)


def item(signal: Signal, resource: Mapping[str, str]) -> Request:
    """Make a request with one item, by the encoders that the agent uses."""
    from obi_core.sinks.otlp.events import EventsEncoder
    from obi_core.sinks.otlp.exemplars import Exemplars
    from obi_core.sinks.otlp.ids import IdMaker
    from obi_core.sinks.otlp.metrics import MetricsEncoder

    now = time.time_ns()
    if signal == "metrics":
        metric = Metric(_ITEM, "", (Point((), 1, now, now),))
        return next(MetricsEncoder(resource, {}, OtlpMetricsSettings(), 1).requests([metric], now))
    encoder = EventsEncoder(resource, {}, IdMaker(), Exemplars())
    if signal == "traces":
        return next(encoder.spans([Happening("", "", Span("obi test-export", now - 1_000_000, now), {})], 1))
    event = LogEvent("obi.export.test", now, "Sent by obi test-export.")
    return next(encoder.logs([Happening("", "", event, {})], 1))


def _handshake(to: Destination, connection: socket.socket) -> str:
    if to.tls is None:
        raise ValueError("no TLS is asked for")
    context, name = to.tls.context, to.export.settings.server_name or to.endpoint.host
    context.set_alpn_protocols(["h2"] if to.endpoint.protocol == "grpc" else ["http/1.1"])
    with context.wrap_socket(connection, server_hostname=name) as secure:
        shown = cast("Mapping[str, Any]", secure.getpeercert() or {})
        ends = not_after_der(secure.getpeercert(binary_form=True) or b"")
        names = [str(value) for _, value in shown.get("subjectAltName", ())]
        issuer = next((value for part in shown.get("issuer", ()) for key, value in part if key == "commonName"), "?")
        days = int((ends - time.time()) // 86_400)
        alpn = secure.selected_alpn_protocol() or "no ALPN"
        return f"{secure.version()}, {alpn}, for {', '.join(names)}, issued by {issuer}, expires in {days} days"


def _tls_problem(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the endpoint's certificate is not trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {(error.reason or str(error)).replace('_', ' ').lower()}"
    return f"the handshake failed: {error}"
