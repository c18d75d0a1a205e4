"""`obi programs`: which programs the running agent has in the kernel, by its own descriptors; no SYS_ADMIN, no bpftool."""

import argparse

from obi_core.cli.holdings import add_flags, program_lines, programs, show


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `obi programs`."""
    add_flags(parser)


def run(arguments: argparse.Namespace) -> int:
    """Ask the agent, and show them; see `holdings.show`."""
    return show(arguments, "programs", programs, program_lines)
