"""500 pods that come and go within a minute: none unresolved, memory flat, series gone."""

import tracemalloc
from pathlib import PurePosixPath

from obi_core.bus.moment import Moment
from obi_core.bus.table import Limits, SeriesTable
from obi_core.cgroups import Cgroup
from obi_core.identity import Both, CgroupResolver
from obi_core.identity.kubernetes import KubernetesResolver
from obi_core.identity.kubernetes.objects import Wanted, pod_of
from obi_core.identity.kubernetes.table import PodTable
from obi_core.model import Instrument, Kind, Observation, Owner, Retired
from obi_core.testing.fakes import FakeClock
from obi_core.testing.kube import pod

CALLS = Instrument("obi.x.calls", Kind.COUNTER, "{call}", "Calls.")
PODS, MINUTE, LIFE, LATE = 500, 600, 20, 15
"""Tenths of a second: a pod lives for 2 s, the API tells of its containers after 1.5 s."""


class Node:
    """Cgroups and the API's word of pods, moved by the test."""

    def __init__(self, clock) -> None:
        self.clock = clock
        self.groups: dict[int, str] = {}
        self.pods = PodTable(4096, 300.0, clock)

    def namespace(self, name):
        return {}

    def all(self):
        for number, path in self.groups.items():
            yield Cgroup(number, PurePosixPath(path))


def minute(node, clock, table, first):
    """500 pods, evenly over a minute, and until the last of them is gone."""
    observed = set()
    for tenth in range(MINUTE + LIFE + 100):
        now = Moment(10**18 + int(clock() * 1e9), int(clock() * 1e9))
        batch = []
        # those that may be alive
        youngest = min(PODS, tenth * PODS // MINUTE + 2)
        for number in range(max(0, (tenth - LIFE) * PODS // MINUTE - 1), youngest):
            age = tenth - number * MINUTE // PODS
            serial = first + number
            uid = f"{serial:08x}-0000-4000-8000-000000000000"
            if age == 0:
                node.groups[serial] = f"/kubepods/pod{uid}/{serial:064x}"
                node.pods.put(pod_of(pod(uid, f"web-{serial}", owner=("Job", "burst")), Wanted()))
            if age == LATE:
                node.pods.put(
                    pod_of(pod(uid, f"web-{serial}", owner=("Job", "burst"), containers={"app": f"{serial:064x}"}), Wanted())
                )
            if age == LIFE:
                del node.groups[serial]
                node.pods.end(uid)
                batch.append(Retired(serial, ended=True))
            elif 0 <= age < LIFE and tenth % 5 == 0:
                observed.add(serial)
                batch.append(Observation(CALLS, serial, age + 1, Owner(0, 0, serial, "app")))
        table.apply("x", 1, batch, now)
        table.late.settle(now)
        clock.advance(0.1)
    return observed


def test_500_short_pods_a_minute_are_all_named_and_leave_nothing_behind():
    clock = FakeClock()
    node = Node(clock)
    cgroups = CgroupResolver(node, clock=clock)
    # what the kernel has noted stands in for the walk that is allowed once a second
    cgroups._noted = lambda number: PurePosixPath(node.groups[number]) if number in node.groups else None
    cluster = node
    table = SeriesTable(Both(cgroups, KubernetesResolver(cluster, cgroups.place)), Limits(series_ended_s=120.0))
    table.register("x", "d", (CALLS,), Moment(10**18, 0))
    sizes = []
    for turn in range(4):
        if turn == 1:
            tracemalloc.start()
        first = 1000 + turn * PODS
        observed = minute(node, clock, table, first)
        (metric,) = table.read()
        named = {dict(point.attributes).get("k8s.pod.name"): dict(point.attributes) for point in metric.points}
        assert {f"web-{serial}" for serial in observed} <= set(named)
        ours = [named[f"web-{serial}"] for serial in observed]
        assert {(each["k8s.container.name"], each["k8s.job.name"]) for each in ours} == {("app", "burst")}
        assert set(table.late.unresolved.values()) == {0}
        clock.advance(400)
        table.retire(Moment(10**18, int(clock() * 1e9)))
        (metric,) = table.read()
        assert metric.points == (), "series end with their pods"
        node.pods.end("nobody")
        assert (len(node.pods), len(table.late)) == (0, 0)
        if tracemalloc.is_tracing():
            sizes.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert max(sizes) - min(sizes) < 0.25 * 1_000_000, sizes
