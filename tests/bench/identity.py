"""What it costs to say who did it: once per series that is seen for the first time, and nothing per point after that."""

from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import PurePosixPath

from micro import Piece, cheapest

from obi_core.bus import Limits, SeriesTable
from obi_core.bus.moment import Moment
from obi_core.cgroups import Cgroup, Cgroups
from obi_core.host import Host
from obi_core.identity import CgroupResolver, ProcessResolver
from obi_core.identity.kubernetes import Api, Cluster, KubernetesResolver
from obi_core.identity.kubernetes.objects import Wanted, pod_of
from obi_core.model import Instrument, Kind, Observation, Owner
from obi_core.resolver import Resolver, Subject
from obi_core.settings import KubernetesSettings
from obi_core.testing.kube import pod

_PODS = 250
_CALLS = Instrument("obi.bench.calls", Kind.COUNTER, "{call}", "Calls.", ("bench.row",))


class _Groups(Cgroups):
    """A node with 250 pods of one container each."""

    def all(self) -> Iterator[Cgroup]:
        for number in range(_PODS):
            yield Cgroup(number + 2, PurePosixPath(f"/kubepods/burstable/pod{_uid(number)}/{number:064x}"))


class _Chain:
    """The core's resolvers in their order, as `Identity` has them."""

    def __init__(self) -> None:
        settings = KubernetesSettings(api="http://127.0.0.1:1", node="n1")
        api = Api.found(settings, {})
        if api is None:
            raise RuntimeError("an API that is named is not found")
        cluster = Cluster(api, "n1", settings)  # not started: its pods are put in by hand
        for number in range(_PODS):
            owner, containers = ("ReplicaSet", f"web-{number}"), {"app": f"{number:064x}"}
            found = pod_of(pod(_uid(number), f"web-{number}", owner=owner, containers=containers), Wanted())
            if found is not None:
                cluster.pods.put(found)
        cgroups = CgroupResolver(_Groups(Host()))
        self._chain: tuple[Resolver, ...] = (
            cgroups,
            KubernetesResolver(cluster, cgroups.place),
            ProcessResolver(Host()),
        )
        self.asked = 0

    def resolve(self, owner: Owner) -> Subject:
        self.asked += 1
        subject = Subject({})
        for resolver in self._chain:
            subject = subject.joined(resolver.resolve(owner))
        return subject


class _Nobody:
    """Knows nobody: what binding costs without identity."""

    def resolve(self, _: Owner) -> Subject:
        return Subject({})


def _uid(number: int) -> str:
    return f"{number:08x}-0000-4000-8000-000000000000"


def _batches(number: int) -> Iterator[list[Observation]]:
    owners = [Owner(pid, pid, 2 + pid % _PODS, f"bench-{pid}") for pid in range(number)]
    rows: list[Mapping[str, str | int]] = [{"bench.row": row} for row in range(number)]
    for value in count(1):
        yield [Observation(_CALLS, row, value, owners[row], rows[row]) for row in range(number)]


def naming(number: int, times: int = 7) -> list[Piece]:
    """Measure what owners cost that are seen for the first time, and points of series that are there.

    Args:
        number: Owners, each with one series.
        times: Runs of each; the cheapest counts.
    """
    given = _batches(number)

    def fresh(resolver: Resolver) -> tuple[SeriesTable, list[Observation]]:
        table = SeriesTable(resolver, Limits(series=number + 1))
        table.register("bench", "obi-bench 0", (_CALLS,), Moment.now())
        return table, next(given)

    def apply(each: tuple[SeriesTable, list[Observation]]) -> object:
        return each[0].apply("bench", 0, each[1], Moment.now())

    chain = _Chain()
    first = [fresh(chain) for _ in range(times)]
    bound, plain = cheapest(apply, first), [fresh(_Nobody()) for _ in range(times)]
    least = cheapest(apply, plain)
    asked = chain.asked
    again = cheapest(apply, [(first[0][0], next(given)) for _ in range(times)])
    same = cheapest(apply, [(plain[0][0], next(given)) for _ in range(times)])
    if chain.asked != asked:
        raise RuntimeError(f"identity was asked {chain.asked - asked} times for series that are known")
    return [
        Piece(f"name and bind {number:,} owners in pods", bound, "binding without names", least),
        Piece(f"the next {number:,} points of theirs", again, "points without names", same),
    ]
