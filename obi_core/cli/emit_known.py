"""`obi emit-known`: does a known number of things in this kernel, so that what reaches a store can be counted against it."""

import argparse
import re
import secrets
from typing import TYPE_CHECKING, Final

from obi_core.cli.output import say, say_document
from obi_core.errors import ConfigError

if TYPE_CHECKING:
    from obi_core.cli.known import Done

_COUNTS: Final = {
    "connections": (23, 20_000, "TCP connections, made, accepted and closed"),
    "refused": (7, 1_000, "TCP connects that are refused; each makes a span"),
    "resets": (5, 1_000, "TCP connections that end with a reset; each makes log events"),
    "calls": (101, 1_000_000, "openat calls that fail with ENOENT"),
    "datagrams": (43, 1_000_000, "UDP datagrams, sent and received"),
    "size": (100, 1_400, "bytes in each datagram"),
}
"""Name → default, most, what it is."""
_RATE_MOST: Final = 1_000_000.0
_LONGEST_S: Final = 600.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `obi emit-known`."""
    for name, (usual, most, text) in _COUNTS.items():
        parser.add_argument(f"--{name}", metavar="N", default=str(usual), help=f"{text}; at most {most} (default: {usual})")
    parser.add_argument("--rate", metavar="N", default="0", help="of each kind per second at most (default: 0, no bound)")
    text = "up to 8 of a-z and 0-9, in the process's name (default: made up)"
    parser.add_argument("--run-id", metavar="ID", help=text)
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(arguments: argparse.Namespace) -> int:
    """Do it and say what was done.

    Raises:
        ConfigError: A number is out of its bounds, or the id is not one.
        HostError: It could not be done.
    """
    from obi_core.cli.known import LONGEST_ID, Plan, carry_out  # `obi --help` needs none of it

    run_id = secrets.token_hex(LONGEST_ID // 2) if arguments.run_id is None else arguments.run_id
    if not re.fullmatch(rf"[a-z0-9]{{1,{LONGEST_ID}}}", run_id):
        raise ConfigError(f"--run-id: {run_id!r} is not allowed; it must be 1 to {LONGEST_ID} of a-z and 0-9")
    counts = {name: _count(name, getattr(arguments, name), most) for name, (_, most, _) in _COUNTS.items()}
    plan = Plan(**counts, rate=_rate(arguments.rate))
    if plan.seconds() > _LONGEST_S:
        raise ConfigError(f"that takes {plan.seconds():.0f} s, and at most {_LONGEST_S:.0f} s are allowed; ask for less of it")
    done = carry_out(plan, run_id)
    if arguments.json:
        say_document(done.document())
    else:
        say("\n".join(lines(done)))
    return 0


def lines(done: "Done") -> list[str]:
    """One line for each kind of thing that was done, then how to find it."""
    plan = done.plan
    kinds = (
        (plan.connections, "connections", "made, accepted, closed"),
        (plan.refused, "refused", "connects that nobody listened for"),
        (plan.resets, "resets", "connections that their client reset"),
        (plan.calls, "calls", "openat, ENOENT"),
        (plan.datagrams, "datagrams", f"of {plan.size} bytes, sent and received"),
    )
    end = f"by process {done.process} in {done.ended_s - done.began_s:.3f} s"
    return [*(f"{name} {count}: {text}" for count, name, text in kinds if count), end]


def _count(name: str, text: str, most: int) -> int:
    if text.isascii() and text.isdecimal() and int(text) <= most:
        return int(text)
    raise ConfigError(f"--{name}: {text!r} is not allowed; it must be a whole number from 0 to {most}")


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = -1.0
    if 0 <= rate <= _RATE_MOST:
        return rate
    raise ConfigError(f"--rate: {text!r} is not allowed; it must be a number from 0 to {_RATE_MOST:.0f}")
