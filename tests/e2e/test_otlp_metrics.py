"""Metrics over OTLP, into the official services."""

import socket
import subprocess
import sys
import time

import pytest

from obi_core.bus import Bus, Limits
from obi_core.model import Buckets, Instrument, Kind, Observation, Owner
from obi_core.resolver import Subject
from obi_core.settings import CoreSettings
from obi_core.sinks.otlp import OtlpSink
from obi_core.testing.otlp import Behaviour, OtlpReceiver

CONNECTS = Instrument("obi.tcp.connects", Kind.COUNTER, "{connection}", "Connects.", ("error.type",), headline=({},))
OPEN = Instrument("obi.tcp.connections", Kind.UPDOWNCOUNTER, "{connection}", "Open.")
LEVEL = Instrument("obi.tcp.level", Kind.GAUGE, "1", "Level.")
TIME = Instrument("obi.tcp.time", Kind.HISTOGRAM, "s", "Time.", buckets=Buckets(first=-10, count=6, sum_unit=1e-9))
CURL = Owner(7, 1, 1, "curl")


class Names:
    def resolve(self, owner):
        return Subject({"process.executable.name": owner.comm})


ALONE = {"otlp_traces": {"enabled": False}, "otlp_logs": {"enabled": False}}


@pytest.fixture
def bus():
    made = Bus(Names())
    made.register("tcp", "obi-plugin-tcp 1.2", (CONNECTS, OPEN, LEVEL, TIME))
    made.start()
    yield made
    assert made.stop(10)


@pytest.fixture
def send(bus):
    started = []

    def made(endpoint, **otlp):
        settings = CoreSettings(otlp={"endpoint": endpoint, "interval_s": 3600.0, **otlp}, **ALONE)
        sink = OtlpSink.create(settings, {"service.name": "obi", "app": "obi"})
        bus.add_own(sink.own)
        sink.start(bus)
        started.append(sink)
        return sink

    yield made
    for sink in started:
        sink.stop()
        sink.stop()


def observe(bus):
    bus.publish(
        "tcp",
        1,
        [
            Observation(CONNECTS, 1, 23, CURL),
            Observation(CONNECTS, 2, 7, CURL, {"error.type": "refused"}),
            Observation(OPEN, 1, 4),
            Observation(LEVEL, 1, 0.5),
            Observation(TIME, 1, (0, 1, 2, 0, 3, 0, 2_500_000_000), CURL),
        ],
    )


def own(bus, name):
    """The sum over one metric's series of the signal metrics."""
    return sum(
        point.value
        for metric in bus.metrics()
        if metric.instrument.name == f"otlp_exporter_{name}"
        for point in metric.points
        if ("signal", "metrics") in point.attributes
    )


