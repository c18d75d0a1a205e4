"""Whether it is worth starting: on a node where no mode of any probe has what it needs, one sentence says so at once."""

from contextlib import suppress

from obi_core.errors import HostError, PluginError
from obi_core.host import Host
from obi_core.kernel import trial
from obi_core.model import Mode
from obi_core.probe import Probe
from obi_core.runtime.registry import discover
from obi_core.settings import Settings


def refuse_if_hopeless(settings: Settings, host: Host) -> None:
    """Look for one mode that may work.

    Raises:
        ConfigError: The list names a plugin that is not installed, or a probe's section is wrong.
        HostError: There are probes, and every mode of each lacks something.
    """
    if host.btf() and host.tracefs() and host.has_capability("bpf") and host.has_capability("perfmon"):
        # nearly every start: the agent finds out the rest, and plugins are looked at once only
        return
    plugins = discover(settings.core.agent.plugins)
    probes = [plugin.probe for plugin in plugins if plugin.probe is not None]
    # a mistake in the configuration is told before what the node lacks
    settings.unlisted([probe.name for probe in probes], [plugin.name for plugin in plugins])
    for probe in probes:
        with suppress(PluginError):  # the agent goes on without that one
            settings.probe(probe.name, probe.settings_type)
    missing = [_missing(probe, host) for probe in probes]
    if probes and all(missing):
        raise HostError(f"no probe can run here: {'; '.join(missing)}")


def _missing(probe: type[Probe], host: Host) -> str:
    """What the least demanding mode lacks; empty if some mode lacks nothing that can be known beforehand."""
    lacking = [_unmet(mode, host) for mode in probe.modes]
    nearest = min(lacking, key=len, default=())
    return f"{probe.name}: {'; '.join(nearest)}" if nearest else ""


def _unmet(mode: Mode, host: Host) -> tuple[str, ...]:
    try:
        return tuple(f"{unmet.need} is missing: {unmet.remedy}" for unmet in trial.unmet(mode.needs, host))
    except ValueError:
        # a word that nobody knows is the plugin's mistake; the agent reports it
        return ()
