"""`obi doctor`: which mode of which probe this node allows, found by trying, and then undone.

Status: 0 all probes run in full, 1 some are degraded or cannot run, 3 a required probe (section `http`, key `required`)
cannot run or none can, 2 configuration. With `--preflight`, for init containers, 1 becomes 0.
"""

import argparse
import os
import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Final

from obi_core.cli.logs import logging_to
from obi_core.cli.options import LOOK_INTO, add_settings, host_of, located, settings_of
from obi_core.cli.output import as_document, say
from obi_core.cli.tracefs import tracefs_meanwhile

if TYPE_CHECKING:
    from obi_core.settings import Settings

EMITS: Final = ("security-context", "capabilities", "mounts")
_DEGRADED: Final = 1
_CANNOT_RUN: Final = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `obi doctor`."""
    parser.add_argument("--json", action="store_true", help="one JSON document; docs/reference/doctor.md has its schema")
    parser.add_argument("--preflight", action="store_true", help="for init containers: degraded is good enough (status 0)")
    parser.add_argument("--emit", choices=EMITS, help="print the least that the enabled plugins need, for a manifest, and end")
    add_settings(parser, LOOK_INTO)


def run(arguments: argparse.Namespace) -> int:
    """Examine this node.

    Raises:
        ConfigError: A setting is wrong.
    """
    settings = settings_of(arguments, LOOK_INTO)
    # what a plugin prints must not get between the lines of the result
    with logging_to(sys.stderr, settings.core.agent.log_level), located(settings), redirect_stdout(sys.stderr):
        status, output = (0, _emitted(settings, arguments.emit)) if arguments.emit else _examined(settings, arguments)
    say(output)
    return status


def _emitted(settings: "Settings", what: str) -> str:
    from obi_core.cli.doctor import emit  # `obi --help` needs none of it

    return "\n".join(emit.emitted(what, emit.needed(settings)))


def _examined(settings: "Settings", arguments: argparse.Namespace) -> tuple[int, str]:
    """Exit status, and what to print."""
    from obi_core.cli.doctor import document, findings, neighbours, text  # as above
    from obi_core.cli.doctor.advice import advise
    from obi_core.cli.doctor.verdict import verdict
    from obi_core.kernel.census import installed

    host = host_of(settings)
    programs = installed()
    with tracefs_meanwhile(host) as problem:
        found = findings.examine(settings, host)
        facts = document.node(host, problem)
    ours = frozenset[str]().union(*(finding.programs for finding in found))
    others = neighbours.neighbours(host, programs, ours)
    ports = neighbours.ports(settings, host)
    advice = advise(facts, others, ports)
    status = _status(
        [finding.support for finding in found],
        [finding.support for finding in found if finding.name in settings.core.http.required],
    )
    if arguments.preflight and status == _DEGRADED:
        status = 0
    if arguments.json:
        return status, as_document(document.document(status, facts, found, others, ports, advice))
    # of the real one: this one is redirected
    colour = sys.__stdout__ is not None and sys.__stdout__.isatty() and not os.environ.get("NO_COLOR")
    lines = [*text.text(facts, found, others, advice, text.Paint(on=colour))]
    if arguments.preflight and status:
        lines.append(verdict(found, settings.core.http.required))
    return status, "\n".join(lines)


def _status(all_of_them: list[str], required: list[str]) -> int:
    if "none" in required or not any(support != "none" for support in all_of_them):
        return _CANNOT_RUN
    return 0 if set(all_of_them) == {"full"} else _DEGRADED
