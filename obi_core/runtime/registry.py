"""Entry points → plugins: only those that the allow-list names are imported, one at a time, each on its own risk.

An entry is `name` or `name@distribution`. A bare built-in name means the distribution `obi-plugin-<name>` and no other.
"""

import difflib
import inspect
import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from itertools import islice
from typing import Final

import pluggy

from obi_core import hookspecs
from obi_core.errors import ConfigError
from obi_core.model import Reason
from obi_core.probe import Probe
from obi_core.runtime.shape import MisfitError, check_name, probe_of, wrong
from obi_core.runtime.strangers import one_line, said, shown
from obi_core.sink import Sink

GROUP: Final = "obi.plugins"
BUILT_IN: Final = ("network", "syscall", "tcp", "limits")
ISOLATED: Final = (Exception, SystemExit)
"""What a plugin's code may raise into us: BCC and others call `sys.exit`."""

_MOST: Final = 16
"""Classes that are taken from one hook; a generator may have no end."""

_log: Final = logging.getLogger("obi.registry")


Callers = Mapping[str, Callable[[], object]]
"""A plugin's own functions, by the hook that each implements."""


@dataclass(frozen=True, slots=True)
class Plugin:
    """What became of one entry point."""

    name: str
    dist: str
    """Distribution that announces it, empty if its metadata does not say."""
    version: str
    probe: type[Probe] | None
    """None: not imported, refused, or a plugin without a probe."""
    reason: Reason
    """`OK`, `NOT_LISTED`, or why it is refused."""
    detail: str
    """One sentence with the next step, empty if all is well."""
    sinks: tuple[type[Sink], ...] = ()
    resolvers: tuple[type[object], ...] = ()


def installed() -> Iterable[metadata.EntryPoint]:
    """All entry points of the group, from the metadata of what is installed; nothing is imported."""
    return metadata.entry_points(group=GROUP)


def new_manager() -> pluggy.PluginManager:
    """Make a plugin manager that knows OBI's hooks and has no plugin yet."""
    manager = pluggy.PluginManager("obi")
    manager.add_hookspecs(hookspecs)
    return manager


def discover(
    allow: Sequence[str] | None,
    *,
    entry_points: Callable[[], Iterable[metadata.EntryPoint]] = installed,
    manager: pluggy.PluginManager | None = None,
) -> tuple[Plugin, ...]:
    """Find the plugins, import the allowed ones and check them.

    Args:
        allow: Entries of the allow-list; None: every built-in that is installed.
        entry_points: Gives the entry points of the group.
        manager: Where imported plugins are registered; stays with the caller, who notifies through it.

    Returns:
        The listed plugins in the list's order, then those that are installed and not listed. A plugin that cannot be used
        is there with its reason.

    Raises:
        ConfigError: An entry names nothing that is installed, or two entries name the same plugin.
    """
    manager = manager or new_manager()
    found = _unique(entry_points())
    if allow is None:
        allow = [name for name in BUILT_IN if any(_is_built_in(entry, name) for entry in found)]
    chosen: dict[str, list[metadata.EntryPoint]] = {}
    for item in dict.fromkeys(allow):
        name = item.partition("@")[0]
        if name in chosen:
            raise ConfigError(f'agent.plugins lists "{name}" twice; a name can run once: keep one entry', key="agent.plugins")
        chosen[name] = _select(item, found)
    plugins = [
        _load(manager, entries[0]) if len(entries) == 1 else _ambiguous(entry, entries)
        for entries in chosen.values()
        for entry in entries
    ]
    listed = [entry for entries in chosen.values() for entry in entries]
    rest = sorted((entry for entry in found if entry not in listed), key=lambda entry: (entry.name, _dist(entry)))
    return (*plugins, *(_refused(entry, Reason.NOT_LISTED, _unlisted(entry)) for entry in rest))


def _unique(entries: Iterable[metadata.EntryPoint]) -> list[metadata.EntryPoint]:
    # An editable install may show its distribution twice: the same announcement is one.
    return list({(entry.name, _normal(_dist(entry)), entry.value): entry for entry in entries}.values())


def _dist(entry: metadata.EntryPoint) -> str:
    return entry.dist.name if entry.dist else ""


def _normal(dist: str) -> str:
    return re.sub(r"[-_.]+", "-", dist).lower()


def _is_built_in(entry: metadata.EntryPoint, name: str) -> bool:
    return entry.name == name and _normal(_dist(entry)) == f"obi-plugin-{name}"


