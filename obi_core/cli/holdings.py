"""What a running agent has in the kernel, of its own: the documents of `obi programs` and `obi maps`, and their tables.

The agent reads it through its own descriptors, so it takes neither SYS_ADMIN nor bpftool; it looks about once a minute.
"""

import argparse
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from obi_core.cli.ask import add_address, ask
from obi_core.cli.output import say, say_document

CORE = "core"
"""Whose the programs are that note names for every probe."""
UNKNOWN = "-"


def programs(status: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every program, dearest first, with its cost.

    Args:
        status: The document of `/status`.
    """
    found = []
    for owner, section in _owners(status):
        costs = status.get("budgets", {}).get("probes", {}).get(owner, {}).get("programs", {})
        for program in section["programs"]:
            cost = costs.get(program["name"], {})
            cpus, runs = cost.get("cpus"), cost.get("runs_per_s")
            found.append(
                {
                    "probe": owner,
                    **program,
                    "cpus": cpus,
                    "runs_per_s": runs,
                    "ns_per_run": round(cpus * 1e9 / runs, 1) if cpus is not None and runs else None,
                }
            )
    return sorted(found, key=lambda each: (-(each["cpus"] or 0.0), each["probe"], each["name"]))


def maps(status: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every map, largest first."""
    found = [{"probe": owner, **each} for owner, section in _owners(status) for each in section["maps"]]
    return sorted(found, key=lambda each: (-each["memory_bytes"], each["probe"], each["name"]))


def program_lines(found: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Write programs for people."""
    yield from _table(
        ("program", "probe", "id", "hook", "attached", "insns", "runs/s", "ns/run", "cpu"),
        [
            (
                each["name"],
                each["probe"],
                str(each["id"]),
                _hook(each["section"], each["places"]),
                "yes" if each["attached"] else "no",
                str(each["instructions"] or UNKNOWN),
                _number(each["runs_per_s"], "{:.0f}"),
                _number(each["ns_per_run"], "{:.0f}"),
                _number(each["cpus"], "{:.3%}"),
            )
            for each in found
        ],
        left=4,
    )


def map_lines(found: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Write maps for people, and what they add up to."""
    from obi_core.settings import size_text

    yield from _table(
        ("map", "probe", "id", "kind", "key", "value", "entries", "full", "memory"),
        [
            (
                each["name"],
                each["probe"],
                str(each["id"]),
                each["kind"],
                str(each["key_bytes"]),
                str(each["value_bytes"]),
                str(each["max_entries"]),
                _number(each["fill"], "{:.1%}"),
                size_text(each["memory_bytes"]),
            )
            for each in found
        ],
        left=4,
    )
    yield f"{len(found)} maps, {size_text(sum(each['memory_bytes'] for each in found))}"


def _owners(status: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield CORE, status["identity"]
    yield from status["probes"].items()


def _hook(section: str, places: Sequence[str]) -> str:
    several = places[0] if len(places) == 1 else f"{len(places)} places"
    return f"{section} ({several})" if places else section


def _number(value: float | None, form: str) -> str:
    return UNKNOWN if value is None else form.format(value)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]], left: int) -> Iterator[str]:
    """Columns; the first ones are text, the others numbers."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in (head, *rows):
        cells = [
            text.ljust(width) if place < left else text.rjust(width)
            for place, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of both commands."""
    parser.add_argument(
        "--json", action="store_true", help="one JSON document; docs/reference/programs-and-maps.md has its schema"
    )
    add_address(parser)


def show(
    arguments: argparse.Namespace,
    what: str,
    held: Callable[[Any], list[dict[str, Any]]],
    lines: Callable[[list[dict[str, Any]]], Iterable[str]],
) -> int:
    """Ask the agent, and show what it holds.

    Raises:
        HostError: Nobody answers.
        ConfigError: The address is not one.
    """
    _, status = ask(arguments, "/status")
    found = held(status)
    if arguments.json:
        say_document({what: found})
    else:
        for line in lines(found):
            say(line)
    return 0
