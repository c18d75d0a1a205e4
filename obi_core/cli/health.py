"""`obi health`: ask a running agent on this machine how it is; for exec probes, in images without curl."""

import argparse
import json

from obi_core.cli.ask import add_address, ask
from obi_core.cli.output import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `obi health`."""
    parser.add_argument("--ready", action="store_true", help="ask whether it is ready, not only whether it is alive")
    parser.add_argument("--json", action="store_true", help="show the whole answer")
    add_address(parser)


def run(arguments: argparse.Namespace) -> int:
    """Ask once: 0 if the answer is yes, 1 if it is no.

    Raises:
        HostError: Nobody answers.
        ConfigError: The address is not one.
    """
    yes, answer = ask(arguments, "/ready" if arguments.ready else "/health")
    say(json.dumps(answer) if arguments.json else _words(answer, yes=yes, ready=arguments.ready))
    return 0 if yes else 1


def _words(answer: dict[str, object], *, yes: bool, ready: bool) -> str:
    if not ready:
        return "alive" if yes else f"stuck: its loop has not turned for {answer.get('loop_age_s', '?')} s"
    probes = answer.get("probes")
    states = (
        [f"{name} {probe['state']} ({probe['reason']})" for name, probe in probes.items()] if isinstance(probes, dict) else []
    )
    return ": ".join(filter(None, ("ready" if yes else "not ready", ", ".join(states))))
