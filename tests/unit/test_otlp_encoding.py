"""What we write is what the official encoders write, and the official messages read it."""

from contextlib import suppress
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.metrics import export as sdk
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from obi_core.model import Buckets, Instrument, Kind, LogEvent, Metric, Owner, Point, Severity, Span
from obi_core.settings import OtlpMetricsSettings
from obi_core.sink import Happening
from obi_core.sinks.otlp import wire
from obi_core.sinks.otlp.events import EventsEncoder
from obi_core.sinks.otlp.exemplars import Exemplars
from obi_core.sinks.otlp.ids import IdMaker
from obi_core.sinks.otlp.metrics import MetricsEncoder
from obi_core.sinks.otlp.scopes import SCHEMA_URL
from obi_core.testing.otlp import attributes_of

NOW = 1_800_000_000_000_000_000
RESOURCE = {"app": "obi", "service.name": "obi"}
LAYOUT = Buckets(first=-10, count=8, sum_unit=1e-9)
TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
VALUES = st.one_of(TEXT, st.booleans(), st.integers(-(2**63), 2**63 - 1))
ATTRIBUTES = st.dictionaries(TEXT.filter(bool), VALUES, max_size=4).map(lambda pairs: tuple(sorted(pairs.items())))
NUMBERS = st.one_of(st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False))
COUNTS = st.lists(st.integers(0, 2**40), min_size=9, max_size=9).map(tuple)


def encoder(batch=100, exemplars=None, **settings):
    return MetricsEncoder(RESOURCE, {"obi-core": "9"}, OtlpMetricsSettings(**settings), batch, exemplars)


def by_the_sdk(metric):
    instrument = metric.instrument
    cumulative = sdk.AggregationTemporality.CUMULATIVE
    if instrument.kind is Kind.HISTOGRAM:
        points = []
        for point in metric.points:
            *counts, total = point.value
            filled = [index for index, count in enumerate(counts) if count]
            low, high = (filled[0], filled[-1] + 1) if filled else (0, 0)
            buckets = sdk.Buckets(LAYOUT.first + low, counts[low:high])
            said = (dict(point.attributes), point.start_ns, NOW, sum(counts), total * 1e-9, 2, 0, buckets)
            points.append(sdk.ExponentialHistogramDataPoint(*said, sdk.Buckets(0, []), 0, None, None))
        data = sdk.ExponentialHistogram(points, cumulative)
    else:
        points = [sdk.NumberDataPoint(dict(p.attributes), p.start_ns, NOW, p.value) for p in metric.points]
        data = (
            sdk.Gauge(points)
            if instrument.kind is Kind.GAUGE
            else sdk.Sum(points, cumulative, instrument.kind is Kind.COUNTER)
        )
    converted = sdk.Metric(instrument.name, instrument.description, instrument.unit, data)
    scope = sdk.ScopeMetrics(InstrumentationScope("d", "1.2", SCHEMA_URL), [converted], SCHEMA_URL)
    return encode_metrics(sdk.MetricsData([sdk.ResourceMetrics(Resource(RESOURCE, SCHEMA_URL), [scope], SCHEMA_URL)]))


def plain(message):
    """The message, with what is empty in one and absent in the other left out."""
    text = type(message).FromString(message.SerializeToString())
    for resource in text.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                for point in metric.exponential_histogram.data_points:
                    point.ClearField("zero_count")
                    point.ClearField("negative")
                    if not point.positive.bucket_counts:
                        point.ClearField("positive")
    return text


def read(request):
    return ExportMetricsServiceRequest.FromString(request.payload)


@pytest.mark.parametrize("kind", [Kind.COUNTER, Kind.UPDOWNCOUNTER, Kind.GAUGE])
@given(points=st.lists(st.tuples(ATTRIBUTES, NUMBERS), min_size=1, max_size=5))
def test_numbers_read_as_the_sdk_writes_them(kind, points):
    instrument = Instrument("obi.x.y", kind, "By", "Ä.")
    metric = Metric(instrument, "d 1.2", tuple(Point(attributes, value, 5, 6) for attributes, value in points))
    (made,) = encoder().requests([metric], NOW)
    assert read(made) == by_the_sdk(metric)
    assert made.items == len(points)


