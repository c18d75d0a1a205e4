"""`obi maps`: which maps the running agent has in the kernel, by its own descriptors; takes neither SYS_ADMIN nor bpftool."""

import argparse

from obi_core.cli.ask import add_address, ask
from obi_core.cli.holdings import map_lines, maps
from obi_core.cli.output import say, say_document


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `obi maps`."""
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
    found = maps(status)
    if arguments.json:
        say_document({"maps": found})
    else:
        for line in map_lines(found):
            say(line)
    return 0
