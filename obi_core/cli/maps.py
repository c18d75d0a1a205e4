"""`obi maps`: which maps the running agent has in the kernel, by its own descriptors; takes neither SYS_ADMIN nor bpftool."""

import argparse

from obi_core.cli.holdings import add_flags, map_lines, maps, show


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `obi maps`."""
    add_flags(parser)


def run(arguments: argparse.Namespace) -> int:
    """Ask the agent, and show them; see `holdings.show`."""
    return show(arguments, "maps", maps, map_lines)
