"""The document of `/status`: everything that the runners, the governor and the doctor know, JSON-ready, free text included."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict

from obi_core.host import Host
from obi_core.identity.resource import agent_version
from obi_core.kernel.base import MapStats, ProgramStats
from obi_core.model import Reason
from obi_core.runtime.muster import Muster
from obi_core.runtime.plan import Tally
from obi_core.runtime.status import Status


def kernel_objects(
    programs: Iterable[ProgramStats], maps: Iterable[MapStats], fill: Mapping[str, float] | None = None
) -> dict[str, object]:
    """What somebody has in the kernel: `obi programs` and `obi maps` read it."""
    ratios = fill or {}
    return {
        "programs": [
            {
                "name": each.name,
                "id": each.id,
                "kind": each.kind,
                "section": each.section,
                "attached": bool(each.places),
                "places": [place for place in each.places if place],
                "instructions": each.instructions,
            }
            for each in programs
        ],
        "maps": [
            {
                "name": each.name,
                "id": each.id,
                "kind": each.kind,
                "key_bytes": each.key_bytes,
                "value_bytes": each.value_bytes,
                "max_entries": each.max_entries,
                "memory_bytes": each.memory_bytes,
                "fill": round(ratios[each.name], 4) if each.name in ratios else None,
            }
            for each in maps
        ],
    }


def _worked(tally: Tally) -> dict[str, object]:
    numbers = asdict(tally)
    for name in ("programs", "maps", "fill"):
        del numbers[name]
    return {"work": numbers, **kernel_objects(tally.programs, tally.maps, tally.fill)}


def everything(
    host: Host,
    wanted: Muster | None,
    statuses: Iterable[Status],
    tallies: Mapping[str, Tally],
    losses: Mapping[tuple[str, str], int],
    sinks: Iterable[str],
    sections: Mapping[str, object],
) -> Mapping[str, object]:
    """Put the document together.

    Args:
        host: This node.
        wanted: The configuration in force; None: there is none yet.
        statuses: Where each listed plugin stands.
        tallies: What each worker has done, by probe.
        losses: Entries lost, by (probe, place).
        sinks: Names of those that run.
        sections: What others know, as it is: `config`, `budgets`.
    """
    listed = wanted.listed if wanted is not None else {}
    metrics = wanted.settings.core.metrics if wanted is not None else None
    lost: dict[str, dict[str, int]] = {}
    for (probe, place), number in losses.items():
        lost.setdefault(probe, {})[place] = number
    return {
        "version": agent_version(),
        "node": {
            "kernel": host.release(),
            "btf": host.btf() is not None,
            "tracefs": str(host.tracefs() or ""),
            "cgroup2": str(host.cgroup2() or ""),
            "memory_cgroup_v1": host.memory_cgroup_v1(),
            "capabilities": sorted(host.capabilities()),
        },
        "probes": {
            status.probe: {
                "dist": listed[status.probe].dist,
                "version": listed[status.probe].version,
                **status.full(),
                "lost": lost.get(status.probe, {}),
                **(_worked(tallies[status.probe]) if status.probe in tallies else {"work": {}, **kernel_objects((), ())}),
            }
            for status in statuses
            if status.probe in listed
        },
        **sections,
        "sinks": list(sinks),
        "metrics": {"listen": str(metrics.listen) if metrics is not None and metrics.enabled else ""},
        "not_listed": [p.name for p in wanted.plugins if p.reason is Reason.NOT_LISTED] if wanted is not None else [],
    }
