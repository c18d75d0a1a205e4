"""Prometheus text, scraped over a socket and read with the official parser."""

import gc
import gzip
import socket
import urllib.error
import urllib.request

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from obi_core.bus import own_metric
from obi_core.errors import HostError
from obi_core.model import Buckets, Instrument, Kind, Metric, Point
from obi_core.settings import CoreSettings, Listen
from obi_core.sinks.octaves import cumulative, octaves
from obi_core.sinks.prometheus import PrometheusSink

IO = Instrument("obi.network.io", Kind.COUNTER, "By", "Bytes.", ("network.io.direction",))
PACKETS = Instrument("obi.network.packets", Kind.COUNTER, "{packet}", "Packets.")
OPEN = Instrument("obi.tcp.connections", Kind.UPDOWNCOUNTER, "{connection}", 'Open "now" \\ \n here.')
# Bounds 2**-1, 2**-0.75 … 2**0.75, and the last bucket, up to 2**1, takes everything above.
HANDSHAKE = Instrument(
    "obi.tcp.handshake.duration",
    Kind.HISTOGRAM,
    "s",
    "Time.",
    ("error.type",),
    buckets=Buckets(first=-6, count=10, sum_unit=1e-9),
)


class Numbers:
    def __init__(self, *metrics):
        self.given = metrics

    def metrics(self):
        return self.given


def metric(instrument, *points, scope="dist 1.0"):
    return Metric(instrument, scope, tuple(Point(tuple(sorted(labels.items())), value, 1, 2) for labels, value in points))


EVERYTHING = Numbers(
    metric(IO, ({"network.io.direction": "receive", "k8s.pod.name": 'a"b\\c\n'}, 17), ({"otel.metric.overflow": True}, 4)),
    metric(PACKETS, ({}, 3)),
    metric(OPEN, ({"process.pid": 7}, -2)),
    metric(HANDSHAKE, ({"error.type": "reset"}, (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 2_500_000_000))),
    own_metric("obi_build_info", Kind.GAUGE, "Build.", [({"version": "1.2"}, 1)]),
    own_metric("obi_probe_restarts_total", Kind.COUNTER, "Restarts.", [({"probe": "tcp"}, 0)]),
)


@pytest.fixture
def serve():
    started = []

    def made(source):
        sink = PrometheusSink(Listen("127.0.0.1", 0), lambda _: None)
        sink.start(source)
        started.append(sink)
        return sink

    yield made
    for sink in started:
        sink.stop()


