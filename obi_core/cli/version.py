"""`obi version`: what runs here."""

import argparse
import platform

from obi_core.cli.output import say, say_document
from obi_core.host import Host


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `obi version`."""
    parser.add_argument("--json", action="store_true", help="one JSON document")


def run(arguments: argparse.Namespace) -> int:
    """Print the version."""
    from obi_core.identity.resource import agent_version  # `obi --help` needs no pydantic

    facts = {
        "obi": agent_version() or "not installed",
        "python": platform.python_version(),
        "kernel": Host().release(),
        "machine": platform.machine(),
    }
    if arguments.json:
        say_document(facts)
    else:
        say(f"obi {facts['obi']} (Python {facts['python']}, Linux {facts['kernel']} {facts['machine']})")
    return 0