@pytest.mark.parametrize("protocol", ["grpc", "http"])
@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_everything_arrives_as_it_is(bus, send, protocol, compression):
    with OtlpReceiver() as receiver:
        observe(bus)
        sink = send(getattr(receiver, protocol), protocol=protocol, compression=compression, headers={"X-Scope-OrgID": "t1"})
        sink.flush(10)
        received = receiver.requests[-1]
        metrics = receiver.metrics()
        points = receiver.points()
        assert (received.protocol, received.headers["x-scope-orgid"]) == (protocol, "t1")
        if protocol == "http":
            assert received.path == "/v1/metrics"
        who = ("process.executable.name", "curl")
        assert points["obi.tcp.connects"] == {(): 0, (who,): 23, (("error.type", "refused"), who): 7}
        assert points["obi.tcp.connections"] == {(): 4}
        assert points["obi.tcp.level"] == {(): 0.5}
        resource = received.message.resource_metrics[0]
        assert {each.key: each.value.string_value for each in resource.resource.attributes} == {
            "service.name": "obi",
            "app": "obi",
        }
        scopes = {(scope.scope.name, scope.scope.version): len(scope.metrics) for scope in resource.scope_metrics}
        assert scopes["obi-plugin-tcp", "1.2"] == 4
        assert {name for name, _ in scopes} == {"obi-plugin-tcp", "obi-core"}
        connects = metrics["obi.tcp.connects"]
        assert (connects.unit, connects.description) == ("{connection}", "Connects.")
        assert (connects.sum.is_monotonic, connects.sum.aggregation_temporality) == (True, 2)
        assert not metrics["obi.tcp.connections"].sum.is_monotonic
        assert connects.sum.data_points[0].start_time_unix_nano <= connects.sum.data_points[0].time_unix_nano
        histogram = metrics["obi.tcp.time"].exponential_histogram
        assert histogram.aggregation_temporality == 2
        (point,) = histogram.data_points
        assert (point.count, point.sum, point.scale, point.zero_count) == (6, 2.5, 2, 0)
        assert (point.positive.offset, list(point.positive.bucket_counts)) == (-9, [1, 2, 0, 3])
        assert not point.HasField("min")
        assert not point.HasField("max")


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_what_was_sent_is_counted_and_the_series_exist_as_zero_before(bus, send, protocol):
    with OtlpReceiver() as receiver:
        settings = CoreSettings(otlp={"endpoint": getattr(receiver, protocol), "protocol": protocol}, **ALONE)
        unstarted = OtlpSink.create(settings, {})
        assert {point.value for metric in unstarted.own() for point in metric.points} == {0, 1}
        sink = send(getattr(receiver, protocol), protocol=protocol)
        sink.flush(10)
        sent = sum(
            len(getattr(metric, metric.WhichOneof("data")).data_points)
            for received in receiver.requests
            for scope in received.message.resource_metrics[0].scope_metrics
            for metric in scope.metrics
            if metric.WhichOneof("data")
        )
        assert own(bus, "sent_items_total") == sent > 0
        assert own(bus, "failed_items_total") == 0
        assert abs(own(bus, "last_success_timestamp_seconds") - time.time()) < 60


def test_many_series_travel_in_requests_of_bounded_size(bus, send):
    many = Instrument("obi.tcp.connections", Kind.UPDOWNCOUNTER, "{connection}", "Open.", ("n",))
    wide = Bus(Names(), Limits(series=20_000))
    wide.register("tcp", "d", (many,))
    wide.start()
    wide.publish("tcp", 1, [Observation(many, n, n, None, {"n": n}) for n in range(9_000)])
    with OtlpReceiver() as receiver:
        settings = CoreSettings(otlp={"endpoint": receiver.grpc, "protocol": "grpc", "interval_s": 3600.0}, **ALONE)
        sink = OtlpSink.create(settings, {})
        sink.start(wide)
        sink.flush(20)
        sink.stop()
        sizes = [
            sum(
                len(metric.sum.data_points) + len(metric.gauge.data_points)
                for scope in request.message.resource_metrics[0].scope_metrics
                for metric in scope.metrics
            )
            for request in receiver.requests
        ]
        assert sizes[:2] == [4_000, 4_000]
        assert 1_000 < sizes[2] < 1_100
        assert wide.stop(10)


def test_a_store_that_takes_no_metrics_over_grpc_is_diagnosed(bus, send, caplog):
    with OtlpReceiver(signals=("traces",)) as receiver:
        send(receiver.grpc, protocol="grpc").flush(10)
        assert own(bus, "failed_items_total") > 0
        assert own(bus, "sent_items_total") == 0
        send(receiver.grpc, protocol="grpc").flush(10)
    said, again = [record.getMessage() for record in caplog.records]
    assert again == said  # of two sinks; one says it once a minute
    assert said.startswith(
        f"cannot export metrics to http://{receiver.grpc}, and it will not be tried again: "
        f"{receiver.grpc} speaks gRPC but takes no metrics that way"
    )
    assert "Mimir: /otlp/v1/metrics" in said


def test_a_wrong_path_is_diagnosed(bus, send, caplog):
    with OtlpReceiver(paths={"metrics": "/otlp/v1/metrics"}) as receiver:
        send(receiver.http).flush(10)
        assert "takes no OTLP metrics; set otlp_metrics.endpoint to the full URL (Mimir: /otlp/v1/metrics" in caplog.text
        sink = send(f"http://{receiver.http}/otlp/v1/metrics")
        sink.flush(10)
        assert receiver.requests[0].path == "/otlp/v1/metrics"


