"""What the doctor finds, as values: one per probe, with every mode tried."""

import queue
import threading
from dataclasses import dataclass
from typing import Final

from obi_core.errors import PluginError
from obi_core.host import Host
from obi_core.kernel.loaders import NodeLoader
from obi_core.kernel.node import node_constants
from obi_core.model import Mode, Reason
from obi_core.probe import Probe
from obi_core.runtime.attempt import attempt
from obi_core.runtime.registry import Plugin, discover
from obi_core.runtime.status import Attempt
from obi_core.settings import BudgetSettings, ProbeSettings, Settings

_NAME: Final = 15
"""Characters of a program's name that the kernel keeps."""
_SUPPORT: Final = {False: "full", True: "degraded"}


@dataclass(frozen=True, slots=True)
class Finding:
    """What this node allows one probe."""

    name: str
    dist: str
    version: str
    modes: tuple[Attempt, ...]
    problem: str = ""
    """Why no mode was tried: the plugin cannot be used."""
    reason: Reason = Reason.OK
    """The code that goes with `problem`."""
    programs: frozenset[str] = frozenset()
    """Its programs, as the kernel names them."""

    @property
    def best(self) -> Attempt | None:
        """The mode that `obi run` would take."""
        return next((mode for mode in self.modes if mode.ok), None)

    @property
    def support(self) -> str:
        """`full`, `degraded` or `none`."""
        return "none" if self.best is None else _SUPPORT[bool(self.best.loses)]

    def document(self) -> dict[str, object]:
        """JSON-ready."""
        refused = [mode for mode in self.modes if not mode.ok]
        return {
            "name": self.name,
            "dist": self.dist,
            "version": self.version,
            "mode": self.best.mode if self.best else None,
            "support": self.support,
            "loses": list(self.best.loses) if self.best else [],
            "map_memory": self.best.memory.document() if self.best and self.best.memory else None,
            "reasons": ([self.problem] if self.problem else []) + [f"{mode.mode}: {mode.detail}" for mode in refused],
            "modes": [
                {
                    "name": mode.mode,
                    "ok": mode.ok,
                    "reason": mode.reason.value,
                    "detail": mode.detail,
                    "remedy": mode.remedy,
                    "loses": list(mode.loses),
                    "refused": [
                        {
                            "program": refused.program,
                            "reason": refused.reason.value,
                            "detail": refused.detail,
                            "remedy": refused.remedy,
                        }
                        for refused in mode.refused
                    ],
                }
                for mode in self.modes
            ],
        }


def examine(settings: Settings, host: Host) -> tuple[Finding, ...]:
    """Try every mode of every listed probe: load, attach, undo.

    Raises:
        ConfigError: A probe's section is wrong.
    """
    plugins = discover(settings.core.agent.plugins)
    listed = [plugin for plugin in plugins if plugin.reason is not Reason.NOT_LISTED]
    # a section of nobody is as wrong here as it is for `obi run`
    settings.unlisted([plugin.name for plugin in listed], [plugin.name for plugin in plugins])
    return tuple(_examine(plugin, settings, host) for plugin in listed)


def _examine(plugin: Plugin, settings: Settings, host: Host) -> Finding:
    if plugin.probe is None:
        return Finding(plugin.name, plugin.dist, plugin.version, (), plugin.detail, plugin.reason)
    try:
        own = settings.probe(plugin.name, plugin.probe.settings_type)
    except PluginError as error:
        return Finding(plugin.name, plugin.dist, plugin.version, (), str(error), Reason.STEP_RAISED)
    deadline_s, budgets = 2 * settings.core.agent.step_deadline_s, settings.core.budgets
    modes = tuple(_try(plugin.probe, own, mode, host, budgets, deadline_s) for mode in plugin.probe.modes_for(own))
    programs = frozenset(program.name[:_NAME] for mode in plugin.probe.modes for program in mode.programs)
    return Finding(plugin.name, plugin.dist, plugin.version, modes, programs=programs)


def _try(
    probe: type[Probe], settings: ProbeSettings, mode: Mode, host: Host, budgets: BudgetSettings, deadline_s: float
) -> Attempt:
    # On a thread of its own, so that a plugin that hangs costs the deadline and not the doctor.
    loader = NodeLoader(host, node_constants(host))
    done: queue.SimpleQueue[Attempt] = queue.SimpleQueue()
    threading.Thread(target=lambda: done.put(attempt(probe, settings, mode, loader, host, budgets)), daemon=True).start()
    try:
        return done.get(timeout=deadline_s)
    except queue.Empty:
        return Attempt(mode.name, False, Reason.STEP_HUNG, f"load and attach did not end within {deadline_s:g} s", ())