def get(sink, path="/metrics", **headers):
    request = urllib.request.Request(f"http://{sink.address}{path}", headers=headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read().decode()


def samples(families):
    return {(sample.name, *sorted(sample.labels.items())): sample.value for family in families for sample in family.samples}


EXPECTED = {
    ("obi_network_io_bytes_total", ("k8s_pod_name", 'a"b\\c\n'), ("network_io_direction", "receive")): 17,
    ("obi_network_io_bytes_total", ("otel_metric_overflow", "true")): 4,
    ("obi_network_packets_total",): 3,
    ("obi_tcp_connections", ("process_pid", "7")): -2,
    ("obi_tcp_handshake_duration_seconds_bucket", ("error_type", "reset"), ("le", "0.5")): 3,
    ("obi_tcp_handshake_duration_seconds_bucket", ("error_type", "reset"), ("le", "1.0")): 21,
    ("obi_tcp_handshake_duration_seconds_bucket", ("error_type", "reset"), ("le", "+Inf")): 55,
    ("obi_tcp_handshake_duration_seconds_count", ("error_type", "reset")): 55,
    ("obi_tcp_handshake_duration_seconds_sum", ("error_type", "reset")): 2.5,
    ("obi_build_info", ("version", "1.2")): 1,
    ("obi_probe_restarts_total", ("probe", "tcp")): 0,
}


def test_a_scrape_says_everything_under_its_prometheus_name(serve):
    families = list(parse(get(serve(EVERYTHING))))
    assert samples(families) == EXPECTED
    assert {family.name: (family.type, family.documentation) for family in families} == {
        "obi_network_io_bytes": ("counter", "Bytes."),
        "obi_network_packets": ("counter", "Packets."),
        "obi_tcp_connections": ("gauge", 'Open "now" \\ \n here.'),
        "obi_tcp_handshake_duration_seconds": ("histogram", "Time."),
        "obi_build_info": ("gauge", "Build."),
        "obi_probe_restarts": ("counter", "Restarts."),
    }


def test_a_scraper_may_ask_for_openmetrics(serve):
    text = get(serve(EVERYTHING), Accept="application/openmetrics-text;version=1.0.0")
    assert samples(parse_openmetrics(text)) == EXPECTED


def test_a_second_scrape_reads_new_numbers_of_old_and_new_series(serve):
    source = Numbers(metric(PACKETS, ({}, 3)))
    sink = serve(source)
    get(sink)
    same = source.given[0].points[0].attributes
    source.given = (Metric(PACKETS, "d", (Point(same, 4, 1, 3), Point((("a", "b"),), 1, 3, 3))),)
    assert samples(parse(get(sink))) == {("obi_network_packets_total",): 4, ("obi_network_packets_total", ("a", "b")): 1}


def test_labels_of_a_series_that_is_gone_are_never_given_to_another(serve):
    source = Numbers()
    sink = serve(source)
    for n in range(50):
        source.given = (metric(PACKETS, ({"n": n}, n)),)
        gc.collect()
        assert samples(parse(get(sink))) == {("obi_network_packets_total", ("n", str(n))): n}


def test_two_metrics_of_one_name_are_one_family_and_a_contradiction_is_left_out(serve):
    level = Instrument("obi.network.io.bytes", Kind.GAUGE, "By", "Level.")
    text = get(serve(Numbers(metric(IO, ({"a": "1"}, 1)), metric(IO, ({"a": "2"}, 2)), metric(level, ({}, 9)))))
    assert samples(parse(text)) == {
        ("obi_network_io_bytes_total", ("a", "1")): 1,
        ("obi_network_io_bytes_total", ("a", "2")): 2,
    }


@pytest.mark.parametrize("path", ["/", "/metricsx", "/health"])
def test_anything_else_is_404_with_a_sentence(serve, path):
    with pytest.raises(urllib.error.HTTPError) as raised:
        get(serve(EVERYTHING), path)
    with raised.value as answer:
        assert (answer.code, answer.read()) == (404, b"There is nothing here; metrics are at /metrics.\n")


def test_a_taken_port_says_who_holds_it_and_what_moves_the_sink():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        sink = PrometheusSink(Listen("127.0.0.1", port), lambda asked: f"nginx (pid {asked})")
        with pytest.raises(HostError) as raised:
            sink.start(EVERYTHING)
    assert str(raised.value) == (
        f"metrics: 127.0.0.1:{port} is taken by nginx (pid {port}); "
        "give another address with --metrics-listen HOST:PORT or OBI_METRICS__LISTEN"
    )
    sink.stop()


def test_an_address_of_another_host_says_so():
    with pytest.raises(
        HostError, match=r"metrics: cannot listen on 192\.0\.2\.1:0: Cannot assign requested address; give another"
    ):
        PrometheusSink(Listen("192.0.2.1", 0), lambda _: None).start(EVERYTHING)


def test_it_serves_ipv6():
    sink = PrometheusSink(Listen("::1", 0), lambda _: None)
    sink.start(EVERYTHING)
    try:
        assert samples(parse(get(sink))) == EXPECTED
    finally:
        sink.stop()


def test_stop_gives_the_port_back_and_may_be_called_twice(serve):
    sink = serve(EVERYTHING)
    address = sink.address
    sink.stop()
    sink.stop()
    again = PrometheusSink(address, lambda _: None)
    again.start(EVERYTHING)
    again.stop()


def test_text_is_compressed_for_those_who_take_gzip_and_says_the_same(serve):
    sink = serve(EVERYTHING)
    request = urllib.request.Request(f"http://{sink.address}/metrics", headers={"Accept-Encoding": "deflate, gzip;q=0.5"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        body = answer.read()
        assert (answer.headers["Content-Encoding"], answer.headers["Vary"]) == ("gzip", "Accept-Encoding")
        assert int(answer.headers["Content-Length"]) == len(body)
    assert samples(parse(gzip.decompress(body).decode())) == EXPECTED


@pytest.mark.parametrize("accepted", ["", "identity", "gzip;q=0", "br, gzip; q=0.0"])
def test_text_is_plain_for_those_who_do_not(serve, accepted):
    assert samples(parse(get(serve(EVERYTHING), **{"Accept-Encoding": accepted}))) == EXPECTED


def test_openmetrics_is_compressed_too(serve):
    accept = "application/openmetrics-text; version=1.0.0"
    request = urllib.request.Request(
        f"http://{serve(EVERYTHING).address}/metrics", headers={"Accept-Encoding": "gzip", "Accept": accept}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
        text = gzip.decompress(answer.read()).decode()
    assert samples(parse_openmetrics(text))


def test_it_is_made_unless_switched_off():
    assert PrometheusSink.create(CoreSettings(), {}) is not None
    assert PrometheusSink.create(CoreSettings(metrics={"enabled": False}), {}) is None


def test_octaves_of_the_layout_that_handshakes_use():
    bounds = octaves(Buckets(first=-68, count=96, sum_unit=1e-9))
    assert bounds[0] == (4, 2.0**-16)
    assert bounds[-1] == (92, 64.0)
    assert len(bounds) == 23
    assert cumulative([1] * 96, bounds)[-2:] == [92, 96]


def test_octaves_of_other_scales():
    assert octaves(Buckets(first=-1, count=4, scale=0)) == ((1, 1.0), (2, 2.0), (3, 4.0))
    assert octaves(Buckets(first=0, count=3, scale=-1)) == ((1, 4.0), (2, 16.0))
