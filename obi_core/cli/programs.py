"""`obi programs`: which programs the running agent has in the kernel, by its own descriptors; no SYS_ADMIN, no bpftool."""

import argparse

from obi_core.cli.ask import add_address, ask
from obi_core.cli.holdings import program_lines, programs
from obi_core.cli.output import say, say_document


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `obi programs`."""
    parser.add_argument(
        "--json", action="store_true", help="one JSON document; docs/reference/programs-and-maps.md has its schema"
    )
    add_address(parser)


def run(arguments: argparse.Namespace) -> int:
    """Ask the agent, and show them.

    Raises:
        HostError: Nobody answers.
        ConfigError: The address is not one.
    """
    _, status = ask(arguments, "/status")
    found = programs(status)
    if arguments.json:
        say_document({"programs": found})
    else:
        for line in program_lines(found):
            say(line)
    return 0
