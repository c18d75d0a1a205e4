"""The receiver: both halves, and what came in."""

from collections.abc import Callable, Iterator, Mapping
from threading import Condition, Event
from typing import TYPE_CHECKING, Final, Self

from obi_core.testing.otlp.behaviour import Answer, Behaviour, Received
from obi_core.testing.otlp.certificates import Certificates
from obi_core.testing.otlp.grpc_side import GrpcSide
from obi_core.testing.otlp.http_side import HttpSide
from obi_core.testing.otlp.messages import plain

if TYPE_CHECKING:
    from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
    from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

SIGNALS: Final = ("metrics", "traces", "logs")


class OtlpReceiver:
    """Listens on two loopback ports while it is entered.

    Args:
        signals: Signals served; the others answer UNIMPLEMENTED and 404, as a store does that does not know them.
        paths: HTTP paths by signal, where a store has its own.
        tls: Speak TLS with these; None: in the clear.
        ask_client: Take only clients with a certificate of the same CA.
    """

    def __init__(
        self,
        signals: tuple[str, ...] = SIGNALS,
        paths: Mapping[str, str] | None = None,
        *,
        tls: Certificates | None = None,
        ask_client: bool = False,
    ) -> None:
        self.paths = {(paths or {}).get(signal, f"/v1/{signal}"): signal for signal in signals}
        self.signals = signals
        self._changed = Condition()
        self._closed = Event()
        self._http = HttpSide(self, tls, ask_client=ask_client)
        self._grpc = GrpcSide(self, tls, ask_client=ask_client)
        self.behaviour: Answer = Behaviour()
        self.requests: list[Received] = []
        """What was taken, in order; refused requests are in `refused`."""
        self.refused: list[Received] = []

    @property
    def grpc(self) -> str:
        """`HOST:PORT` of the gRPC side."""
        return f"127.0.0.1:{self._grpc.port}"

    @property
    def http(self) -> str:
        """`HOST:PORT` of the HTTP side."""
        return f"127.0.0.1:{self._http.port}"

    def __enter__(self) -> Self:
        self.up()
        return self

    def __exit__(self, *error: object) -> None:
        self._closed.set()
        self.down()

    def up(self) -> None:
        """Listen (again), on the same ports."""
        self._http.up()
        self._grpc.up()

    def down(self) -> None:
        """Close both ports and every connection, as a store does that dies."""
        self._http.down()
        self._grpc.down()

    def wait(self, until: Callable[[], bool], timeout_s: float = 20.0) -> None:
        """Wait until `until` is true; it is looked at after each request.

        Raises:
            AssertionError: That did not happen within `timeout_s` seconds.
        """
        with self._changed:
            if not self._changed.wait_for(until, timeout_s):
                raise AssertionError(
                    f"not within {timeout_s} s; {len(self.requests)} requests came, {len(self.refused)} refused"
                )

    def metrics(self) -> dict[str, "Metric"]:
        """Give the newest protobuf metric of each name."""
        return {
            metric.name: metric
            for received in self.of("metrics")
            for resource in received.message.resource_metrics  # type: ignore[attr-defined]  # known by its signal
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def points(self) -> dict[str, dict[tuple[tuple[str, object], ...], float]]:
        """Give the newest value of each series by metric name and sorted attributes; a histogram's is its count."""
        found: dict[str, dict[tuple[tuple[str, object], ...], float]] = {}
        for name, metric in self.metrics().items():
            kind = metric.WhichOneof("data") or "gauge"
            for point in getattr(metric, kind).data_points:
                labels = tuple(sorted((each.key, plain(each.value)) for each in point.attributes))
                value = point.count if hasattr(point, "count") else getattr(point, point.WhichOneof("value") or "as_int")
                found.setdefault(name, {})[labels] = value
        return found

    def spans(self) -> list["Span"]:
        """Give every span taken, in order."""
        return [
            span
            for received in self.of("traces")
            for resource in received.message.resource_spans  # type: ignore[attr-defined]  # known by its signal
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def logs(self) -> list["LogRecord"]:
        """Give every log record taken, in order."""
        return [
            record
            for received in self.of("logs")
            for resource in received.message.resource_logs  # type: ignore[attr-defined]  # known by its signal
            for scope in resource.scope_logs
            for record in scope.log_records
        ]

    def of(self, signal: str) -> Iterator[Received]:
        """Give every request taken of one signal."""
        return (received for received in list(self.requests) if received.signal == signal)

    def judge(self, received: Received) -> Behaviour:
        """Record a request and say how it is answered; both halves ask."""
        behaviour = self.behaviour if isinstance(self.behaviour, Behaviour) else self.behaviour(received)
        self._closed.wait(behaviour.delay_s)
        with self._changed:
            (self.requests if behaviour.takes else self.refused).append(received)
            self._changed.notify_all()
        return behaviour


def attributes_of(holder: object) -> dict[str, object]:
    """Give the attributes of a point, span, log record or resource as a mapping."""
    return {each.key: plain(each.value) for each in holder.attributes}  # type: ignore[attr-defined]  # a protobuf message