@given(points=st.lists(st.tuples(ATTRIBUTES, COUNTS), min_size=1, max_size=3))
def test_histograms_read_as_the_sdk_writes_them(points):
    instrument = Instrument("obi.x.y", Kind.HISTOGRAM, "s", "", buckets=LAYOUT)
    metric = Metric(instrument, "d 1.2", tuple(Point(attributes, value, 5, 6) for attributes, value in points))
    (made,) = encoder().requests([metric], NOW)
    assert plain(read(made)) == plain(by_the_sdk(metric))


def test_a_series_that_moves_and_one_that_takes_its_place_are_written_anew():
    instrument = Instrument("obi.x.y", Kind.COUNTER, "1", "")
    first, second = (("a", 1),), (("a", 2),)
    made = encoder()
    for attributes, value in ((first, 1), (first, 2), (second, 3)):
        metric = Metric(instrument, "d 1.2", (Point(attributes, value, 5, 6),))
        assert [read(request) for request in made.requests([metric], NOW)] == [by_the_sdk(metric)]


def test_a_counter_beyond_64_bits_is_sent_as_a_double():
    metric = Metric(Instrument("obi.x.y", Kind.COUNTER, "1", ""), "d", (Point((), 2**70, 5, 6),))
    (made,) = encoder().requests([metric], NOW)
    (point,) = read(made).resource_metrics[0].scope_metrics[0].metrics[0].sum.data_points
    assert point.as_double == 2.0**70


def test_naming_prometheus_sends_names_with_unit_and_total_and_leaves_the_agents_own_alone():
    metrics = [
        Metric(Instrument("obi.network.packets", Kind.COUNTER, "{packet}", ""), "d", (Point((), 1, 1, 1),)),
        Metric(Instrument("obi.network.io", Kind.COUNTER, "By", ""), "d", (Point((), 1, 1, 1),)),
        Metric(Instrument("obi.tcp.rtt", Kind.GAUGE, "s", ""), "d", (Point((), 1, 1, 1),)),
        Metric(Instrument("obi_probe_restarts_total", Kind.COUNTER, "", ""), "", (Point((), 1, 1, 1),)),
    ]
    (made,) = encoder(naming="prometheus").requests(metrics, NOW)
    scopes = read(made).resource_metrics[0].scope_metrics
    assert [metric.name for scope in scopes for metric in scope.metrics] == [
        "obi_network_packets_total",
        "obi_network_io_bytes_total",
        "obi_tcp_rtt_seconds",
        "obi_probe_restarts_total",
    ]
    assert [(scope.scope.name, scope.scope.version) for scope in scopes] == [("d", ""), ("obi-core", "9")]


def test_explicit_histograms_have_the_powers_of_two_as_bounds():
    instrument = Instrument("obi.x.y", Kind.HISTOGRAM, "s", "", buckets=LAYOUT)
    metric = Metric(instrument, "d", (Point((("a", 1),), (1, 2, 3, 4, 5, 6, 7, 8, 2_500_000_000), 5, 6),))
    (made,) = encoder(histograms="explicit").requests([metric], NOW)
    (point,) = read(made).resource_metrics[0].scope_metrics[0].metrics[0].histogram.data_points
    # bucket i ends at 2**((first+1+i)/4): two powers of two lie within
    assert list(point.explicit_bounds) == [0.25, 0.5]
    assert list(point.bucket_counts) == [1 + 2, 3 + 4 + 5 + 6, 7 + 8]
    assert (point.count, point.sum, point.start_time_unix_nano) == (36, 2.5, 5)
    assert attributes_of(point) == {"a": 1}


def happening(what, **subject):
    return Happening("tcp", "obi-plugin-tcp 1.2", what, subject)


def events():
    return EventsEncoder(RESOURCE, {"obi-core": "9"}, IdMaker(), Exemplars())


