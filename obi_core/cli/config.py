"""`obi config check` and `obi config explain`: is it right, and where does each value come from."""

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from obi_core.cli.logs import logging_to
from obi_core.cli.options import RUN, add_settings, located, settings_of
from obi_core.cli.output import say, say_document
from obi_core.host import Host

if TYPE_CHECKING:
    from pydantic import BaseModel

    from obi_core.settings import Settings

_MASK: Final = "***"


@dataclass(frozen=True, slots=True)
class _Value:
    """One value, as it may be shown."""

    key: str
    value: str
    place: str
    """Where it came from."""
    wins_over: str = ""
    """A variable of OpenTelemetry's that says something of it too, and gives way."""

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
            action.add_argument("--json", action="store_true", help="one JSON document")
        add_settings(action, RUN)


def run(arguments: argparse.Namespace) -> int:
    """Do either.

    Raises:
        ConfigError: The configuration is wrong.
    """
    settings = settings_of(arguments, RUN)
    with logging_to(sys.stderr, settings.core.agent.log_level), located(settings), redirect_stdout(sys.stderr):
        models = _models(settings)
        destinations = _destinations(settings)
    if arguments.action == "check":
        sent = "; ".join(f"{signal} to {url}" for signal, url in destinations) or "nothing is exported over OTLP"
        say(f"the configuration is right: {len(models)} sections; {sent}")
        return 0
    values = [value for value in _values(settings, models) if value.key.startswith(arguments.path)]
    if arguments.json:
        say_document(
            {
                "values": [value.document() for value in values],
                "exports": [{"signal": signal, "url": url} for signal, url in destinations],
            }
        )
        return 0
    width = min(60, max((len(f"{value.key} = {value.value}") for value in values), default=0))
    for value in values:
        overruled = f" (wins over {value.wins_over})" if value.wins_over else ""
        say(f"{f'{value.key} = {value.value}':<{width}}  # {value.place}{overruled}")
    if not arguments.path:
        for signal, url in destinations:
            say(f"# {signal} are exported to {url}")
    return 0


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
                weaker = ignored.get((section, key), "") if place.origin not in {Origin.STANDARD, Origin.DEFAULT} else ""
                yield _Value(path, _shown(one), str(place), weaker)
    from obi_core.identity.resource import described

    for name, attribute in described(settings.core, Host(), os.environ).items():
        if attribute.source != "resource.attributes":
            yield _Value(f"resource.attributes.{name}", attribute.value, attribute.source)


def _variables(environ: "os._Environ[str]") -> dict[tuple[str, ...], str]:
    """What OpenTelemetry's variables would set if nothing stronger did."""
    from obi_core.settings.standard import standard

    return {path: place.name for path, place in standard(environ, ()).places.items() if len(path) == 2}  # noqa: PLR2004 - section, key


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
