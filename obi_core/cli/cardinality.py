"""`obi cardinality`: how many series there would be, and which attribute costs what; nothing is exported.

The listed probes run in this process, beside an agent that may be running, with the configured attribute rules, and go with
the command.
"""

import argparse
import sys
from typing import TYPE_CHECKING, Final

from obi_core.cli.logs import logging_to
from obi_core.cli.options import LOOK, add_settings, host_of, located, settings_of
from obi_core.cli.output import say, say_document
from obi_core.errors import ConfigError

if TYPE_CHECKING:
    from obi_core.bus.cardinality import MetricCost

_FOR: Final = "30s"
_MOST: Final = "100000"
"""Series of one metric that are told apart."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `obi cardinality`."""
    parser.add_argument("--for", dest="time", metavar="TIME", default=_FOR, help=f"how long to count (default: {_FOR})")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    add_settings(parser, LOOK)


def run(arguments: argparse.Namespace) -> int:
    """Run the probes for a while and show what they made.

    Raises:
        ConfigError: A setting is wrong.
        HostError: No probe can run here.
    """
    time_s = _seconds(arguments.time)
    quiet = {
        "metrics.enabled": "false",
        "metrics.series_limit": _MOST,
        "agent.view": "off",
        "agent.reload": "off",
        "http.listen": "127.0.0.1:0",
    }
    settings = settings_of(arguments, LOOK, quiet)
    with logging_to(sys.stderr, settings.core.agent.log_level), located(settings):
        from obi_core.bus.cardinality import cardinality  # `obi --help` needs none of it
        from obi_core.runtime.agent import Agent

        agent = Agent(settings, host_of(settings), exporting=False)
        costs = cardinality(agent.sit(time_s))
    if arguments.json:
        say_document({"seconds": time_s, "metrics": [_document(cost) for cost in costs]})
    else:
        say("\n".join(lines(costs, settings.core.metrics.series_limit)))
    return 0


def lines(costs: list["MetricCost"], most: int) -> list[str]:
    """Write the result for people."""
    if not costs:
        return ["no series: nothing happened that the listed probes count"]
    text = [f"{sum(cost.series for cost in costs)} series of {len(costs)} metrics"]
    for cost in costs:
        more = f" and more: only {most} are told apart" if cost.overflowed else ""
        text += ["", f"{cost.name}: {cost.series} series{more}"]
        width = max((len(each.name) for each in cost.attributes), default=0)
        for each in cost.attributes:
            spared = cost.series - each.without
            share = f"{spared / cost.series:4.0%} fewer" if spared else "costs nothing"
            text.append(f"  {each.name:{width}}  {each.values:6} values  {each.without:6} series without it, {share}")
    dearest = [(cost, cost.attributes[0]) for cost in costs if cost.attributes and cost.attributes[0].without < cost.series]
    if dearest:
        cost, attribute = max(dearest, key=lambda pair: pair[0].series - pair[1].without)
        text += ["", f"To spare {cost.series - attribute.without} series of {cost.name}:", "", "metrics:", "  attributes:"]
        text += [f"    {cost.name}:", f'      deny: ["{attribute.name}"]']
    return text


def _document(cost: "MetricCost") -> dict[str, object]:
    attributes = [{"name": each.name, "values": each.values, "series_without": each.without} for each in cost.attributes]
    return {"name": cost.name, "series": cost.series, "overflowed": cost.overflowed, "attributes": attributes}


def _seconds(text: str) -> float:
    from pydantic import TypeAdapter, ValidationError

    from obi_core.settings import Seconds

    try:
        time_s: float = TypeAdapter(Seconds).validate_python(text)
    except ValidationError as error:
        message = f"--for: {text!r} is not allowed; it must be a time up to 7 days, such as 30s or 5m"
        raise ConfigError(message) from error
    return time_s
