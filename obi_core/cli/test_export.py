"""`obi test-export`: one item to an endpoint, step by step; status 0 only if every item was accepted."""

import argparse
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from obi_core.cli.logs import logging_to
from obi_core.cli.options import LOG_LEVEL, Flag, add_settings, located, settings_of
from obi_core.cli.output import say, say_document
from obi_core.errors import ConfigError
from obi_core.host import Host

if TYPE_CHECKING:
    from collections.abc import Mapping

    from obi_core.settings import Export, Settings, Signal
    from obi_core.sinks.otlp.endpoint import Endpoint
    from obi_core.sinks.otlp.examine import Report

_TYPES: Final = ("all", "traces", "metrics", "logs")
_KEYS: Final = (
    ("endpoint", "ADDRESS", "HOST:PORT, http://… or https://… (default: what is configured)"),
    ("protocol", "PROTOCOL", "grpc or http (default: found out)"),
    ("headers", "NAME=VALUE,…", "headers of the request"),
    ("header-files", "NAME=FILE,…", "headers whose values stand in files"),
    ("tls-dir", "DIR", "folder with ca.crt, tls.crt and tls.key"),
    ("ca-file", "FILE", "certificates that sign the endpoint's"),
    ("cert-file", "FILE", "our certificate"),
    ("key-file", "FILE", "its key"),
    ("server-name", "NAME", "name that the endpoint's certificate must have"),
    ("timeout", "TIME", "time for the request (default: 10s)"),
)
_USUAL: Final["Mapping[str, tuple[int, ...]]"] = {
    "traces": (4318, 4317, 3200),
    "metrics": (4318, 4317, 8080, 9090, 9009, 8428),
    "logs": (4318, 4317, 3100),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `obi test-export`."""
    parser.add_argument("--type", choices=_TYPES, default="all", help="which signal (default: all)")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    for name, metavar, text in _KEYS:
        parser.add_argument(f"--{name}", metavar=metavar, help=text)
    add_settings(parser, (LOG_LEVEL,))


def run(arguments: argparse.Namespace) -> int:
    """Send and report.

    Raises:
        ConfigError: A flag or setting is wrong, or there is no endpoint.
    """
    from obi_core.identity import resource_attributes  # `obi --help` needs none of it
    from obi_core.settings import SIGNALS

    signals = [signal for signal in SIGNALS if arguments.type in {"all", signal}]
    flags = tuple(
        Flag(f"--{name}", f"otlp_{signal}.{_key(name)}", metavar, text) for signal in signals for name, metavar, text in _KEYS
    )
    for flag in flags:
        setattr(arguments, flag.setting, getattr(arguments, flag.flag[2:].replace("-", "_")))
    settings = settings_of(arguments, (LOG_LEVEL, *flags))
    found: list[Report] = []
    with logging_to(sys.stderr, settings.core.agent.log_level), located(settings):
        resource = resource_attributes(settings.core, Host(), os.environ)
        for signal in signals:
            found.append(_one(settings, signal, resource, arguments.endpoint is None and arguments.type == "all"))
            if not arguments.json:
                _say(found[-1])
                if not found[-1].accepted and not found[-1].reached:
                    _elsewhere(settings, signal, resource)
    if arguments.json:
        say_document({"accepted": all(report.accepted for report in found), "reports": [each.document() for each in found]})
    return 0 if found and all(report.accepted for report in found) else 1


def _key(name: str) -> str:
    return "timeout_s" if name == "timeout" else name.replace("-", "_")


def _one(settings: "Settings", signal: "Signal", resource: "Mapping[str, str]", configured: bool) -> "Report":
    from obi_core.sinks.otlp.endpoint import parse_endpoint
    from obi_core.sinks.otlp.examine import candidates, examine
    from obi_core.sinks.otlp.transport import destination

    export = settings.core.export(signal)
    if export is None:
        where = (
            "--endpoint HOST:PORT" if not configured else "--endpoint HOST:PORT, or --type for one signal that is configured"
        )
        raise ConfigError(f"there is no endpoint for {signal}; give one with {where}")
    endpoint = parse_endpoint(export.settings.endpoint or "", export.settings.protocol, export.key("endpoint"))
    first = examine(destination(export), resource)
    if first.accepted or not first.reached or endpoint.path or export.settings.protocol != "auto" or _let_in(first):
        return first
    best = first
    for way in candidates(export, endpoint):
        report = examine(destination(_as(export, way)), resource)
        if report.accepted:
            return report
        if _let_in(report):
            best = report
    return best


def _let_in(report: "Report") -> bool:
    """Whether the way is right and only the key is missing."""
    return any(step.name == "auth" and not step.ok for step in report.steps)


def _as(export: "Export", way: "Endpoint") -> "Export":
    url = way.url(export.signal)
    return replace(export, settings=export.settings.model_copy(update={"endpoint": url, "protocol": way.protocol}))


def _elsewhere(settings: "Settings", signal: "Signal", resource: "Mapping[str, str]") -> None:
    """Try the usual ports of the host, and say the command that works."""
    for report in _usual(settings, signal, resource):
        if report.accepted:
            say(f"  but this works: obi test-export --type {signal} --endpoint {report.url} --protocol {report.protocol}")
            return
    say(f"  nor does any of the usual ports: {', '.join(map(str, _USUAL[signal]))}")


def _usual(settings: "Settings", signal: "Signal", resource: "Mapping[str, str]") -> Iterator["Report"]:
    from obi_core.sinks.otlp.endpoint import parse_endpoint
    from obi_core.sinks.otlp.examine import candidates, examine
    from obi_core.sinks.otlp.transport import destination

    export = settings.core.export(signal)
    if export is None:
        return
    endpoint = parse_endpoint(export.settings.endpoint or "", export.settings.protocol)
    for port in _USUAL[signal]:
        for way in candidates(export, replace(endpoint, port=port, protocol="grpc" if port == 4317 else "http")):  # noqa: PLR2004 - gRPC's
            report = examine(destination(_as(export, way)), resource)
            yield report
            if not report.reached:
                break


def _say(report: "Report") -> None:
    say(f"{report.signal} to {report.url} ({report.protocol})")
    for step in report.steps:
        say(f"  {step.name:<5} {'ok' if step.ok else 'FAILED':<7} {step.detail}, {step.ms:.1f} ms")
