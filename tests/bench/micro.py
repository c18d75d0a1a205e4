"""User space piece by piece: from 8,192 rows in the kernel to 10,000 series on the wire, each beside the least it could be.

The least is measured in the same run, with the same data: the system calls alone, a dict update, a formatted line, a
serialisation. So the quotient of both says something on any machine, while the ms say something on this one only.
"""

import ctypes
import gc
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, TypeVar, cast

from prometheus_client import CollectorRegistry, generate_latest

from obi_core.bus import Limits, SeriesTable
from obi_core.bus.moment import Moment
from obi_core.kernel.lib import libbpf
from obi_core.kernel.maps import LoadedMap, Map
from obi_core.model import Instrument, Kind, Metric, Observation, Owner, Point
from obi_core.resolver import Subject
from obi_core.settings import OtlpMetricsSettings
from obi_core.sink import Source
from obi_core.sinks.families import BusCollector
from obi_core.sinks.otlp.metrics import MetricsEncoder

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics import export as sdk

T = TypeVar("T")

ROWS = 8_192
SERIES = 10_000
_HASH = 1  # BPF_MAP_TYPE_HASH
_IO = Instrument("obi.bench.io", Kind.COUNTER, "By", "Bytes.", ("network.io.direction", "bench.row"))


@dataclass(frozen=True, slots=True)
class Piece:
    """One piece of user space; times are of the cheapest run, ms."""

    name: str
    ms: float
    least: str
    """What the least is."""
    least_ms: float


class Key(ctypes.Structure):
    """The shape of the probes' keys: an owner and two enums, 48 bytes."""

    _pack_ = 1
    _fields_ = (
        ("cgroup_id", ctypes.c_uint64),
        ("start_ns", ctypes.c_uint64),
        ("tgid", ctypes.c_uint32),
        ("_pad", ctypes.c_uint32),
        ("comm", ctypes.c_char * 16),
        ("role", ctypes.c_uint32),
        ("outcome", ctypes.c_uint32),
    )


class _Names:
    """Knows every owner at once."""

    def resolve(self, owner: Owner) -> Subject:
        return Subject({"process.executable.name": owner.comm, "container.id": f"{owner.cgroup_id:064x}"})


class _Source:
    """A bus that holds still."""

    def __init__(self) -> None:
        self.now: Sequence[Metric] = ()

    def metrics(self) -> Sequence[Metric]:
        return self.now


def pieces(rows: int = ROWS, series: int = SERIES, times: int = 7) -> list[Piece]:
    """Measure all of them.

    Args:
        rows: Rows of the kernel map.
        series: Observations, series and points.
        times: Runs of each; the cheapest counts.
    """
    return [_read_rows(rows, times), *_bus(series, times), _scrape(series, times), *_otlp(series, times)]


def cheapest(work: Callable[[T], object], inputs: Iterable[T]) -> float:
    """Time `work` on each of `inputs`; the least, ms."""
    best = float("inf")
    for given in inputs:
        gc.collect()
        gc.disable()
        began = time.perf_counter()
        work(given)
        best = min(best, time.perf_counter() - began)
        gc.enable()
    return best * 1e3


def _read_rows(rows: int, times: int) -> Piece:
    key_bytes, value_bytes = ctypes.sizeof(Key), ctypes.sizeof(ctypes.c_uint64)
    create = ctypes.CDLL("libbpf.so.1", use_errno=True).bpf_map_create
    fd = create(_HASH, b"obi_bench", key_bytes, value_bytes, 2 * rows, None)
    if fd < 0:
        sys.exit(f"bench: the kernel makes no map: {os.strerror(ctypes.get_errno())}")
    counted = Map("obi_bench", LoadedMap(fd, _HASH, key_bytes, value_bytes, 2 * rows, Key, ctypes.c_uint64))
    try:
        for number in range(rows):
            counted.update(Key(1, number, number, 0, b"bench", 1, 0), number)
        ms = cheapest(lambda _: list(counted.rows()), range(times))
        least = cheapest(lambda _: _system_calls(counted.fd, 2 * rows), range(times))
    finally:
        counted.close()
    return Piece(f"read and decode {rows:,} map rows", ms, "one batched system call", least)


def _system_calls(fd: int, room: int) -> None:
    keys, values, there = (Key * room)(), (ctypes.c_uint64 * room)(), ctypes.c_uint32(room)
    libbpf().bpf_map_lookup_batch(fd, None, ctypes.create_string_buffer(8), keys, values, ctypes.byref(there), None)


