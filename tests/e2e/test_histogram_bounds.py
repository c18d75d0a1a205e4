"""A duration at the end of a bucket, from the kernel's header to both texts: it is in the bucket it ends, 1 ns more is not."""

import ctypes
import subprocess
import urllib.request
from decimal import Decimal, localcontext
from fractions import Fraction
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse

from obi_core.bus import Bus
from obi_core.model import Buckets, Instrument, Kind, Observation
from obi_core.resolver import Subject
from obi_core.settings import CoreSettings, Listen
from obi_core.sinks.otlp import OtlpSink
from obi_core.sinks.prometheus import PrometheusSink
from obi_core.testing.otlp import OtlpReceiver

_BPF = Path(__file__).parents[2] / "bpf"
_SECOND = 10**9


class Nobody:
    def resolve(self, owner):
        return Subject({})


@pytest.fixture(scope="module")
def header(tmp_path_factory):
    folder = tmp_path_factory.mktemp("histogram")
    source, library = folder / "histogram.c", folder / "histogram.so"
    source.write_text(
        "typedef unsigned int u32;\n"
        "typedef unsigned long long u64;\n"
        "#include <obi/histogram.h>\n"
        "u32 slot(u64 duration_ns, int first, u32 count) { return obi_slot(duration_ns, first, count); }\n"
    )
    subprocess.run(
        ["clang", "-std=gnu11", "-O2", "-fPIC", "-shared", f"-I{_BPF}", str(source), "-o", str(library)], check=True
    )
    loaded = ctypes.CDLL(str(library))
    loaded.slot.argtypes = (ctypes.c_uint64, ctypes.c_int, ctypes.c_uint32)
    loaded.slot.restype = ctypes.c_uint32
    return loaded


def _end_ns(index):
    """floor(2^(index/4) s) in ns: the last duration of the bucket below `index`."""
    with localcontext() as context:
        context.prec = 60
        return int(Decimal(2) ** (Decimal(index) / 4) * _SECOND)


@pytest.fixture(params=[(-68, 96), (-40, 96), (-80, 96), (-6, 11)], ids=str)
def layout(request):
    first, count = request.param
    return Buckets(first=first, count=count, sum_unit=1e-9)


@pytest.fixture
def durations(layout):
    """Each duration that ends a bucket of the layout, and the next one; ns."""
    ends = [_end_ns(index) for index in range(layout.first + 1, layout.first + layout.count + 1)]
    return [duration for end in ends for duration in (end, end + 1)]


@pytest.fixture
def bus(header, layout, durations):
    """One series for each duration, with one value in it, in the slot that the header says."""
    instrument = Instrument("obi.x.time", Kind.HISTOGRAM, "s", "Time.", ("ns",), subject=False, buckets=layout)
    bus = Bus(Nobody())
    bus.register("x", "obi-plugin-x 1.0", (instrument,))
    bus.start()
    batch = []
    for duration in durations:
        counts = [0] * layout.count
        counts[header.slot(duration, layout.first, layout.count)] = 1
        batch.append(Observation(instrument, duration, (*counts, duration), None, {"ns": duration}))
    bus.publish("x", 1, batch)
    yield bus
    assert bus.stop(10)


def test_in_prometheus_text_a_duration_of_2_to_the_k_s_is_in_the_bucket_le_2_to_the_k(bus, layout, durations):
    sink = PrometheusSink(Listen("127.0.0.1", 0), lambda _: None)
    sink.start(bus)
    try:
        with urllib.request.urlopen(f"http://{sink.address}/metrics", timeout=10) as answer:
            text = answer.read().decode()
    finally:
        sink.stop()
    buckets = {}
    for family in parse(text):
        for sample in family.samples:
            if sample.name == "obi_x_time_seconds_bucket":
                buckets.setdefault(int(sample.labels["ns"]), {})[float(sample.labels["le"])] = sample.value
    assert sorted(buckets) == sorted(durations)
    # the last slot takes what lies beyond, so its end is no bound
    bounds = [2.0 ** (index / 4) for index in range(layout.first + 1, layout.first + layout.count) if index % 4 == 0]
    assert len(bounds) == (layout.first + layout.count - 1) // 4 - layout.first // 4
    for duration, seen in buckets.items():
        assert seen == {
            bound: int(bound == float("inf") or Fraction(duration, _SECOND) <= Fraction(bound))
            for bound in [*bounds, float("inf")]
        }, f"{duration} ns"


def test_in_otlp_a_duration_is_in_the_bucket_whose_ends_enclose_it(bus, layout, durations):
    with OtlpReceiver() as receiver:
        sink = OtlpSink.create(CoreSettings(otlp={"endpoint": receiver.http, "interval_s": 3600.0}), {})
        sink.start(bus)
        try:
            sink.flush(10)
        finally:
            sink.stop()
        points = receiver.metrics()["obi.x.time"].exponential_histogram.data_points
    seen = {point.attributes[0].value.int_value: point for point in points}
    assert sorted(seen) == sorted(durations)
    for duration, point in seen.items():
        assert (point.scale, point.count, list(point.positive.bucket_counts)) == (2, 1, [1])
        index = point.positive.offset
        # 2^(index/4) s < duration <= 2^((index+1)/4) s, to the fourth power; the last bucket is open above
        fourth = Fraction(duration, _SECOND) ** 4
        assert Fraction(2) ** index < fourth, f"{duration} ns"
        assert fourth <= Fraction(2) ** (index + 1) or index == layout.first + layout.count - 1, f"{duration} ns"
