"""`obi doctor`: which mode of which probe this node allows, found by trying.

Status: 0 all probes run in full, 1 some are degraded or cannot run, 3 a required probe (section `http`, key `required`)
cannot run or none can, 2 configuration. With `--preflight`, for init containers, 1 becomes 0.
"""

import argparse
import sys
from contextlib import redirect_stdout
from typing import Final

from obi_core.cli.logs import logging_to
from obi_core.cli.options import LOOK, add_settings, located, settings_of
from obi_core.cli.output import say, say_document
from obi_core.cli.tracefs import ensure_tracefs
from obi_core.host import Host

_DEGRADED: Final = 1
_CANNOT_RUN: Final = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `obi doctor`."""
    parser.add_argument("--json", action="store_true", help="one JSON document")
    parser.add_argument("--preflight", action="store_true", help="for init containers: degraded is good enough (status 0)")
    add_settings(parser, LOOK)


def run(arguments: argparse.Namespace) -> int:
    """Examine this node.

    Raises:
        ConfigError: A setting is wrong.
    """
    from obi_core.cli import findings  # `obi --help` needs none of it

    settings = settings_of(arguments, LOOK)
    host = Host()
    # what a plugin prints must not get between the lines of the result
    with logging_to(sys.stderr, settings.core.agent.log_level), located(settings), redirect_stdout(sys.stderr):
        tracefs = ensure_tracefs(host)
        found = findings.examine(settings, host)
    node = findings.node(host, tracefs)
    status = _status(
        [finding.support for finding in found],
        [finding.support for finding in found if finding.name in settings.core.http.required],
    )
    if arguments.preflight and status == _DEGRADED:
        status = 0
    if arguments.json:
        probes = [finding.document() for finding in found]
        say_document({"status": status, "node": node, "probes": probes})
    else:
        say("\n".join(findings.text(node, found)))
    return status


def _status(all_of_them: list[str], required: list[str]) -> int:
    if "none" in required or not any(support != "none" for support in all_of_them):
        return _CANNOT_RUN
    return 0 if set(all_of_them) == {"full"} else _DEGRADED
