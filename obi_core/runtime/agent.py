"""The agent: wires settings, plugins, bus and sinks together, watches the workers, and ends in order.

Start: plugins and their settings, bus, health endpoint, sinks, workers; so a taken port is found before the kernel is touched.
End: last collections, bus, sinks, detach, health endpoint, all within one deadline.
"""

import logging
import os
import queue
import time
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import EntryPoint
from typing import Final

from obi_core.bus import Bus
from obi_core.errors import ObiError
from obi_core.host import Host
from obi_core.identity import resource_attributes
from obi_core.kernel.base import Loader
from obi_core.model import LogEvent, Metric, ProbeState
from obi_core.runtime.announcer import Announcer
from obi_core.runtime.diary import Diary
from obi_core.runtime.document import everything, kernel_objects
from obi_core.runtime.door import Door
from obi_core.runtime.fleet import Fleet, node_loader
from obi_core.runtime.governor import Governor
from obi_core.runtime.health import routes
from obi_core.runtime.http import Route
from obi_core.runtime.identity import Identity
from obi_core.runtime.muster import Muster, limits_of, muster, nothing_runs
from obi_core.runtime.outputs import Outputs
from obi_core.runtime.own import OwnMetrics
from obi_core.runtime.registry import installed
from obi_core.runtime.reloads import Reloads
from obi_core.runtime.resolvers import Resolvers
from obi_core.runtime.status import Status
from obi_core.settings import HttpSettings, Settings

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
        reread: Reads the settings again, for a reload; None: they stay as they are.
        changed: Whether their files have changed.
        exporting: False: no sink and no health endpoint, for `sit`.
    """

    def __init__(
        self,
        settings: Settings,
        host: Host,
        *,
        loader: Loader | None = None,
        entry_points: Callable[[], Iterable[EntryPoint]] = installed,
        environ: Mapping[str, str] = os.environ,
        reread: Callable[[], Settings] | None = None,
        changed: Callable[[], bool] | None = None,
        exporting: bool = True,
    ) -> None:
        self._settings, self._host = settings, host
        self._loader, self._entry_points, self._environ = loader, entry_points, environ
        # A SimpleQueue, because its put may be called from a signal handler that interrupts its get.
        self._inbox: queue.SimpleQueue[Status | None] = queue.SimpleQueue()
        self._exporting = exporting
        self._reloads = Reloads(reread, changed, self._event)
        self._muster: Muster | None = None
        self._bus: Bus | None = None
        self._fleet: Fleet | None = None
        self._identity: Identity | None = None
        self._resolvers: Resolvers | None = None
        self._outputs: Outputs | None = None
        self._announcer: Announcer | None = None
        self._governor: Governor | None = None
        self._door = Door(self._routes, host)
        self._stopping = False
        self._beat = time.monotonic()

    @property
    def http_port(self) -> int:
        """Port of the health endpoint; 0 before it listens."""
        return self._door.port

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

    def sit(self, time_s: float) -> tuple[Metric, ...]:
        """Run for so long, in the place of `run`; the probes' metrics at the end.

        Raises:
            ConfigError, HostError: As `run`.
        """
        try:
            self._start()
            until = time.monotonic() + time_s
            while not self._stopping and time.monotonic() < until:
                self._turn()
        finally:
            self._end()
        return tuple(metric for metric in self._bus.metrics() if metric.scope) if self._bus else ()

    def stop(self) -> None:
        """Ask `run` to end. From any thread, and from a signal handler."""
        self._stopping = True
        self._inbox.put(None)

    def reload(self) -> None:
        """Ask `run` to read the configuration again. From any thread, and from a signal handler."""
        self._reloads.ask()
        self._inbox.put(None)

    def statuses(self) -> tuple[Status, ...]:
        """Where every listed plugin stands."""
        return self._fleet.statuses() if self._fleet else ()

    def status(self) -> Mapping[str, object]:
        """Everything, JSON-ready; free text included."""
        return everything(
            self._host,
            self._muster,
            self.statuses(),
            self._fleet.tallies() if self._fleet else {},
            self._bus.losses() if self._bus else {},
            self._outputs.names if self._outputs else (),
            {
                "config": {"hash": self._reloads.digest, "pool": self._settings.pool},
                "budgets": self._governor.document() if self._governor else {},
                "identity": kernel_objects(*(self._identity.held if self._identity else ((), ()))),
            },
        )

    def _start(self) -> None:
        core = self._settings.core
        wanted = self._muster = muster(self._settings, self._entry_points)
        self._reloads.digest = wanted.digest()
        self._reloads.watching = core.agent.reload == "watch"
        self._identity = Identity(self._host, self._environ, core, self._identity_loader)
        self._resolvers = Resolvers(self._identity, wanted.resolvers)
        bus = self._bus = Bus(self._resolvers, limits_of(core))
        diary = Diary(bus.note, core.agent.own_spans_every)
        self._announcer = Announcer(wanted.manager, diary)
        self._fleet = Fleet(self._host, bus, self._inbox, self._loader, diary.collected)
        self._announcer.hold(self._fleet.follow(wanted))
        if not tuple(self._fleet):
            raise nothing_runs(self._settings, self.statuses())
        self._outputs = Outputs(
            wanted.sinks if self._exporting else (), core, resource_attributes(core, self._host, self._environ)
        )
        bus.add_own(self._outputs.own)
        if self._exporting:
            self._door.follow(core.http)
        governor = self._governor = Governor.on(self._host, core.budgets, self._fleet, bus)
        bus.add_own(OwnMetrics(self._host, self.statuses, self._fleet.tallies, governor.kernel_s))
        for own in (governor.metrics, self._reloads.own, self._identity.own):
            bus.add_own(own)
        bus.start()
        self._outputs.start(bus)
        self._fleet.start()

    def _identity_loader(self) -> Loader:
        return self._loader or node_loader(self._host)

    def _routes(self, http: HttpSettings) -> Mapping[str, Route]:
        return routes(lambda: time.monotonic() - self._beat, self.statuses, http.required, self.status)

    def _reload(self) -> None:
        """Read the configuration again and follow it; a wrong one is refused whole."""
        if self._reloads.read is None or self._muster is None:
            return
        try:
            wanted = muster(self._reloads.read(), self._entry_points)
            if wanted.digest() == self._muster.digest() and wanted.settings.core == self._settings.core:
                self._reloads.came("unchanged", "configuration read again: nothing has changed")
                return
            self._follow(wanted)
        except ObiError as error:
            self._reloads.came("refused", f"changed configuration refused, the one before stays: {error}")
            return
        self._reloads.digest = wanted.digest()
        self._reloads.came("applied", f"configuration changed, now {self._reloads.digest}")

    def _follow(self, wanted: Muster) -> None:
        """What may fail comes first, and is undone if it does.

        Raises:
            ConfigError, HostError: It cannot be had; everything is as before.
        """
        if not (self._muster and self._bus and self._fleet and self._outputs and self._resolvers and self._identity):
            return
        before, core = self._settings.core, wanted.settings.core
        if not wanted.probes:
            raise nothing_runs(wanted.settings, wanted.broken)
        self._outputs.follow(wanted.sinks, core, resource_attributes(core, self._host, self._environ))
        try:
            self._door.follow(core.http)
        except ObiError:
            self._outputs.follow(self._muster.sinks, before, resource_attributes(before, self._host, self._environ))
            raise
        self._settings, self._muster = wanted.settings, wanted
        if self._announcer:
            self._announcer.manager = wanted.manager
        if core.agent.log_level != before.agent.log_level:
            logging.getLogger().setLevel(core.agent.log_level.upper())
        self._reloads.watching = core.agent.reload == "watch"
        if limits_of(core) != limits_of(before):
            self._bus.retune(limits_of(core))
        if self._governor:
            self._governor.follow(core.budgets)
        self._identity.follow(core)
        self._resolvers.follow(self._identity, wanted.resolvers)
        for status in self._fleet.follow(wanted):
            self._note(status)

    def _event(self, event: LogEvent) -> None:
        if self._bus:
            self._bus.note(event)

    def _turn(self) -> None:
        """One turn of the loop: at most a second, less when something changes."""
        try:
            status = self._inbox.get(timeout=TICK_S)
        except queue.Empty:
            status = None
        self._beat = time.monotonic()
        if status is not None:
            self._note(status)
        if self._fleet is None:
            return
        self._fleet.check()
        if self._governor:
            self._governor.turn()
        if self._reloads.due():
            self._reload()
        if self._announcer and not self._announcer.begun and self._inbox.empty():
            states = {runner.status.state for runner in self._fleet}
            if states == {ProbeState.UNSUPPORTED}:
                raise nothing_runs(self._settings, self.statuses())
            if not states <= {ProbeState.DISCOVERED, ProbeState.LOADED, ProbeState.UNSUPPORTED}:
                if self._identity:
                    self._identity.tell()
                self._announcer.begin()

    def _note(self, status: Status) -> None:
        if self._announcer:
            self._announcer.note(status)

    def _end(self) -> None:
        whole = self._settings.core.agent.shutdown_deadline_s
        until = time.monotonic() + whole

        def left(share: float = 0.0) -> float:
            """Seconds until only this share of the deadline is left for what comes later."""
            return max(0.0, until - share * whole - time.monotonic())

        if self._governor:
            self._governor.stop()
        if self._fleet:
            self._fleet.end(left)
        if self._bus:
            self._bus.stop(left(0.5))
        if self._outputs:
            # An agent that never ran has nothing to hand out, and nothing to print.
            if any(status.generation and status.state is not ProbeState.UNSUPPORTED for status in self.statuses()):
                self._outputs.flush(left(0.3))
            self._outputs.stop()
        self._detach(left)

    def _detach(self, left: Callable[[float], float]) -> None:
        if self._fleet:
            self._fleet.detach(left)
        if self._identity:
            self._identity.stop()
        while not self._inbox.empty():
            if status := self._inbox.get():
                self._note(status)
        self._door.stop()
