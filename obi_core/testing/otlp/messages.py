"""The official messages of each signal."""

from typing import TYPE_CHECKING

from obi_core.testing.otlp.behaviour import Behaviour

if TYPE_CHECKING:
    from google.protobuf.message import Message


def request_of(signal: str, body: bytes) -> "Message":
    """Read a request."""
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    messages: dict[str, type[Message]] = {
        "metrics": ExportMetricsServiceRequest,
        "traces": ExportTraceServiceRequest,
        "logs": ExportLogsServiceRequest,
    }
    return messages[signal].FromString(body)


def partial(signal: str, behaviour: Behaviour) -> "Message":
    """Make the response; without rejected items and a message it is empty."""
    from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs
    from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as traces

    rejected, message = behaviour.rejected, behaviour.message
    if not rejected and not message:
        empty: dict[str, Message] = {
            "metrics": metrics.ExportMetricsServiceResponse(),
            "traces": traces.ExportTraceServiceResponse(),
            "logs": logs.ExportLogsServiceResponse(),
        }
        return empty[signal]
    if signal == "metrics":
        points = metrics.ExportMetricsPartialSuccess(rejected_data_points=rejected, error_message=message)
        return metrics.ExportMetricsServiceResponse(partial_success=points)
    if signal == "traces":
        spans = traces.ExportTracePartialSuccess(rejected_spans=rejected, error_message=message)
        return traces.ExportTraceServiceResponse(partial_success=spans)
    records = logs.ExportLogsPartialSuccess(rejected_log_records=rejected, error_message=message)
    return logs.ExportLogsServiceResponse(partial_success=records)


def plain(value: object) -> object:
    """Give what is in an AnyValue."""
    which = value.WhichOneof("value")  # type: ignore[attr-defined]  # a protobuf AnyValue
    return getattr(value, which) if which else None
