"""The receiver's gRPC half."""

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from obi_core.testing.otlp.behaviour import Received
from obi_core.testing.otlp.certificates import Certificates
from obi_core.testing.otlp.messages import partial

if TYPE_CHECKING:
    import grpc
    from google.protobuf.message import Message

    from obi_core.testing.otlp.receiver import OtlpReceiver


class GrpcSide:
    """Listens on one port, which stays the same over `down` and `up`."""

    def __init__(self, receiver: "OtlpReceiver", tls: Certificates | None, *, ask_client: bool) -> None:
        self._receiver, self._tls, self._ask_client = receiver, tls, ask_client
        self._server: grpc.Server | None = None
        self.port = 0

    def up(self) -> None:
        """Listen."""
        import grpc

        self._server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
        self._serve(self._server)
        address = f"127.0.0.1:{self.port}"
        if self._tls is None:
            self.port = self._server.add_insecure_port(address)
        else:
            pair = (self._tls.server_key.read_bytes(), self._tls.server.read_bytes())
            ca = self._tls.ca.read_bytes() if self._ask_client else None
            credentials = grpc.ssl_server_credentials([pair], ca, self._ask_client)
            self.port = self._server.add_secure_port(address, credentials)
        self._server.start()

    def down(self) -> None:
        """Refuse connections, and close those that are open."""
        server, self._server = self._server, None
        if server is not None:
            server.stop(0).wait(5)

    def _serve(self, server: "grpc.Server") -> None:
        from opentelemetry.proto.collector.logs.v1 import logs_service_pb2_grpc as logs
        from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as metrics
        from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as traces

        add = {
            "metrics": metrics.add_MetricsServiceServicer_to_server,
            "traces": traces.add_TraceServiceServicer_to_server,
            "logs": logs.add_LogsServiceServicer_to_server,
        }
        for signal in self._receiver.signals:
            add[signal](_Service(self._receiver, signal), server)  # type: ignore[no-untyped-call]  # generated code


class _Service:
    # Stands in for the generated servicers, which all have this one method.
    def __init__(self, receiver: "OtlpReceiver", signal: str) -> None:
        self._receiver, self._signal = receiver, signal

    def Export(self, request: "Message", context: "grpc.ServicerContext") -> "Message":  # noqa: N802 - the service's name
        import grpc

        headers = {str(name).lower(): str(value) for name, value in context.invocation_metadata()}
        behaviour = self._receiver.judge(Received("grpc", self._signal, "Export", headers, request))
        code = "UNAVAILABLE" if behaviour.hang_up else behaviour.code
        if code != "OK":
            metadata: list[tuple[str, str | bytes]] = list(behaviour.headers)
            if behaviour.retry_info_s is not None:
                metadata.append(("grpc-status-details-bin", _details(code, behaviour.body, behaviour.retry_info_s)))
            context.set_trailing_metadata(tuple(metadata))
            context.abort(grpc.StatusCode[code], behaviour.body)
        return partial(self._signal, behaviour)


def _details(code: str, message: str, wait_s: float) -> bytes:
    """A google.rpc.Status with a RetryInfo, by the official messages."""
    import grpc
    from google.protobuf.any_pb2 import Any
    from google.protobuf.duration_pb2 import Duration
    from google.rpc.error_details_pb2 import RetryInfo  # type: ignore[import-untyped]  # it ships none
    from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # likewise

    seconds = int(wait_s)
    detail = Any()
    detail.Pack(RetryInfo(retry_delay=Duration(seconds=seconds, nanos=round((wait_s - seconds) * 1e9))))
    number = grpc.StatusCode[code].value[0]
    return bytes(Status(code=number, message=message, details=[detail]).SerializeToString())
