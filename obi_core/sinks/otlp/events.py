"""Spans and log events in the SDK's data model, written by the official encoders.

They are few (the bus keeps 2,000 at most), so their speed does not matter, and their shape still grows upstream.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from obi_core.bus.request import Request
from obi_core.model import LogEvent, Span
from obi_core.settings import Signal
from obi_core.sink import Happening
from obi_core.sinks.otlp.exemplars import Exemplars
from obi_core.sinks.otlp.ids import IdMaker
from obi_core.sinks.otlp.scopes import SCHEMA_URL, scope_parts

if TYPE_CHECKING:
    from opentelemetry.sdk._logs import ReadableLogRecord
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope

Value = str | int | float


class EventsEncoder:
    """Writes spans and log records of what the bus has, in requests of bounded size.

    Args:
        resource: Attributes of this agent.
        versions: Versions of distributions, by name.
        ids: Makes trace and span ids.
        exemplars: Is told of spans that were counted in a histogram.
    """

    def __init__(self, resource: Mapping[str, str], versions: Mapping[str, str], ids: IdMaker, exemplars: Exemplars) -> None:
        from opentelemetry.sdk.resources import Resource  # only where spans or logs are sent

        # Not Resource.create, which would add the SDK's own attributes and those of the environment.
        self._resource = Resource(dict(resource), SCHEMA_URL)
        self._versions, self._ids, self._exemplars = versions, ids, exemplars
        self._scopes: dict[str, InstrumentationScope] = {}

    def spans(self, happenings: Sequence[Happening], batch: int) -> Iterator[Request]:
        """Write the spans among `happenings`."""
        from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

        for part in _parts([each for each in happenings if isinstance(each.what, Span)], batch):
            message = encode_spans([self._span(each, each.what) for each in part if isinstance(each.what, Span)])
            yield _request("traces", message.SerializeToString(), part)

    def logs(self, happenings: Sequence[Happening], batch: int) -> Iterator[Request]:
        """Write the log events among `happenings`."""
        from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs

        for part in _parts([each for each in happenings if isinstance(each.what, LogEvent)], batch):
            message = encode_logs([self._log(each, each.what) for each in part if isinstance(each.what, LogEvent)])
            yield _request("logs", message.SerializeToString(), part)

    def _span(self, of: Happening, span: Span) -> "ReadableSpan":
        from opentelemetry.sdk.trace import ReadableSpan
        from opentelemetry.trace import SpanContext, Status, StatusCode, TraceFlags

        ids = self._ids.of(of.probe, span.link) or self._ids.new()
        self._exemplars.note(span, of.subject, ids.trace_id, ids.span_id)
        failed = {"error.type": span.error_type} if span.error_type else {}
        context = SpanContext(
            int.from_bytes(ids.trace_id, "big"), int.from_bytes(ids.span_id, "big"), False, TraceFlags(TraceFlags.SAMPLED)
        )
        return ReadableSpan(
            span.name,
            context,
            resource=self._resource,
            attributes={**_subject(of), **span.attributes, **failed},
            instrumentation_scope=self._scope(of.scope),
            status=Status(StatusCode.ERROR if failed else StatusCode.UNSET),
            start_time=span.start_ns,
            end_time=span.end_ns,
        )

    def _log(self, of: Happening, event: LogEvent) -> "ReadableLogRecord":
        from opentelemetry._logs import LogRecord, SeverityNumber
        from opentelemetry.sdk._logs import ReadableLogRecord
        from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

        ids = self._ids.of(of.probe, event.link)
        context = None
        if ids is not None:
            span = SpanContext(
                int.from_bytes(ids.trace_id, "big"), int.from_bytes(ids.span_id, "big"), False, TraceFlags(TraceFlags.SAMPLED)
            )
            context = set_span_in_context(NonRecordingSpan(span))
        record = LogRecord(
            timestamp=event.time_ns,
            observed_timestamp=event.time_ns,
            context=context,
            severity_text=event.severity.name,
            severity_number=SeverityNumber(event.severity.value),
            body=event.body,
            attributes={**_subject(of), **event.attributes},
            event_name=event.name,
        )
        return ReadableLogRecord(record, self._resource, self._scope(of.scope))

    def _scope(self, scope: str) -> "InstrumentationScope":
        known = self._scopes.get(scope)
        if known is None:
            from opentelemetry.sdk.util.instrumentation import InstrumentationScope

            name, version = scope_parts(scope, self._versions)
            known = InstrumentationScope(name, version, SCHEMA_URL)
            self._scopes[scope] = known
        return known


def _subject(of: Happening) -> dict[str, Value]:
    """Whose it is; the process id, opt-in on metrics, is always there."""
    owner = of.what.owner
    return {**of.subject, **({"process.pid": owner.tgid} if owner is not None and owner.tgid else {})}


def _parts(happenings: Sequence[Happening], batch: int) -> Iterator[Sequence[Happening]]:
    for at in range(0, len(happenings), batch):
        yield happenings[at : at + batch]


def _request(signal: Signal, payload: bytes, part: Sequence[Happening]) -> Request:
    probes: dict[str, int] = {}
    for each in part:
        probes[each.probe] = probes.get(each.probe, 0) + 1
    return Request(signal, payload, len(part), probes)
