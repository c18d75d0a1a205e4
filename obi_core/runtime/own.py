"""The agent's own metrics: what a node's operator asks first when a number looks odd.

Only what the runtime knows; series, losses and events are the bus's own metrics.
"""

import os
import platform
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from obi_core.bus.own import Reading, own_metric
from obi_core.host import Host
from obi_core.identity.resource import agent_version
from obi_core.model import Kind, Metric
from obi_core.runtime.descriptors import open_descriptors
from obi_core.runtime.plan import Tally
from obi_core.runtime.status import Status

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


class OwnMetrics:
    """Gives the metrics; callable from any thread.

    Args:
        host: This node; its `/proc/self` is the agent.
        statuses: Where every plugin stands.
        tallies: What each worker has done, by probe.
        kernel_s: CPU time in the kernel, by probe.
        clock: ns, realtime.
    """

    def __init__(
        self,
        host: Host,
        statuses: Callable[[], Iterable[Status]],
        tallies: Callable[[], Mapping[str, Tally]],
        kernel_s: Callable[[], Mapping[str, float]] = dict,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._host, self._statuses, self._tallies, self._clock = host, statuses, tallies, clock
        self._kernel_s = kernel_s
        ticks = host.process_start_ticks(os.getpid())
        self._start_ns = clock() if ticks is None else host.boot_epoch_ns() + ticks * 1_000_000_000 // _TICKS

    def __call__(self) -> Sequence[Metric]:
        """Read everything now."""
        now = self._clock()
        statuses = sorted(self._statuses(), key=lambda status: status.probe)
        tallies = sorted(self._tallies().items())

        def metric(name: str, kind: Kind, description: str, readings: Iterable[Reading]) -> Metric:
            return own_metric(name, kind, description, readings, start_ns=self._start_ns, time_ns=now)

        def per_probe(read: Callable[[Tally], float]) -> list[Reading]:
            return [({"probe": name}, read(tally)) for name, tally in tallies]

        build = {"version": agent_version(), "python_version": platform.python_version()}
        return (
            metric("obi_build_info", Kind.GAUGE, "Always 1; what this agent is made of.", [(build, 1)]),
            metric("obi_probe_state", Kind.GAUGE, "1 for the state that each probe is in.", [_state(s) for s in statuses]),
            metric(
                "obi_probe_mode",
                Kind.GAUGE,
                "1 for the mode that each running probe is in.",
                [({"probe": s.probe, "mode": s.mode}, 1) for s in statuses if s.mode],
            ),
            metric(
                "obi_probe_degraded",
                Kind.GAUGE,
                "1 where a running probe loses something.",
                [({"probe": s.probe}, int(s.degraded)) for s in statuses],
            ),
            metric("obi_probe_restarts_total", Kind.COUNTER, "Starts after the first.", per_probe(lambda t: t.restarts)),
            metric(
                "obi_probe_reattached_total",
                Kind.COUNTER,
                "Programs that somebody else had detached, and that were attached again.",
                per_probe(lambda t: t.reattached),
            ),
            metric(
                "obi_probe_left_open_descriptors",
                Kind.GAUGE,
                "File descriptors that the probe's collections have left open, less those that they have closed.",
                per_probe(lambda t: t.left_open),
            ),
            metric(
                "obi_probe_collect_seconds",
                Kind.GAUGE,
                "Duration of the last collection.",
                per_probe(lambda t: t.collect_s),
            ),
            metric("obi_probe_map_bytes", Kind.GAUGE, "Kernel memory of the probe's maps.", per_probe(lambda t: t.map_bytes)),
            metric(
                "obi_probe_map_fill_ratio",
                Kind.GAUGE,
                "How full each map of the probe is that can be full.",
                [({"probe": name, "map": each}, ratio) for name, tally in tallies for each, ratio in tally.fill.items()],
            ),
            metric(
                "obi_probe_cpu_seconds_total",
                Kind.COUNTER,
                "CPU time of the probe's own thread, and of its programs in the kernel, estimated from short measurements.",
                [
                    *(({"probe": name, "side": "user"}, tally.cpu_s) for name, tally in tallies),
                    *(({"probe": name, "side": "kernel"}, seconds) for name, seconds in sorted(self._kernel_s().items())),
                ],
            ),
            metric("obi_process_cpu_seconds_total", Kind.COUNTER, "CPU time of the agent.", [({}, time.process_time())]),
            metric("obi_process_resident_memory_bytes", Kind.GAUGE, "Resident memory of the agent.", [({}, self._resident())]),
            metric(
                "obi_process_open_descriptors",
                Kind.GAUGE,
                "File descriptors that the agent has open.",
                [({}, open_descriptors(self._host))],
            ),
            metric("obi_clock_seconds", Kind.GAUGE, "This node's clock, in seconds since 1970.", [({}, now / 1e9)]),
            metric(
                "obi_process_start_time_seconds",
                Kind.GAUGE,
                "When the agent started, in seconds since 1970.",
                [({}, self._start_ns / 1e9)],
            ),
        )

    def _resident(self) -> int:
        try:
            return int((self._host.proc / "self/statm").read_text().split()[1]) * _PAGE
        except OSError:
            return 0


def _state(status: Status) -> Reading:
    return {"probe": status.probe, "state": status.state.value, "reason": status.reason.value}, 1
