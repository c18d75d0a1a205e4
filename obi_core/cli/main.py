"""Command line → command → exit status. Every error ends here as one line.

Status: 0 ok, 1 environment, 2 configuration (also a wrong flag), 3 of `obi doctor`, 130 after a second SIGINT, 141 if
whoever read our output is gone.
"""

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Final, NoReturn, Protocol

from obi_core.cli.output import complain
from obi_core.errors import ConfigError, ObiError

COMMANDS: Final = {
    "run": "watch this machine until stopped",
    "plugins": "which probes are installed",
    "doctor": "what this node allows, probe by probe",
    "health": "whether the agent that runs here is alive, or ready",
    "programs": "which programs the agent that runs here has in the kernel, where, and what each costs",
    "maps": "which maps it has there, how full they are and what memory they take",
    "cardinality": "how many series the probes make, and which attribute costs what",
    "trace": "single packets, live, as the programs in the kernel print them",
    "config": "check the configuration, or explain where each value came from",
    "emit-known": "do a known number of things in this kernel, to count in a store what arrives",
    "test-export": "send one item over OTLP and say step by step what worked",
    "version": "version of OBI and of what it runs on",
}
"""Each is a module of this package with `add_arguments` and `run`, imported only when it is asked for."""
_INTERRUPTED: Final = 130
_NO_READER: Final = 141


class Command(Protocol):
    """What a command's module offers."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare its flags."""

    def run(self, arguments: argparse.Namespace) -> int:
        """Do it; gives the exit status."""


class Parser(argparse.ArgumentParser):
    """Raises what argparse would print over several lines."""

    def error(self, message: str) -> NoReturn:
        """Refuse the command line.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(f"{message}; `{self.prog} --help` lists what there is")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program.

    Args:
        argv: Arguments without the program's name; None: those of this process.

    Returns:
        The exit status.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if argv is None and words[:1] != ["run"]:
        _give_way()
    try:
        status = _dispatch(words)
        sys.stdout.flush()
    except ObiError as err:
        _show_trace(words)
        complain(str(err))
        return err.exit_status
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # The interpreter flushes once more at its end: give it something that takes all.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _NO_READER
    except Exception as err:  # noqa: BLE001 - the border: nobody above could show it better than this one line
        shown = _show_trace(words)
        hint = "" if shown else "; run it again with --log-level debug to see where"
        complain(f"unexpected {type(err).__name__}: {err}{hint}")
        return 1
    return status


def _give_way() -> None:
    """Have the kernel end this process first where a cgroup's memory is used up: it may stand in a pod beside the agent."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def _dispatch(words: Sequence[str]) -> int:
    parser = Parser(prog="obi", description="See what the kernel does, and for whom.", allow_abbrev=False)
    parser.add_argument("--version", action="store_true", help="show the version and end")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    asked = next((word for word in words if not word.startswith("-")), None)
    if asked is not None and asked not in COMMANDS:
        close = get_close_matches(asked, COMMANDS, n=1)
        raise ConfigError(
            f'no command "{asked}"; ' + (f'did you mean "{close[0]}"?' if close else f"known: {', '.join(COMMANDS)}")
        )
    for name, text in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=f"{text[:1].upper()}{text[1:]}.", allow_abbrev=False)
        if name == asked:
            _module(name).add_arguments(command)
    try:
        arguments = parser.parse_args(words)
    except SystemExit as end:
        # `--help` has printed and wants to end; errors come as ConfigError
        return int(end.code or 0)
    if arguments.version:
        return _module("version").run(argparse.Namespace(json=False))
    if asked is None:
        parser.error("a command is missing")
    return _module(asked).run(arguments)


def _module(name: str) -> Command:
    # import_module says ModuleType: that each module has the two functions is what a test checks
    module: Command = import_module(f"obi_core.cli.{name.replace('-', '_')}")
    return module


def _show_trace(words: Sequence[str]) -> bool:
    debug = "debug" in {*words, os.environ.get("OBI_AGENT__LOG_LEVEL")} or "--log-level=debug" in words
    if debug:
        traceback.print_exc()
    return debug
