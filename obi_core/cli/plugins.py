"""`obi plugins list`: what is installed, and what of it would run."""

import argparse
import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING

from obi_core.cli.logs import logging_to
from obi_core.cli.options import LOOK, add_settings, located, settings_of
from obi_core.cli.output import say, say_document
from obi_core.model import Reason
from obi_core.runtime.strangers import one_line

if TYPE_CHECKING:
    from obi_core.runtime.registry import Plugin


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `obi plugins`."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", title="actions", required=True)
    listing = actions.add_parser("list", help="one line per installed plugin", allow_abbrev=False)
    listing.add_argument("--json", action="store_true", help="one JSON document")
    add_settings(listing, LOOK)


def run(arguments: argparse.Namespace) -> int:
    """List the plugins; those that are not listed in the configuration are not imported.

    Raises:
        ConfigError: A setting is wrong, or the list names a plugin that is not installed.
    """
    from obi_core.runtime.registry import discover  # `obi --help` needs none of it

    settings = settings_of(arguments, LOOK)
    # what a plugin prints must not get between the lines of the result
    with logging_to(sys.stderr, settings.core.agent.log_level), located(settings), redirect_stdout(sys.stderr):
        plugins = discover(settings.core.agent.plugins)
    if arguments.json:
        say_document({"plugins": [_document(plugin) for plugin in plugins]})
    else:
        for plugin in plugins:
            say(_line(plugin))
        if not plugins:
            say("no plugin is installed; `pip install obi-plugin-tcp` is a start")
    return 0


def _document(plugin: "Plugin") -> dict[str, object]:
    probe = plugin.probe
    return {
        "name": plugin.name,
        "dist": plugin.dist,
        "version": plugin.version,
        "enabled": plugin.reason is Reason.OK,
        "reason": plugin.reason.value,
        "detail": plugin.detail,
        "modes": [mode.name for mode in probe.modes] if probe else [],
        "instruments": [instrument.name for instrument in probe.instruments] if probe else [],
        "views": [view.name for view in probe.views] if probe else [],
        "sinks": [sink.name for sink in plugin.sinks],
    }


def _line(plugin: "Plugin") -> str:
    name, dist = one_line(plugin.name), one_line(f"{plugin.dist} {plugin.version}")
    return f"{name:<12} {dist:<32} {_state(plugin)}"


def _state(plugin: "Plugin") -> str:
    if plugin.reason is not Reason.OK:
        return f"{plugin.reason.value}: {plugin.detail}"
    parts = (
        ("modes", [mode.name for mode in plugin.probe.modes] if plugin.probe else []),
        ("sinks", [sink.name for sink in plugin.sinks]),
        ("resolvers", [resolver.__name__ for resolver in plugin.resolvers]),
    )
    return ", ".join(("enabled", *(f"{what} {', '.join(names)}" for what, names in parts if names)))
