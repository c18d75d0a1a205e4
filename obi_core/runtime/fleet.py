"""All probes of one agent: a runner each, made from the configuration and made to follow it when it changes."""

import logging
import queue
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from obi_core.bus import Bus
from obi_core.errors import PluginError
from obi_core.host import Host
from obi_core.kernel.base import Loader
from obi_core.kernel.loaders import NodeLoader
from obi_core.kernel.node import node_constants
from obi_core.model import ProbeState, Reason
from obi_core.runtime.descriptors import LeakGuard
from obi_core.runtime.flood import FloodGuard
from obi_core.runtime.footprint import memory_bytes
from obi_core.runtime.muster import Muster
from obi_core.runtime.plan import Ages, Plan, Tally
from obi_core.runtime.registry import Plugin
from obi_core.runtime.runner import Runner
from obi_core.runtime.status import Status
from obi_core.settings import ProbeSettings

_log: Final = logging.getLogger("obi.agent")


class Fleet:
    """The probes.

    Args:
        host: This node.
        bus: Where they publish.
        inbox: Takes every new status.
        loader: Loads their objects; None: what each mode needs, libbpf or BCC.
        collected: Told of each collection.
    """

    def __init__(
        self,
        host: Host,
        bus: Bus,
        inbox: "queue.SimpleQueue[Status | None]",
        loader: Loader | None = None,
        collected: Callable[[str, float, int], None] | None = None,
    ) -> None:
        self._collected = collected
        self._host, self._bus, self._inbox, self._given = host, bus, inbox, loader
        self._loaders: dict[bool, Loader] = {}
        self._runners: dict[str, Runner] = {}
        self._leaving: list[Runner] = []
        self._flood = FloodGuard(0, partial(memory_bytes, host))
        self._leaks = LeakGuard.on(host)
        self._running = False
        self.broken: tuple[Status, ...] = ()

    def __iter__(self) -> Iterator[Runner]:
        return iter(tuple(self._runners.values()))

    def statuses(self) -> tuple[Status, ...]:
        """Where every listed plugin stands."""
        return (*self.broken, *(runner.status for runner in tuple(self._runners.values())))

    def tallies(self) -> dict[str, Tally]:
        """What each worker has done, by probe."""
        return {runner.name: runner.tally for runner in tuple(self._runners.values())}

    def follow(self, wanted: Muster) -> list[Status]:
        """Run what a configuration asks for: probes that stay go on, as unchanged as can be; others come and go.

        Returns:
            Statuses of what cannot be used.
        """
        self._flood.limit = wanted.settings.core.budgets.memory // 2
        self._leaks.limit = wanted.settings.core.budgets.descriptors
        broken = list(wanted.broken)
        listed = wanted.listed
        for name in [name for name in self._runners if name not in wanted.probes]:
            self._let_go(name)
        for name, settings in wanted.probes.items():
            try:
                self._put(self._plan(wanted, listed[name], settings))
            except PluginError as error:
                broken.append(Status(name, ProbeState.QUARANTINED, Reason.STEP_RAISED, detail=str(error)))
        self.broken = tuple(broken)
        return broken

    def start(self) -> None:
        """Let all of them begin, and whatever comes later at once."""
        self._running = True
        for runner in self._runners.values():
            runner.start()

    def check(self) -> None:
        """Give up who hangs, and see off who has left. To be called about once a second."""
        for runner in (*self._runners.values(), *self._leaving):
            runner.check()
        self._flood.check(tuple(self))
        self._leaks.check(tuple(self))
        for runner in [runner for runner in self._leaving if runner.join(0.0, give_up=False)]:
            self._leaving.remove(runner)
            if runner.name not in self._runners:
                self._bus.forget(runner.name)

    def end(self, left: Callable[[float], float]) -> None:
        """Have every probe collect a last time; `left` gives what remains until a share of the deadline."""
        for runner in self._runners.values():
            runner.finish()
        for runner in self._runners.values():
            if not runner.collected(left(0.6)):
                _log.warning("probe %s: the last collection did not end in time", runner.name)

    def detach(self, left: Callable[[float], float]) -> None:
        """Have every probe detach."""
        everybody = (*self._runners.values(), *self._leaving)
        for runner in everybody:
            runner.detach()
        for runner in everybody:
            runner.join(left(0.0))

    def _put(self, plan: Plan) -> None:
        runner = self._runners.get(plan.probe.name)
        if runner is not None:
            runner.follow(plan)
            return
        # who is on the way out with this name must be gone before it runs a second time
        for leaving in [each for each in self._leaving if each.name == plan.probe.name]:
            leaving.join(plan.step_deadline_s)
            self._leaving.remove(leaving)
            self._bus.forget(leaving.name)
        runner = self._runners[plan.probe.name] = Runner(plan, self._inbox.put)
        if self._running:
            runner.start()

    def _let_go(self, name: str) -> None:
        runner = self._runners.pop(name)
        runner.finish()
        runner.detach()
        self._leaving.append(runner)

    def _plan(self, wanted: Muster, plugin: Plugin, settings: ProbeSettings) -> Plan:
        core = wanted.settings.core
        agent, metrics = core.agent, core.metrics
        if plugin.probe is None:
            raise PluginError("it has no probe", plugin=plugin.name)
        return Plan(
            plugin.probe,
            f"{plugin.dist} {plugin.version}".strip(),
            settings,
            self._loader(by_process=metrics.process_pid),
            self._host,
            self._bus,
            interval_s=settings.interval_s or agent.interval_s,
            step_deadline_s=agent.step_deadline_s,
            collect_deadline_s=agent.collect_deadline_s,
            collected=self._collected,
            budgets=core.budgets,
            ages=Ages(self._host, metrics.series_idle_s),
            names=(metrics.pod_uid, metrics.process_pid, metrics.attributes, core.kubernetes.naming),
        )

    def _loader(self, *, by_process: bool) -> Loader:
        if self._given is not None:
            return self._given
        if by_process not in self._loaders:
            self._loaders[by_process] = node_loader(self._host, by_process=by_process)
        return self._loaders[by_process]


def node_loader(host: Host, *, by_process: bool = False) -> Loader:
    """Make what loads objects on this node."""
    return NodeLoader(host, node_constants(host, by_process=by_process))
