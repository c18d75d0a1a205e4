"""A real OTLP receiver for tests: the official services over gRPC and HTTP, which record what comes and misbehave on demand.

Example::

    with OtlpReceiver() as receiver:
        run_agent("--otlp-endpoint", receiver.grpc)
        receiver.wait(lambda: "obi.tcp.connects" in receiver.points())
"""

import gzip
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Condition, Event, Thread
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    import grpc
    from google.protobuf.message import Message
    from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric

SIGNALS: Final = ("metrics", "traces", "logs")


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How the receiver answers from now on."""

    delay_s: float = 0.0
    """Wait so long before the answer (or until the receiver closes)."""
    status: int = 200
    """HTTP status."""
    code: str = "OK"
    """gRPC status, by name."""
    headers: tuple[tuple[str, str], ...] = ()
    """HTTP headers and gRPC trailing metadata, such as Retry-After."""
    body: str = ""
    """Text of an HTTP error, details of a gRPC one."""
    hang_up: bool = False
    """Close the connection instead of answering (HTTP); abort with UNAVAILABLE (gRPC)."""


@dataclass(frozen=True, slots=True)
class Received:
    """One request."""

    protocol: str
    """`grpc` or `http`."""
    signal: str
    path: str
    """HTTP path or gRPC method."""
    headers: Mapping[str, str]
    """Names in lower case."""
    message: "Message"
    """The official request message of the signal."""


class OtlpReceiver:
    """Listens on two loopback ports while it is entered.

    Args:
        signals: Signals served; the others answer UNIMPLEMENTED and 404, as a store does that does not know them.
        paths: HTTP paths by signal, where a store has its own.
    """

    def __init__(self, signals: tuple[str, ...] = SIGNALS, paths: Mapping[str, str] | None = None) -> None:
        self._paths = {(paths or {}).get(signal, f"/v1/{signal}"): signal for signal in signals}
        self._signals = signals
        self._changed = Condition()
        self._closed = Event()
        self.behaviour = Behaviour()
        self.requests: list[Received] = []
        """What was taken, in order; refused requests are in `refused`."""
        self.refused: list[Received] = []
        self.grpc = ""
        """`HOST:PORT` of the gRPC side."""
        self.http = ""
        """`HOST:PORT` of the HTTP side."""

    def __enter__(self) -> Self:
        import grpc

        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                receiver._post(self)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its signature
                """Say nothing."""

        self._http_server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http_server.daemon_threads = True
        self.http = f"127.0.0.1:{self._http_server.server_port}"
        self._http_thread = Thread(target=self._http_server.serve_forever, args=(0.05,), daemon=True)
        self._http_thread.start()
        self._grpc_server = grpc.server(ThreadPoolExecutor(4))
        self._serve(self._grpc_server)
        self.grpc = f"127.0.0.1:{self._grpc_server.add_insecure_port('127.0.0.1:0')}"
        self._grpc_server.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._closed.set()
        self._http_server.shutdown()
        self._http_server.server_close()
        self._http_thread.join(5)
        self._grpc_server.stop(0).wait(5)

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
            for received in self.requests
            if received.signal == "metrics"
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
                labels = tuple(sorted((each.key, _plain(each.value)) for each in point.attributes))
                value = point.count if hasattr(point, "count") else getattr(point, point.WhichOneof("value") or "as_int")
                found.setdefault(name, {})[labels] = value
        return found

    def _record(self, received: Received, *, taken: bool) -> None:
        with self._changed:
            (self.requests if taken else self.refused).append(received)
            self._changed.notify_all()

    def _post(self, handler: BaseHTTPRequestHandler) -> None:
        behaviour = self.behaviour
        body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        signal = self._paths.get(handler.path)
        if signal is None:
            self._answer(handler, 404, b"404 page not found\n", ())
            return
        if handler.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        request, response = _messages(signal)
        request.ParseFromString(body)
        headers = {name.lower(): value for name, value in handler.headers.items()}
        received = Received("http", signal, handler.path, headers, request)
        self._closed.wait(behaviour.delay_s)
        self._record(received, taken=behaviour.status < 400 and not behaviour.hang_up)  # noqa: PLR2004 - HTTP's first error
        if behaviour.hang_up:
            handler.close_connection = True
            return
        ok = behaviour.status == 200  # noqa: PLR2004 - HTTP's OK
        self._answer(
            handler, behaviour.status, response.SerializeToString() if ok else behaviour.body.encode(), behaviour.headers
        )

    def _answer(self, handler: BaseHTTPRequestHandler, status: int, body: bytes, headers: tuple[tuple[str, str], ...]) -> None:
        handler.send_response(status)
        for name, value in (("Content-Type", "application/x-protobuf"), ("Content-Length", str(len(body))), *headers):
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    def _serve(self, server: "grpc.Server") -> None:
        from opentelemetry.proto.collector.logs.v1 import logs_service_pb2_grpc as logs
        from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as metrics
        from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as traces

        add = {
            "metrics": metrics.add_MetricsServiceServicer_to_server,
            "traces": traces.add_TraceServiceServicer_to_server,
            "logs": logs.add_LogsServiceServicer_to_server,
        }
        for signal in self._signals:
            add[signal](_Service(self, signal), server)  # type: ignore[no-untyped-call]  # generated code


class _Service:
    # Stands in for the generated servicers, which all have this one method.
    def __init__(self, receiver: OtlpReceiver, signal: str) -> None:
        self._receiver, self._signal = receiver, signal

    def Export(self, request: "Message", context: "grpc.ServicerContext") -> "Message":  # noqa: N802 - the service's name
        import grpc

        receiver, behaviour = self._receiver, self._receiver.behaviour
        headers = {str(name).lower(): str(value) for name, value in context.invocation_metadata()}
        received = Received("grpc", self._signal, "Export", headers, request)
        receiver._closed.wait(behaviour.delay_s)  # noqa: SLF001 - the service is the receiver's gRPC half
        code = "UNAVAILABLE" if behaviour.hang_up else behaviour.code
        receiver._record(received, taken=code == "OK")  # noqa: SLF001 - its other half
        if code != "OK":
            context.set_trailing_metadata(behaviour.headers)
            context.abort(grpc.StatusCode[code], behaviour.body)
        return _messages(self._signal)[1]


def _messages(signal: str) -> tuple["Message", "Message"]:
    from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs
    from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as traces

    if signal == "metrics":
        return metrics.ExportMetricsServiceRequest(), metrics.ExportMetricsServiceResponse()
    if signal == "traces":
        return traces.ExportTraceServiceRequest(), traces.ExportTraceServiceResponse()
    return logs.ExportLogsServiceRequest(), logs.ExportLogsServiceResponse()


def _plain(value: object) -> object:
    which = value.WhichOneof("value")  # type: ignore[attr-defined]  # a protobuf AnyValue
    return getattr(value, which) if which else None
