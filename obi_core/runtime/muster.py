"""What one configuration asks for: plugins found, sections checked, nothing of it running yet."""

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from typing import Final

import pluggy

from obi_core.bus import Limits
from obi_core.bus.attributes import rules_of
from obi_core.errors import ConfigError, HostError, PluginError
from obi_core.model import ProbeState, Reason
from obi_core.runtime.registry import Plugin, discover, new_manager
from obi_core.runtime.status import Status
from obi_core.settings import CoreSettings, ProbeSettings, Settings
from obi_core.sink import Sink

_log: Final = logging.getLogger("obi.agent")


@dataclass(frozen=True, slots=True)
class Muster:
    """Everything that a configuration names, checked."""

    settings: Settings
    manager: pluggy.PluginManager
    plugins: tuple[Plugin, ...]
    probes: Mapping[str, ProbeSettings]
    """Settings of the probes that can run, by name."""
    broken: tuple[Status, ...]
    """Plugins that are listed and cannot be used."""
    sinks: tuple[type[Sink], ...]
    resolvers: tuple[type[object], ...]

    @property
    def listed(self) -> Mapping[str, Plugin]:
        """The plugins that the configuration lists, by name."""
        return {plugin.name: plugin for plugin in self.plugins if plugin.reason is not Reason.NOT_LISTED}

    def digest(self) -> str:
        """Sixteen hexadecimal digits that differ where any setting differs, of the core's or of a running probe's.

        Secrets go in as they print, so nothing can be learnt of them.
        """
        document = {
            "core": self.settings.core.model_dump(mode="json", fallback=str),
            "probes": {name: probe.model_dump(mode="json", fallback=str) for name, probe in self.probes.items()},
        }
        return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:16]


def muster(settings: Settings, entry_points: Callable[[], Iterable[EntryPoint]]) -> Muster:
    """Find the plugins and check every section.

    Raises:
        ConfigError: The list or a section is wrong.
    """
    from obi_core.sinks import builtin  # what `obi plugins list` need not load

    manager = new_manager()
    manager.register(builtin, name="obi-core")
    plugins = discover(settings.core.agent.plugins, entry_points=entry_points, manager=manager)
    usable = [plugin for plugin in plugins if plugin.reason is Reason.OK]
    for section in settings.unlisted([plugin.name for plugin in usable], {plugin.name for plugin in plugins}):
        _log.info("section %s is of a plugin that is not listed in agent.plugins: parsed, not checked", section)
    probes: dict[str, ProbeSettings] = {}
    broken = [
        Status(plugin.name, ProbeState.QUARANTINED, plugin.reason, detail=plugin.detail)
        for plugin in plugins
        if plugin.reason not in (Reason.OK, Reason.NOT_LISTED)
    ]
    for plugin in usable:
        if plugin.probe is not None:
            try:
                probes[plugin.name] = settings.probe(plugin.name, plugin.probe.settings_type)
            except PluginError as error:
                broken.append(Status(plugin.name, ProbeState.QUARANTINED, Reason.STEP_RAISED, detail=str(error)))
    return Muster(
        settings,
        manager,
        plugins,
        probes,
        tuple(broken),
        (*builtin.obi_register_sinks(), *(sink for plugin in usable for sink in plugin.sinks)),
        tuple(resolver for plugin in usable for resolver in plugin.resolvers),
    )


def nothing_runs(settings: Settings, statuses: Sequence[Status]) -> ConfigError | HostError:
    """Say why no probe runs, in one line for all of them."""
    if statuses:
        causes = "; ".join(f"{status.probe}: {status.reason.value}, {status.cause}" for status in statuses)
        return HostError(f"no probe can run here: {causes}")
    if settings.core.agent.plugins is None:
        return HostError("no probe is installed; install one, such as obi-plugin-tcp")
    return ConfigError("no listed plugin has a probe; list one, such as tcp", key="agent.plugins")


def limits_of(core: CoreSettings) -> Limits:
    """What the bus is to keep."""
    return Limits(
        series=core.metrics.series_limit,
        probe_series=core.budgets.series,
        bind_grace_s=core.metrics.bind_grace_s,
        series_idle_s=core.metrics.series_idle_s,
        series_ended_s=core.metrics.series_ended_s,
        rules=rules_of(core.metrics.attributes),
    )
