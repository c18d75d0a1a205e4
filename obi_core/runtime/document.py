"""The document of `/status`: everything that the runners, the governor and the doctor know, JSON-ready, free text included."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict

from obi_core.host import Host
from obi_core.identity.resource import agent_version
from obi_core.model import Reason
from obi_core.runtime.plan import Tally
from obi_core.runtime.registry import Plugin
from obi_core.runtime.status import Status


def everything(
    host: Host,
    plugins: Sequence[Plugin],
    statuses: Iterable[Status],
    tallies: Mapping[str, Tally],
    losses: Mapping[tuple[str, str], int],
    budgets: Mapping[str, object],
    sinks: Sequence[str],
) -> Mapping[str, object]:
    """Put the document together.

    Args:
        host: This node.
        plugins: Those installed.
        statuses: Where each listed one stands.
        tallies: What each worker has done, by probe.
        losses: Entries lost, by (probe, place).
        budgets: The governor's document.
        sinks: Names of those that run.
    """
    listed = {plugin.name: plugin for plugin in plugins if plugin.reason is not Reason.NOT_LISTED}
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
                "work": asdict(tallies[status.probe]) if status.probe in tallies else {},
            }
            for status in statuses
        },
        "budgets": budgets,
        "sinks": list(sinks),
        "not_listed": [plugin.name for plugin in plugins if plugin.reason is Reason.NOT_LISTED],
    }
