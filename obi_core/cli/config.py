"""`obi config check` and `obi config explain`: is it right, and where does each value come from."""

import argparse
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final

from obi_core.cli.logs import logging_to
from obi_core.cli.options import RUN, add_settings, located, settings_of
from obi_core.cli.output import say, say_document
from obi_core.errors import ConfigError, HostError
from obi_core.host import Host

if TYPE_CHECKING:
    from pydantic import BaseModel

    from obi_core.settings import KubernetesSettings, Settings
    from obi_core.settings.loading import NodeLabels

_MASK: Final = "***"


@dataclass(frozen=True, slots=True)
class _Value:
    """One value, as it may be shown."""

    key: str
    value: str
    place: str
    """Where it came from."""
    wins_over: str = ""
    """What else says something of it and gives way, the strongest first: places with values, OpenTelemetry's variables."""

    def document(self) -> dict[str, str]:
        return {"key": self.key, "value": self.value, "from": self.place, "wins_over": self.wins_over}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `obi config`."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", title="actions", required=True)
    for name, text in (
        ("check", "say whether `obi run` would accept the configuration; certificates and header files too"),
        ("explain", "list every value with the place it came from; secrets are masked"),
    ):
        action = actions.add_parser(name, help=text, description=f"{text[:1].upper()}{text[1:]}.", allow_abbrev=False)
        if name == "explain":
            action.add_argument(
                "path", nargs="?", default="", help="only what begins with this, such as otlp or tcp.interval_s"
            )
            action.add_argument("--key", metavar="KEY", help="only this key or section, such as tcp.interval_s")
            action.add_argument(
                "--node", metavar="NAME", help="as on this node of the cluster: its labels, read from the API, choose the pool"
            )
            action.add_argument("--json", action="store_true", help="one JSON document")
        add_settings(action, RUN)


def run(arguments: argparse.Namespace) -> int:
    """Do either.

    Raises:
        ConfigError: The configuration is wrong, or there is no such key.
        HostError: The API does not say what labels the node has.
    """
    node = getattr(arguments, "node", None)
    settings = settings_of(arguments, RUN, labels=_labels_of(node) if node else None)
    with logging_to(sys.stderr, settings.core.agent.log_level), located(settings), redirect_stdout(sys.stderr):
        models = _models(settings)
        destinations = _destinations(settings)
    if arguments.action == "check":
        sent = "; ".join(f"{signal} to {url}" for signal, url in destinations) or "nothing is exported over OTLP"
        say(f"the configuration is right: {len(models)} sections; {sent}")
        return 0
    values = [value for value in _values(settings, models) if _asked(value.key, arguments.path, arguments.key)]
    if arguments.key and not values:
        known = {value.key for value in _values(settings, models)}
        raise ConfigError(f"there is no setting {arguments.key!r}{_nearest(arguments.key, known)}", file="--key")
    if arguments.json:
        say_document(
            {
                "pool": settings.pool,
                "values": [value.document() for value in values],
                "exports": [{"signal": signal, "url": url} for signal, url in destinations],
            }
        )
        return 0
    width = min(60, max((len(f"{value.key} = {value.value}") for value in values), default=0))
    for value in values:
        overruled = f" (wins over {value.wins_over})" if value.wins_over else ""
        say(f"{f'{value.key} = {value.value}':<{width}}  # {value.place}{overruled}")
    if node or not (arguments.path or arguments.key):
        of = f" of node {node}" if node else ""
        say(f"# the pool{of} is {settings.pool}" if settings.pool else f"# no pool{of}")
    if not (arguments.path or arguments.key):
        for signal, url in destinations:
            say(f"# {signal} are exported to {url}")
    return 0


def _nearest(word: str, known: set[str]) -> str:
    close = get_close_matches(word, sorted(known), n=1, cutoff=0.6)
    return f'; did you mean "{close[0]}"?' if close else "; `obi config explain` lists all"


def _asked(name: str, path: str, key: str | None) -> bool:
    return name.startswith(path) and (not key or name == key or name.startswith(f"{key}."))


