"""A real store: VictoriaMetrics takes our metrics, and PromQL reads back what was counted."""

import json
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

import pytest

from obi_core.bus import Bus
from obi_core.model import Buckets, Instrument, Kind, Observation, Owner
from obi_core.resolver import Subject
from obi_core.settings import CoreSettings
from obi_core.sinks.otlp import OtlpSink

pytestmark = pytest.mark.timeout(120)  # the first time it is fetched

PACKETS = Instrument("obi.network.packets", Kind.COUNTER, "{packet}", "P.", ("network.transport",), headline=({},))
IO = Instrument("obi.network.io", Kind.COUNTER, "By", "B.")
OPEN = Instrument("obi.network.connections", Kind.UPDOWNCOUNTER, "{connection}", "O.")
TIME = Instrument("obi.network.time", Kind.HISTOGRAM, "s", "T.", buckets=Buckets(first=-10, count=16, sum_unit=1e-9))
COUNTS = (0, 1, 2, 0, 3, 0, 0, 0, 5, 0, 0, 0, 0, 7, 0, 0)
CURL = Owner(7, 1, 1, "curl")


class Names:
    def resolve(self, owner):
        return Subject({"process.executable.name": owner.comm, "k8s.pod.name": "web-1"})


def ask(address, query):
    """The value of each series, by its labels without the resource's."""
    url = f"http://{address}/api/v1/query?{urllib.parse.urlencode({'query': query, 'time': time.time() + 5})}"
    with urllib.request.urlopen(url, timeout=10) as answer:
        found = json.load(answer)["data"]["result"]
    return {frozenset(each["metric"].items()): float(each["value"][1]) for each in found}


def flushed(address):
    with urllib.request.urlopen(f"http://{address}/internal/force_flush", timeout=10):
        pass


def export(address, job, **metrics):
    bus = Bus(Names())
    bus.register("network", "obi-plugin-network 1", (PACKETS, IO, OPEN, TIME))
    bus.start()
    settings = CoreSettings(
        otlp_metrics={"endpoint": f"http://{address}/opentelemetry/v1/metrics", "interval_s": 3600.0, **metrics}
    )
    sink = OtlpSink.create(settings, {"service.name": job})
    sink.start(bus)
    bus.publish(
        "network",
        1,
        [
            Observation(PACKETS, 1, 23, CURL, {"network.transport": "tcp"}),
            Observation(PACKETS, 2, 7, CURL, {"network.transport": "udp"}),
            Observation(IO, 1, 2**40, CURL),
            Observation(OPEN, 1, 4, CURL),
            Observation(TIME, 1, (*COUNTS, 2_500_000_000), CURL),
        ],
    )
    sink.flush(15)
    tally = sink.tally("metrics")
    sink.stop()
    assert bus.stop(10)
    assert (sum(tally.failed.values()), sum(tally.dropped.values()), tally.rejected, tally.queued) == (0, 0, 0, 0)
    assert tally.sent == tally.enqueued > 0
    flushed(address)


@pytest.mark.parametrize("naming", ["otel", "prometheus"])
@pytest.mark.parametrize("compression", ["gzip", "none"])
def test_what_promql_reads_is_what_was_counted_and_suffixes_are_there_once(store, naming, compression):
    job = f"{naming}-{compression}"
    export(store, job, naming=naming, compression=compression)
    by_transport = ask(store, f'sum by (network_transport) (obi_network_packets_total{{job="{job}"}})')
    if not by_transport:  # a version that makes no job of service.name
        by_transport = ask(store, f'sum by (network_transport) (obi_network_packets_total{{service_name="{job}"}})')
    got = {dict(labels).get("network_transport"): value for labels, value in by_transport.items()}
    assert got == {None: 0, "tcp": 23, "udp": 7}
    which = f'{{process_executable_name="curl",k8s_pod_name="web-1",service_name="{job}"}}'
    for name, value in (
        ("obi_network_io_bytes_total", 2**40),
        ("obi_network_connections", 4),
        ("obi_network_time_seconds_count", sum(COUNTS)),
        ("obi_network_time_seconds_sum", 2.5),
    ):
        assert list(ask(store, f"sum({name}{which})").values()) == [value], name
    # exponential buckets became vmrange ones: their sum is the count
    assert list(ask(store, f"sum(obi_network_time_seconds_bucket{which})").values()) == [sum(COUNTS)]


def test_explicit_histograms_have_le_buckets_made_of_the_same_kernel_buckets(store):
    export(store, "explicit", histograms="explicit")
    found = ask(store, 'sum by (le) (obi_network_time_seconds_bucket{service_name="explicit"})')
    got = {dict(labels)["le"]: value for labels, value in found.items()}
    # bucket i ends at 2**((first + 1 + i) / 4)
    bounds = {"0.25": sum(COUNTS[:2]), "0.5": sum(COUNTS[:6]), "1": sum(COUNTS[:10]), "2": sum(COUNTS[:14])}
    assert got == {**bounds, "+Inf": sum(COUNTS)}


def test_the_test_export_finds_its_path_and_the_item_is_in_the_store(obi, store):
    done = obi("test-export", "--type", "metrics", "--endpoint", store)
    assert done.returncode == 0, done.stdout
    assert "/opentelemetry/v1/metrics (http)" in done.stdout
    flushed(store)
    assert set(ask(store, '{__name__=~"obi_export_test.*"}').values()) == {1}


@pytest.mark.kernel(needs=("cap:bpf", "cap:perfmon", "btf"))
def test_what_a_probe_counted_in_the_kernel_is_what_promql_answers(start_obi, store):
    import os
    import signal
    import sys

    name = f"obivm{os.getpid() % 100000}"
    program = """
import ctypes, socket, sys
ctypes.CDLL(None).prctl(15, sys.argv[1].encode(), 0, 0, 0)
with socket.create_server(("127.0.0.1", 0)) as server:
    for _ in range(23):
        with socket.create_connection(server.getsockname()) as client:
            server.accept()[0].close()
"""
    ports = ("--http-listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0")
    agent = start_obi(
        "run", "--plugins", "tcp", "--interval", "1s", "--view", "lines", *ports,
        OBI_OTLP_METRICS__ENDPOINT=f"http://{store}/opentelemetry/v1/metrics", OBI_OTLP_METRICS__NAMING="prometheus",
    )  # fmt: skip
    agent.stdout.readline()
    subprocess.run([sys.executable, "-c", program, name], check=True)
    agent.send_signal(signal.SIGTERM)
    _, err = agent.communicate(timeout=20)
    assert agent.returncode == 0, err
    flushed(store)
    found = {labels: value for labels, value in ask(store, "obi_tcp_connects_total").items() if name in dict(labels).values()}
    counted = {dict(labels)["network_tcp_handshake_role"]: value for labels, value in found.items()}
    assert counted == {"client": 23, "server": 23}, err