def _select(item: str, found: Sequence[metadata.EntryPoint]) -> list[metadata.EntryPoint]:
    name, _, dist = item.partition("@")
    named = [entry for entry in found if entry.name == name]
    if not dist and name in BUILT_IN:
        dist = f"obi-plugin-{name}"
    chosen = [entry for entry in named if not dist or _normal(_dist(entry)) == _normal(dist)]
    if chosen:
        return chosen
    if named:
        others = " or ".join(f'"{name}@{_dist(entry)}"' for entry in named)
        raise ConfigError(
            f'plugin "{name}": {dist} is not installed; to use what is there, list {others}', key="agent.plugins"
        )
    names = sorted({entry.name for entry in found})
    nearest = difflib.get_close_matches(name, names, n=1)
    hint = f'nearest is "{nearest[0]}"' if nearest else f"installed: {', '.join(names) or 'none'}"
    raise ConfigError(f'no plugin "{name}" is installed; {hint}', key="agent.plugins")


def _refused(entry: metadata.EntryPoint, reason: Reason, detail: str) -> Plugin:
    version = entry.dist.version if entry.dist else ""
    return Plugin(entry.name, _dist(entry), version, None, reason, one_line(detail, most=600))


def _unlisted(entry: metadata.EntryPoint) -> str:
    if entry.name in BUILT_IN and not _is_built_in(entry, entry.name):
        return (
            f'not imported: "{entry.name}" means obi-plugin-{entry.name}; to run this one in its place, list '
            f'"{entry.name}@{_dist(entry)}"'
        )
    return "installed, not listed in agent.plugins: not imported"


def _ambiguous(entry: metadata.EntryPoint, rivals: Sequence[metadata.EntryPoint]) -> Plugin:
    dists = sorted({_dist(rival) for rival in rivals})
    if len(dists) == 1:
        return _refused(entry, Reason.DUPLICATE, f'{dists[0]} announces "{entry.name}" {len(rivals)} times; uninstall it')
    choice = f'list one as "{entry.name}@{_dist(entry)}" or uninstall one'
    return _refused(entry, Reason.DUPLICATE, f'{" and ".join(dists)} announce "{entry.name}": {choice}')


def _load(manager: pluggy.PluginManager, entry: metadata.EntryPoint) -> Plugin:
    try:
        check_name(entry.name)
        plugin = entry.load()
        callers = _register(manager, plugin, entry.name)
        probe = probe_of(entry.name, _announced(callers, "obi_register_probes"))
        return Plugin(
            entry.name,
            _dist(entry),
            entry.dist.version if entry.dist else "",
            probe,
            Reason.OK,
            "",
            tuple(_sink(each) for each in _announced(callers, "obi_register_sinks")),
            tuple(_class(each, "resolver") for each in _announced(callers, "obi_register_resolvers")),
        )
    except MisfitError as error:
        refused = _refused(entry, error.reason, str(error))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - a stranger's import and hooks may raise anything; only this plugin is lost
        _log.debug("plugin %s: import or registration raised", entry.name, exc_info=True)
        refused = _refused(entry, Reason.IMPORT_RAISED, f"{entry.value} raised {said(error)}; repair or unlist the plugin")
    if manager.has_plugin(entry.name):
        manager.unregister(name=entry.name)
    return refused


def _register(manager: pluggy.PluginManager, plugin: object, name: str) -> Callers:
    """Register a plugin; its implementation of each of our hooks, by name."""
    if plugin is None:
        raise wrong("its entry point leads to None; it must lead to a module or an object with hooks")
    manager.register(plugin, name=name)
    ours = [hook for hook in dir(hookspecs) if hook.startswith("obi_")]
    callers = {}
    for caller in manager.get_hookcallers(plugin) or ():
        if caller.name not in ours:
            nearest = difflib.get_close_matches(caller.name, ours, n=1, cutoff=0)[0]
            raise wrong(f"implements {shown(caller.name)}, which is no hook of OBI; nearest is {nearest}")
        callers[caller.name] = next(each.function for each in caller.get_hookimpls() if each.plugin is plugin)
    if not callers:
        raise wrong("implements no hook; mark obi_register_probes with @hookimpl")
    return callers


def _announced(callers: Callers, hook: str) -> list[object]:
    """Call one registration hook of one plugin; what it returned, at most so many."""
    if hook not in callers:
        return []
    result = callers[hook]()
    if isinstance(result, str | bytes | Mapping) or not isinstance(result, Iterable):
        raise wrong(f"{hook} returned {shown(result)}, which is not a tuple of classes")
    return list(islice(result, _MOST))


def _class(announced: object, what: str) -> type[object]:
    if not isinstance(announced, type):
        raise wrong(f"announces {shown(announced)} as a {what}, which is not a class")
    return announced


def _sink(announced: object) -> type[Sink]:
    sink = _class(announced, "sink")
    if not issubclass(sink, Sink):
        raise wrong(f"announces {sink.__name__} as a sink, which is not a Sink")
    if inspect.isabstract(sink):
        raise wrong(f"{sink.__name__} does not define {', '.join(sorted(sink.__abstractmethods__))}")
    if not isinstance(getattr(sink, "name", None), str):
        raise wrong(f"{sink.__name__}.name is not text")
    return sink