def _labels_of(node: str) -> "NodeLabels":
    """Make what reads the labels of another node than this."""

    def read(kubernetes: "KubernetesSettings") -> "Mapping[str, str]":
        from obi_core.identity.kubernetes import Api, ApiError  # `obi --help` needs none of it
        from obi_core.identity.kubernetes.cluster import node_labels

        asked = kubernetes.model_copy(update={"node": node})
        try:
            if Api.found(asked, os.environ) is None:
                raise HostError("--node: nothing says where the API of the cluster is; set kubernetes.api")
            return node_labels(asked, os.environ)
        except ApiError as error:
            raise HostError(f"--node: the labels of {node} cannot be read: {error}") from error

    return read


def _models(settings: "Settings") -> dict[str, "BaseModel"]:
    """Every section, checked: the core's, then those of the plugins that are listed."""
    from obi_core.runtime.registry import discover  # `obi --help` needs none of it

    found: dict[str, BaseModel] = {name: getattr(settings.core, name) for name in type(settings.core).model_fields}
    plugins = discover(settings.core.agent.plugins)
    usable = [plugin for plugin in plugins if plugin.probe is not None]
    settings.unlisted([plugin.name for plugin in usable], [plugin.name for plugin in plugins])
    for plugin in usable:
        if plugin.probe is not None:
            found[plugin.name] = settings.probe(plugin.name, plugin.probe.settings_type)
    return found


def _destinations(settings: "Settings") -> list[tuple[str, str]]:
    from obi_core.settings import SIGNALS
    from obi_core.sinks.otlp.transport import destination

    exports = [export for signal in SIGNALS if (export := settings.core.export(signal)) is not None]
    return [(export.signal, destination(export).url) for export in exports]


def _values(settings: "Settings", models: dict[str, "BaseModel"]) -> Iterator[_Value]:
    from obi_core.settings import Origin

    ignored = _variables(os.environ)
    for section, model in models.items():
        for key in type(model).model_fields:
            value = getattr(model, key)
            inherited = hasattr(model, "inherits") and key in type(settings.core.otlp).model_fields
            if inherited and key not in model.model_fields_set:
                if (section, key) in ignored:
                    yield _Value(f"{section}.{key}", "as in otlp", str(settings.origin(f"otlp.{key}")), ignored[section, key])
                continue
            parts = value.items() if isinstance(value, dict) and value else [("", value)]
            for part, one in parts:
                path = f"{section}.{key}.{part}" if part else f"{section}.{key}"
                place = settings.origin(path)
                if place.origin is Origin.DEFAULT and part:
                    place = settings.origin(f"{section}.{key}")
                others = [(place, other) for place, other in settings.overruled(path) if place.origin is not Origin.STANDARD]
                weaker = [f"{place} = {_weaker(one, other)}" for place, other in others]
                if (section, key) in ignored and place.origin not in {Origin.STANDARD, Origin.DEFAULT}:
                    weaker.append(ignored[section, key])
                yield _Value(path, _shown(one), str(place), ", ".join(weaker))
    from obi_core.identity.resource import described

    for name, attribute in described(settings.core, Host(), os.environ).items():
        if attribute.source != "resource.attributes":
            yield _Value(f"resource.attributes.{name}", attribute.value, attribute.source)


def _variables(environ: "os._Environ[str]") -> dict[tuple[str, ...], str]:
    """What OpenTelemetry's variables would set if nothing stronger did."""
    from obi_core.settings.standard import standard

    return {path: place.name for path, place in standard(environ, ()).places.items() if len(path) == 2}  # noqa: PLR2004 - section, key


def _weaker(stronger: object, value: object) -> str:
    from pydantic import SecretStr

    return _MASK if isinstance(stronger, SecretStr) else _shown(tuple(value) if isinstance(value, list) else value)


def _shown(value: object) -> str:
    from pydantic import SecretStr

    if isinstance(value, SecretStr):
        return _MASK
    if value is None or value in ((), {}):
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return str(value)
