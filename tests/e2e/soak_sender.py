"""10,000 series that all move, exported again and again; prints its resident memory after each export.

python soak_sender.py ENDPOINT INTERVAL_S EXPORTS
"""

import gc
import os
import sys
import time
from pathlib import Path

from obi_core.bus import Bus, Limits
from obi_core.model import Buckets, Instrument, Kind, LogEvent, Observation, Owner, Span
from obi_core.resolver import Subject
from obi_core.settings import CoreSettings
from obi_core.sinks.otlp import OtlpSink

SERIES = 10_000
IO = Instrument("obi.soak.io", Kind.COUNTER, "By", "Bytes.", ("row",))
TIME = Instrument("obi.soak.time", Kind.HISTOGRAM, "s", "Time.", ("row",), buckets=Buckets(first=-40, count=40))


class Names:
    def resolve(self, owner):
        return Subject({"process.executable.name": owner.comm, "container.id": f"{owner.cgroup_id:064x}"})


def resident_kb():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


def main():
    endpoint, interval_s, exports = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
    bus = Bus(Names(), Limits(series=SERIES))
    bus.register("soak", "obi-soak 1", (IO, TIME))
    bus.start()
    sink = OtlpSink.create(CoreSettings(otlp={"endpoint": endpoint, "interval_s": 3600.0, "batch_age_s": 3600.0}), {})
    sink.start(bus)
    owners = [Owner(pid, pid, pid % 50, f"soak-{pid % 50}") for pid in range(500)]
    attributes = [{"row": row} for row in range(SERIES)]
    for turn in range(1, exports + 1):
        began = time.monotonic()
        rows = [Observation(IO, row, turn + row, owners[row % 500], attributes[row]) for row in range(SERIES - 1000)]
        rows += [Observation(TIME, row, (turn,) * 40 + (turn,), owners[row % 500], attributes[row]) for row in range(1000)]
        rows += [Span("s", 1, 2, owners[0], {"turn": turn}, "", (turn,)), LogEvent("l", 1, "l", owners[0], {}, (turn,))]
        bus.publish("soak", 1, rows)
        sink.flush(20)
        if turn % 10 == 0:
            gc.collect()
            sys.stdout.write(f"{resident_kb()}\n")
            sys.stdout.flush()
        time.sleep(max(0.0, interval_s - (time.monotonic() - began)))
    tallies = [sink.tally(signal) for signal in ("traces", "metrics", "logs")]
    sys.stdout.write(f"{[(tally.enqueued, tally.sent) for tally in tallies]}\n")
    sink.stop()
    bus.stop(10)


main()