def test_a_tenant_that_is_missing_is_diagnosed(bus, send, caplog):
    with OtlpReceiver() as receiver:
        receiver.behaviour = Behaviour(code="UNAVAILABLE", body="no org id")
        send(receiver.grpc, protocol="grpc", timeout_s=0.2).flush(10)
        assert "wants a tenant; set X-Scope-OrgID in otlp_metrics.headers" in caplog.text


def test_a_store_that_recovers_gets_the_cumulative_state(bus, send, caplog):
    caplog.set_level("INFO")
    with OtlpReceiver() as receiver:
        receiver.behaviour = Behaviour(status=500, body="boom")
        observe(bus)
        sink = send(receiver.http)
        sink.flush(10)
        assert receiver.requests == []
        receiver.behaviour = Behaviour()
        sink.flush(10)
        assert receiver.points()["obi.tcp.connections"] == {(): 4}
        assert own(bus, "failed_items_total") > 0
    messages = [record.getMessage() for record in caplog.records if record.name.startswith("obi_core")]
    url = f"http://{receiver.http}/v1/metrics"
    assert messages[0] == f"cannot export metrics to {url}, and it will not be tried again: boom (500)"
    assert messages[-1].startswith(f"metrics are exported to {url} again, after ")


def test_the_interval_exports_without_being_asked(bus, send):
    with OtlpReceiver() as receiver:
        send(receiver.http, interval_s=0.05)
        receiver.wait(lambda: len(receiver.requests) >= 3)


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_stop_and_flush_keep_their_deadline_with_a_store_that_never_answers(bus, send, protocol, caplog):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        sink = send(f"127.0.0.1:{silent.getsockname()[1]}", protocol=protocol, timeout_s=60.0)
        sink.flush(0.05)
        sink.stop()
    assert "the last export over OTLP did not end within 0.05 s" in caplog.text


def test_nothing_of_opentelemetry_is_imported_without_an_endpoint():
    code = """
import sys
from obi_core.bus import Bus
from obi_core.settings import CoreSettings
from obi_core.sinks.builtin import obi_register_sinks
made = [sink.create(CoreSettings(), {}) for sink in obi_register_sinks()]
print([None if sink is None else sink.name for sink in made])
heavy = {"opentelemetry", "grpc", "google", "requests", "rich", "prometheus_client"}
print(sorted({name.split(".")[0] for name in sys.modules} & heavy))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=20)
    assert done.stdout.splitlines()[0].startswith("['prometheus', None, ")
    assert done.stdout.splitlines()[1] == "[]"


def test_a_refusal_for_good_is_said_once_with_its_remedy(bus, send, caplog):
    with OtlpReceiver() as receiver:
        receiver.behaviour = Behaviour(code="PERMISSION_DENIED", body="no")
        sink = send(receiver.grpc, protocol="grpc")
        for _ in range(3):
            sink.flush(10)
    warnings = [(record.name, record.getMessage()) for record in caplog.records if record.levelname != "DEBUG"]
    assert [name for name, _ in warnings] == ["obi_core.sinks.otlp.diagnosis"]
    assert "does not let us in; set a token or X-Scope-OrgID in otlp_metrics.headers (PERMISSION_DENIED)" in warnings[0][1]


def test_a_probe_that_is_restarted_goes_on_with_the_same_start_and_never_falls(bus, send):
    with OtlpReceiver() as receiver:
        sink = send(receiver.http)
        observe(bus)
        sink.flush(10)
        before = receiver.metrics()["obi.tcp.connects"].sum.data_points
        bus.end("tcp", 1)
        bus.publish("tcp", 2, [Observation(CONNECTS, 1, 5, CURL), Observation(TIME, 1, (0, 0, 1, 0, 0, 0, 1), CURL)])
        sink.flush(10)
        after = receiver.metrics()["obi.tcp.connects"].sum.data_points
        assert [point.start_time_unix_nano for point in after] == [point.start_time_unix_nano for point in before]
        assert sorted(point.as_int for point in after) == [0, 7, 23 + 5]
        (histogram,) = receiver.metrics()["obi.tcp.time"].exponential_histogram.data_points
        assert histogram.count == 6 + 1
