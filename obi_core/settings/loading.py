"""From files, variables and flags to checked settings, in two phases.

First the core's sections; then, when a plugin is imported and its settings type known, that plugin's section. Values are
merged by pydantic-settings (command line > environment > pool overlay > files > OpenTelemetry's variables > defaults); who
said what is kept, for error messages and for `obi config explain`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final, TypeVar

from pydantic import BaseModel, ValidationError

from obi_core.errors import ObiError, PluginError
from obi_core.settings.core import (
    AgentSettings,
    BudgetSettings,
    CoreSettings,
    HttpSettings,
    KernelSettings,
    MetricsSettings,
    ResourceSettings,
)
from obi_core.settings.documents import read_directory
from obi_core.settings.identity import IdentitySettings
from obi_core.settings.kubernetes import KubernetesSettings
from obi_core.settings.merge import merged
from obi_core.settings.origin import Layer, Origin, Place
from obi_core.settings.origin import Path as Dotted
from obi_core.settings.otlp import OtlpLogsSettings, OtlpMetricsSettings, OtlpSettings, OtlpTracesSettings, SpoolSettings
from obi_core.settings.pools import overlay, pool_of, selectors
from obi_core.settings.probe import ProbeSettings
from obi_core.settings.problems import invalid, unknown_key, unknown_section
from obi_core.settings.sources import command_line, environment, unfolded
from obi_core.settings.standard import standard

_EMPTY: Final = Layer({}, {})
NodeLabels = Callable[[KubernetesSettings], Mapping[str, str]]
"""Reads the labels of this node; empty if they cannot be had now."""
_Probe = TypeVar("_Probe", bound=ProbeSettings)
_Model = TypeVar("_Model", bound=BaseModel)


class Settings:
    """All that was configured: the core's sections checked, those of plugins as they stand."""

    def __init__(self, layers: tuple[Layer, ...], pool: str = "") -> None:
        """Check the core's sections; `layers` come strongest first.

        Raises:
            ConfigError: A core section is wrong.
        """
        self._layers = layers
        self.pool = pool
        """Name of the pool whose overlay is among the layers; empty: none."""
        self.core = CoreSettings(
            agent=self._section("agent", AgentSettings),
            metrics=self._section("metrics", MetricsSettings),
            http=self._section("http", HttpSettings),
            kernel=self._section("kernel", KernelSettings),
            budgets=self._section("budgets", BudgetSettings),
            otlp=self._section("otlp", OtlpSettings),
            otlp_traces=self._section("otlp_traces", OtlpTracesSettings),
            otlp_metrics=self._section("otlp_metrics", OtlpMetricsSettings),
            otlp_logs=self._section("otlp_logs", OtlpLogsSettings),
            spool=self._section("spool", SpoolSettings),
            resource=self._section("resource", ResourceSettings),
            identity=self._section("identity", IdentitySettings),
            kubernetes=self._section("kubernetes", KubernetesSettings),
        )

    def probe(self, name: str, settings_type: type[_Probe]) -> _Probe:
        """Check the section of one plugin.

        Raises:
            ConfigError: A key or value in it is wrong: file, line, nearest key.
            PluginError: The plugin's settings class itself is broken.
        """
        try:
            return self._section(name, settings_type)
        except ObiError:
            raise
        except Exception as error:  # a stranger's validators and defaults may raise anything
            raise PluginError(f"its settings class raised {type(error).__name__}; repair or unlist it", plugin=name) from error

    def unlisted(self, listed: Iterable[str], installed: Iterable[str] = ()) -> tuple[str, ...]:
        """Sections of plugins that are not listed: parsed, not validated.

        Args:
            listed: Plugins that run.
            installed: All plugins on this machine; a section of one of them is never taken for a slip of the pen.

        Raises:
            ConfigError: A section, or the section of a variable, is no plugin's and looks like a slip of the pen.
        """
        ours = {*CoreSettings.model_fields, *listed}
        known = {*ours, *installed}
        others: dict[str, None] = {}
        for layer in self._layers:
            for section in layer.values:
                if section not in known:
                    unknown_section(section, layer.places[section,], known)
                if section not in ours:
                    others[section] = None
        return tuple(sorted(others))

    def origin(self, path: str) -> Place:
        """Where the value at a dotted path (`tcp.interval_s`, `otlp.headers.authorization`) came from."""
        return self._place(self._keys(path), exact=True)

    def overruled(self, path: str) -> tuple[tuple[Place, object], ...]:
        """What gives way to the value at a dotted path: where each stands and what it says, the strongest first."""
        keys = self._keys(path)
        places = [(layer.places[keys], layer) for layer in self._layers if keys in layer.places]
        return tuple((place, _at(layer, keys)) for place, layer in places[1:])

    def given(self, section: str) -> Iterator[tuple[str, ...]]:
        """Paths of a section that some layer says something of: keys, and keys within mappings."""
        said = {path: None for layer in self._layers for path in layer.places if len(path) > 1 and path[0] == section}
        yield from said

    def _section(self, name: str, model: type[_Model]) -> _Model:
        self._layers = tuple(unfolded(layer, name, model) if name in layer.values else layer for layer in self._layers)
        for layer in self._layers:
            for key in layer.values.get(name, {}):
                if key not in model.model_fields:
                    raise unknown_key((name, key), layer.places[name, key], model)
        try:
            return merged(name, model, [layer.values.get(name, {}) for layer in self._layers])
        except ValidationError as err:
            raise invalid(err, self._place, name, model) from err

    def _keys(self, path: str) -> Dotted:
        # a key within a mapping may have dots of its own
        short = tuple(path.split(".", 2))
        return short if any(short in layer.places for layer in self._layers) else tuple(path.split("."))

    def _place(self, path: Dotted, *, exact: bool = False) -> Place:
        """The strongest layer that says something of `path`, else (unless `exact`) of what encloses it."""
        for length in range(len(path), 0, -1):
            for layer in self._layers:
                if path[:length] in layer.places:
                    return layer.places[path[:length]]
            if exact:
                break
        return Place(Origin.DEFAULT)


def _at(layer: Layer, keys: Dotted) -> object:
    found: object = layer.values
    for key in keys:
        found = found.get(key) if isinstance(found, Mapping) else found
    return found


def load_settings(
    directory: Path | None,
    environ: Mapping[str, str],
    overrides: Mapping[str, object],
    *,
    labels: NodeLabels | None = None,
) -> Settings:
    """Read everything and check the core's sections.

    Args:
        directory: Holds `*.yaml`; None: defaults, variables and flags only.
        environ: The environment; `OBI_POOL`, `OBI_<SECTION>__<KEY>` and the `OTEL_*` variables are read.
        overrides: Flags: dotted path → value as typed, or `Given`.
        labels: Asked only where a pool has a selector and `OBI_POOL` names none.

    Raises:
        ConfigError: Anything is wrong with it.
    """
    flags, variables = command_line(overrides), environment(environ)
    pool = environ.get("OBI_POOL", "")
    own = overlay(directory, pool) if pool else _EMPTY
    files = read_directory(directory) if directory is not None else _EMPTY
    if not pool and labels is not None and (known := selectors(directory)):
        pool = pool_of(labels(Settings((flags, variables, files)).core.kubernetes), known)
        own = overlay(directory, pool) if pool else _EMPTY
    ours = (flags, variables, own, files)
    return Settings((*ours, standard(environ, ours)), pool)
