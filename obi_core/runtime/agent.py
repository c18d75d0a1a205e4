"""The agent: wires settings, plugins, bus and sinks together, watches the workers, and ends in order.

Start: plugins and their settings, bus, health endpoint, sinks, workers; so a taken port is found before the kernel is touched.
End: last collections, bus, sinks, detach, health endpoint, all within one deadline.
"""

import logging
import os
import queue
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import EntryPoint
from typing import Final

from obi_core.bus import Bus
from obi_core.cgroups import Cgroups
from obi_core.errors import ConfigError, HostError, PluginError
from obi_core.host import Host
from obi_core.identity import Both, CgroupResolver, ProcessResolver, resource_attributes
from obi_core.identity.resource import agent_version
from obi_core.kernel.ages import RowAges
from obi_core.kernel.base import Loader
from obi_core.kernel.loaders import NodeLoader
from obi_core.kernel.node import node_constants
from obi_core.model import ProbeState, Reason
from obi_core.probe import Probe
from obi_core.runtime.changes import tell
from obi_core.runtime.diary import Diary
from obi_core.runtime.health import routes
from obi_core.runtime.http import HealthServer
from obi_core.runtime.outputs import Outputs
from obi_core.runtime.own import OwnMetrics
from obi_core.runtime.plan import Plan
from obi_core.runtime.registry import Plugin, discover, installed, new_manager
from obi_core.runtime.resolvers import Resolvers
from obi_core.runtime.runner import Runner
from obi_core.runtime.status import Status
from obi_core.settings import Settings
from obi_core.sink import Sink

TICK_S: Final = 1.0

_log: Final = logging.getLogger("obi.agent")