def test_a_log_leads_to_its_span_whichever_comes_first():
    made, owner = events(), Owner(7, 1, 1, "curl")
    log = LogEvent("obi.tcp.reset", NOW, "reset", owner, {"port": 80}, ("c", 5), Severity.WARN)
    span = Span("tcp connection", NOW - 10, NOW, owner, {"bytes": 5, "rtt": 0.5}, "reset", ("c", 5))
    (logs,) = made.logs([happening(log, **{"process.executable.name": "curl"})], 10)
    (traces,) = made.spans([happening(span, **{"process.executable.name": "curl"}), happening(Span("other", 1, 2))], 10)
    (record,) = ExportLogsServiceRequest.FromString(logs.payload).resource_logs[0].scope_logs[0].log_records
    resource = ExportTraceServiceRequest.FromString(traces.payload).resource_spans[0]
    first, other = resource.scope_spans[0].spans
    assert (record.trace_id, record.span_id) == (first.trace_id, first.span_id)
    assert first.trace_id != other.trace_id
    assert (len(first.trace_id), len(first.span_id), first.trace_id[0] >= 0x10) == (16, 8, True)
    assert (record.event_name, record.severity_number, record.body.string_value) == ("obi.tcp.reset", 13, "reset")
    assert attributes_of(record) == {"process.executable.name": "curl", "process.pid": 7, "port": 80}
    assert attributes_of(first)["error.type"] == "reset"
    assert (first.status.code, other.status.code) == (2, 0)
    assert (first.start_time_unix_nano, first.end_time_unix_nano) == (NOW - 10, NOW)
    assert (resource.scope_spans[0].scope.name, resource.scope_spans[0].scope.version) == ("obi-plugin-tcp", "1.2")
    assert (resource.schema_url, traces.probes, logs.probes) == (SCHEMA_URL, {"tcp": 2}, {"tcp": 1})


def test_the_same_link_of_another_probe_or_another_run_is_another_span():
    one, other = IdMaker(), IdMaker()
    assert one.of("tcp", 5) == one.of("tcp", 5)
    assert len({one.of("tcp", 5), one.of("udp", 5), other.of("tcp", 5), one.of("tcp", (5,))}) == 4
    assert one.of("tcp", None) is None
    assert one.new() != one.new()


def test_batches_are_as_large_as_they_may_be():
    made = list(events().spans([happening(Span(str(n), 1, 2)) for n in range(7)], 3))
    assert [request.items for request in made] == [3, 3, 1]


def test_a_slow_span_is_the_exemplar_of_its_series_once():
    instrument = Instrument("obi.x.y", Kind.HISTOGRAM, "s", "", ("name",), buckets=LAYOUT)
    exemplars = Exemplars()
    made = EventsEncoder(RESOURCE, {}, IdMaker(), exemplars)
    span = Span("slow", NOW - 500_000_000, NOW, None, {"name": "read", "pid": 5}, "", ("call", 1), instrument)
    (traces,) = made.spans([happening(span, **{"container.id": "c"})], 10)
    (sent,) = ExportTraceServiceRequest.FromString(traces.payload).resource_spans[0].scope_spans[0].spans
    metric = Metric(
        instrument,
        "d",
        tuple(
            Point(pairs, (1,) + (0,) * 8, 5, 6) for pairs in ((("container.id", "c"), ("name", "read")), (("name", "read"),))
        ),
    )
    for explicit, field in (("exponential", "exponential_histogram"), ("explicit", "histogram")):
        exemplars.note(span, {"container.id": "c"}, sent.trace_id, sent.span_id)
        (request,) = encoder(exemplars=exemplars, histograms=explicit).requests([metric], NOW)
        with_it, without = getattr(read(request).resource_metrics[0].scope_metrics[0].metrics[0], field).data_points
        (exemplar,) = with_it.exemplars
        assert (exemplar.trace_id, exemplar.span_id, exemplar.as_double) == (sent.trace_id, sent.span_id, 0.5)
        assert len(without.exemplars) == 0
        (again,) = encoder(exemplars=exemplars, histograms=explicit).requests([metric], NOW)
        assert len(getattr(read(again).resource_metrics[0].scope_metrics[0].metrics[0], field).data_points[0].exemplars) == 0


@given(st.binary(max_size=64))
def test_whatever_an_endpoint_answers_can_be_read_or_is_refused(answer):
    with suppress(ValueError):
        list(wire.fields(answer))


def test_an_attribute_of_a_span_may_be_any_mapping():
    (made,) = events().spans([happening(Span("x", 1, 2, None, MappingProxyType({"a": 1})))], 1)
    assert made.items == 1