def _batches(number: int) -> Iterator[list[Observation]]:
    owners = [Owner(pid, pid, pid % 50, f"bench-{pid % 50}") for pid in range(500)]
    attributes: list[Mapping[str, str | int]] = [
        {"network.io.direction": "receive" if row % 2 else "transmit", "bench.row": row} for row in range(number)
    ]
    for value in count(1):
        yield [Observation(_IO, ("io", row), value + row, owners[row % 500], attributes[row]) for row in range(number)]


def _bound(number: int) -> SeriesTable:
    table = SeriesTable(_Names(), Limits(series=number + 1))
    table.register("bench", "obi-bench 0", (_IO,), Moment.now())
    return table


def _bus(number: int, times: int) -> Iterator[Piece]:
    given = _batches(number)
    first = [(_bound(number), next(given)) for _ in range(times)]
    bind = cheapest(lambda each: each[0].apply("bench", 0, each[1], Moment.now()), first)
    table = first[0][0]
    kept: dict[object, object] = {}
    batches = [next(given) for _ in range(times)]
    fold = cheapest(lambda batch: table.apply("bench", 0, batch, Moment.now()), batches)
    store = cheapest(lambda batch: kept.update([(each.key, each.value) for each in batch]), batches)
    yield Piece(f"bind {number:,} new keys", bind, "a dict update", store)
    yield Piece(f"apply {number:,} observations", fold, "a dict update", store)

    def moved() -> Iterator[None]:
        for _ in range(times):
            table.apply("bench", 0, next(given), Moment.now())
            yield

    points = table.read()[0].points
    again = cheapest(lambda _: [Point(p.attributes, p.value, p.start_ns, p.time_ns) for p in points], range(times))
    yield Piece(f"snapshot of {number:,} series", cheapest(lambda _: table.read(), moved()), "the points alone", again)


def _snapshots(number: int) -> Iterator[tuple[Metric, ...]]:
    table = _bound(number)
    for batch in _batches(number):
        table.apply("bench", 0, batch, Moment.now())
        yield table.read()


def _scrape(number: int, times: int) -> Piece:
    source, registry, given = _Source(), CollectorRegistry(auto_describe=False), _snapshots(number)
    source.now = next(given)
    registry.register(BusCollector(cast("Source", source)))
    generate_latest(registry)  # labels are worked out once per series

    def moved() -> Iterator[None]:
        for _ in range(times):
            source.now = next(given)
            yield

    ms = cheapest(lambda _: generate_latest(registry), moved())
    points = source.now[0].points
    least = cheapest(
        lambda _: "".join([f'obi_bench_io_bytes_total{{row="{p.attributes[0][1]}"}} {p.value}\n' for p in points]).encode(),
        range(times),
    )
    return Piece(f"text scrape of {number:,} series", ms, "a formatted line each", least)


def _otlp(number: int, times: int) -> Iterator[Piece]:
    from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

    encoder = MetricsEncoder({"service.name": "bench"}, {}, OtlpMetricsSettings(), 4_000)
    given = _snapshots(number)
    now = time.time_ns()
    made = list(encoder.requests(next(given), now))  # attributes are written once per series
    encoded = [ExportMetricsServiceRequest.FromString(request.payload) for request in made]
    least = cheapest(lambda _: [each.SerializeToString() for each in encoded], range(times))
    again = [next(given) for _ in range(times)]
    ms = cheapest(lambda metrics: list(encoder.requests(metrics, now)), again)
    yield Piece(f"OTLP encoding of {number:,} points", ms, "serialising it, once built", least)
    sdk = cheapest(lambda metrics: encode_metrics(_sdk(metrics, now)).SerializeToString(), again)
    yield Piece(f"the same by the SDK's data and encoder ({number:,} points)", sdk, "serialising it, once built", least)


def _sdk(metrics: Sequence[Metric], now: int) -> "sdk.MetricsData":
    from opentelemetry.sdk.metrics import export as sdk
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope

    converted = [
        sdk.Metric(
            metric.instrument.name,
            metric.instrument.description,
            metric.instrument.unit,
            sdk.Sum(
                [
                    sdk.NumberDataPoint(dict(point.attributes), point.start_ns, now, cast("float", point.value))
                    for point in metric.points
                ],
                sdk.AggregationTemporality.CUMULATIVE,
                is_monotonic=True,
            ),
        )
        for metric in metrics
    ]
    scope = sdk.ScopeMetrics(InstrumentationScope("bench"), converted, "")
    return sdk.MetricsData([sdk.ResourceMetrics(Resource({"service.name": "bench"}), [scope], "")])