class Agent:
    """One running OBI.

    Args:
        settings: Everything configured.
        host: This node.
        loader: Loads BPF objects; None: what each mode needs, libbpf or BCC.
        entry_points: Gives the entry points of the plugins.
        environ: The environment, for resource attributes.
    """

    def __init__(
        self,
        settings: Settings,
        host: Host,
        *,
        loader: Loader | None = None,
        entry_points: Callable[[], Iterable[EntryPoint]] = installed,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self._settings, self._host = settings, host
        self._loader, self._entry_points, self._environ = loader, entry_points, environ
        self._manager = new_manager()
        self._plugins: tuple[Plugin, ...] = ()
        self._broken: tuple[Status, ...] = ()
        self._runners: tuple[Runner, ...] = ()
        self._bus: Bus | None = None
        self._outputs: Outputs | None = None
        self._diary: Diary | None = None
        self._http: HealthServer | None = None
        # A SimpleQueue, because its put may be called from a signal handler that interrupts its get.
        self._inbox: queue.SimpleQueue[Status | None] = queue.SimpleQueue()
        self._stopping = False
        self._began = False
        self._held: list[Status] = []
        self._beat = time.monotonic()

    @property
    def http_port(self) -> int:
        """Port of the health endpoint; 0 before it listens."""
        return self._http.port if self._http else 0

    def run(self) -> int:
        """Run until `stop`.

        Returns:
            Exit status 0.

        Raises:
            ConfigError: A plugin or its section is wrong.
            HostError: A port is taken, or no probe can run here.
        """
        try:
            self._start()
            while not self._stopping:
                self._turn()
        finally:
            self._end()
        return 0

    def stop(self) -> None:
        """Ask `run` to end. From any thread, and from a signal handler."""
        self._stopping = True
        self._inbox.put(None)

    def statuses(self) -> tuple[Status, ...]:
        """Where every listed plugin stands."""
        return (*self._broken, *(runner.status for runner in self._runners))

    def status(self) -> Mapping[str, object]:
        """Everything, JSON-ready; free text included."""
        by_name = {plugin.name: plugin for plugin in self._plugins if plugin.reason is not Reason.NOT_LISTED}
        losses: dict[str, dict[str, int]] = {}
        for (probe, place), number in (self._bus.losses() if self._bus else {}).items():
            losses.setdefault(probe, {})[place] = number
        return {
            "version": agent_version(),
            "probes": {
                status.probe: {
                    "dist": by_name[status.probe].dist,
                    "version": by_name[status.probe].version,
                    **status.full(),
                    "lost": losses.get(status.probe, {}),
                }
                for status in self.statuses()
            },
            "sinks": list(self._outputs.names) if self._outputs else [],
            "not_listed": [plugin.name for plugin in self._plugins if plugin.reason is Reason.NOT_LISTED],
        }

    def _start(self) -> None:
        core = self._settings.core
        from obi_core.sinks import builtin  # what `obi plugins list` need not load

        self._manager.register(builtin, name="obi-core")
        self._plugins = discover(core.agent.plugins, entry_points=self._entry_points, manager=self._manager)
        usable = [plugin for plugin in self._plugins if plugin.reason is Reason.OK]
        self._broken = tuple(
            Status(plugin.name, ProbeState.QUARANTINED, plugin.reason, detail=plugin.detail)
            for plugin in self._plugins
            if plugin.reason not in (Reason.OK, Reason.NOT_LISTED)
        )
        self._held += self._broken
        installed_names = {plugin.name for plugin in self._plugins}
        for section in self._settings.unlisted([plugin.name for plugin in usable], installed_names):
            _log.info("section %s is of a plugin that is not listed in agent.plugins: parsed, not checked", section)
        bus = self._bus = Bus(
            Resolvers(
                Both(
                    CgroupResolver(Cgroups(self._host), pod_uid=core.metrics.pod_uid),
                    ProcessResolver(self._host, process_pid=core.metrics.process_pid),
                ),
                [resolver for plugin in usable for resolver in plugin.resolvers],
            ),
            series_limit=core.metrics.series_limit,
            series_idle_s=core.metrics.series_idle_s,
            series_ended_s=core.metrics.series_ended_s,
            bind_grace_s=core.metrics.bind_grace_s,
        )
        self._diary = Diary(bus.note, core.agent.own_spans_every)
        self._runners = tuple(self._runners_of(usable, bus))
        if not self._runners:
            raise self._nothing_runs()
        sinks: list[type[Sink]] = [*builtin.obi_register_sinks(), *(sink for plugin in usable for sink in plugin.sinks)]
        self._outputs = Outputs(sinks, core, resource_attributes(core, self._host, self._environ))
        for provider in self._outputs.own:
            bus.add_own(provider)
        self._http = HealthServer(
            core.http.listen,
            routes(lambda: time.monotonic() - self._beat, self.statuses, core.http.required, self.status),
            self._host,
        )
        self._http.start()
        bus.add_own(OwnMetrics(self._host, self.statuses, lambda: {runner.name: runner.tally for runner in self._runners}))
        bus.start()
        self._outputs.start(bus)
        for runner in self._runners:
            runner.start()

    def _runners_of(self, plugins: Iterable[Plugin], bus: Bus) -> Iterator[Runner]:
        for plugin in plugins:
            if plugin.probe is None:
                continue
            try:
                yield self._runner(plugin, plugin.probe, bus)
            except PluginError as error:
                broken = Status(plugin.name, ProbeState.QUARANTINED, Reason.STEP_RAISED, detail=str(error))
                self._broken = (*self._broken, broken)
                self._held.append(broken)

    def _runner(self, plugin: Plugin, probe: type[Probe], bus: Bus) -> Runner:
        agent = self._settings.core.agent
        settings = self._settings.probe(plugin.name, probe.settings_type)
        if self._loader is None:
            by_process = self._settings.core.metrics.process_pid
            self._loader = NodeLoader(self._host, node_constants(self._host, by_process=by_process))
        plan = Plan(
            probe,
            f"{plugin.dist} {plugin.version}".strip(),
            settings,
            self._loader,
            self._host,
            bus,
            interval_s=settings.interval_s or agent.interval_s,
            step_deadline_s=agent.step_deadline_s,
            collect_deadline_s=agent.collect_deadline_s,
            budgets=self._settings.core.budgets,
            collected=self._diary.collected if self._diary else None,
            ages=lambda: RowAges(Cgroups(self._host).ids, self._settings.core.metrics.series_idle_s),
        )
        return Runner(plan, self._inbox.put)

    def _turn(self) -> None:
        """One turn of the loop: at most a second, less when something changes."""
        try:
            status = self._inbox.get(timeout=TICK_S)
        except queue.Empty:
            status = None
        self._beat = time.monotonic()
        if status is not None:
            self._note(status)
        for runner in self._runners:
            runner.check()
        if not self._began and self._inbox.empty():
            states = {runner.status.state for runner in self._runners}
            if states == {ProbeState.UNSUPPORTED}:
                raise self._nothing_runs()
            if not states <= {ProbeState.DISCOVERED, ProbeState.LOADED, ProbeState.UNSUPPORTED}:
                self._begin()

    def _begin(self) -> None:
        self._began = True
        held, self._held = self._held, []
        for status in held:
            self._tell(status)

    def _tell(self, status: Status) -> None:
        tell(self._manager, status)
        if self._diary is not None:
            self._diary.changed(status)

    def _note(self, status: Status) -> None:
        # Until one probe is past its start, refusals are held back: if none can run, one line says so for all.
        if self._began or status.state is not ProbeState.UNSUPPORTED:
            self._tell(status)
        else:
            self._held.append(status)

    def _nothing_runs(self) -> ConfigError | HostError:
        statuses = self.statuses()
        if statuses:
            causes = "; ".join(f"{status.probe}: {status.reason.value}, {status.cause}" for status in statuses)
            return HostError(f"no probe can run here: {causes}")
        if self._settings.core.agent.plugins is None:
            return HostError("no probe is installed; install one, such as obi-plugin-tcp")
        return ConfigError("no listed plugin has a probe; list one, such as tcp", key="agent.plugins")

    def _end(self) -> None:
        whole = self._settings.core.agent.shutdown_deadline_s
        until = time.monotonic() + whole

        def left(share: float = 0.0) -> float:
            """Seconds until only this share of the deadline is left for what comes later."""
            return max(0.0, until - share * whole - time.monotonic())

        for runner in self._runners:
            runner.finish()
        for runner in self._runners:
            if not runner.collected(left(0.6)):
                _log.warning("probe %s: the last collection did not end in time", runner.name)
        if self._bus:
            self._bus.stop(left(0.5))
        if self._outputs:
            # An agent that never ran has nothing to hand out, and nothing to print.
            if any(runner.status.generation and runner.status.state is not ProbeState.UNSUPPORTED for runner in self._runners):
                self._outputs.flush(left(0.3))
            self._outputs.stop()
        self._detach(left)
        if self._http:
            self._http.stop()

    def _detach(self, left: Callable[[], float]) -> None:
        for runner in self._runners:
            runner.detach()
        for runner in self._runners:
            runner.join(left())
        while not self._inbox.empty():
            if status := self._inbox.get():
                self._note(status)
