"""`obi trace`: what the probes' programs print of single packets, live, for a while.

The programs are loaded a second time, beside an agent that may be running, with the probe's setting `trace` on; they go with
the command. In the agent's own programs the switch is fixed at load, and off it costs nothing.
"""

import argparse
import logging
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Final

from obi_core.cli.logs import logging_to
from obi_core.cli.options import LOOK, add_settings, located, settings_of
from obi_core.cli.output import say
from obi_core.cli.tracefs import ensure_tracefs
from obi_core.errors import ConfigError, HostError
from obi_core.host import Host

if TYPE_CHECKING:
    from obi_core.probe import Probe
    from obi_core.settings import ProbeSettings, Settings

SWITCH: Final = "trace"
"""Setting of a probe whose programs can print: `off` or `sampled`."""
_FOR: Final = "30s"

_log: Final = logging.getLogger("obi.cli")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `obi trace`."""
    parser.add_argument("--for", dest="time", metavar="TIME", default=_FOR, help=f"how long, such as 5m (default: {_FOR})")
    text = "a setting, such as network.trace_every=1; may be given again"
    parser.add_argument("--set", dest="set", metavar="KEY=VALUE", action="append", default=[], help=text)
    add_settings(parser, LOOK)


def run(arguments: argparse.Namespace) -> int:
    """Show what is printed until the time is over or Ctrl-C.

    Raises:
        ConfigError: A setting is wrong, or no probe that is listed can trace.
        HostError: Tracing is not possible here.
    """
    from obi_core.kernel.tracepipe import trace_pipe  # `obi --help` needs none of it

    time_s = _seconds(arguments.time)
    settings = settings_of(arguments, LOOK, dict(_given(each) for each in arguments.set))
    host = Host()
    with ExitStack() as open_, _asked_to_stop() as stopped:
        open_.enter_context(logging_to(sys.stderr, settings.core.agent.log_level))
        open_.enter_context(located(settings))
        tracing = list(_tracing(settings))
        problem = ensure_tracefs(host)
        tracefs = host.tracefs()
        if tracefs is None:
            raise HostError(problem or "tracefs is not mounted: mount -t tracefs tracefs /sys/kernel/tracing")
        pipe = open_.enter_context(trace_pipe(tracefs))
        for probe, own in tracing:
            open_.callback(_started(probe, own, settings, host).detach)
        for line in pipe.lines(time.monotonic() + time_s, stopped):
            say(line)
            sys.stdout.flush()
    return 0


def _seconds(text: str) -> float:
    from pydantic import TypeAdapter, ValidationError

    from obi_core.settings import Seconds

    try:
        time_s: float = TypeAdapter(Seconds).validate_python(text)
    except ValidationError as error:
        message = f"--for: {text!r} is not allowed; it must be a time up to 7 days, such as 30s or 5m"
        raise ConfigError(message) from error
    return time_s


def _given(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or "." not in key:
        raise ConfigError(f"--set: {text!r} is not allowed; it must be SECTION.KEY=VALUE")
    return key, value


def _tracing(settings: "Settings") -> Iterator[tuple[type["Probe"], "ProbeSettings"]]:
    """Give the listed probes that have the switch, each with its settings and the switch on."""
    from obi_core.runtime.registry import discover

    probes = [plugin.probe for plugin in discover(settings.core.agent.plugins) if plugin.probe is not None]
    found = [probe for probe in probes if SWITCH in probe.settings_type.model_fields]
    if not found:
        named = ", ".join(probe.name for probe in probes) or "none"
        message = f"no listed probe can trace (listed: {named}); list one that can, such as network"
        raise ConfigError(message, key="agent.plugins")
    for probe in found:
        own = settings.probe(probe.name, probe.settings_type)
        yield probe, probe.settings_type.model_validate({**own.model_dump(), SWITCH: "sampled"})


def _started(probe: type["Probe"], own: "ProbeSettings", settings: "Settings", host: Host) -> "Probe":
    """Load and attach in the best mode that has programs."""
    from obi_core.kernel.libbpf import LibbpfLoader
    from obi_core.kernel.node import node_constants
    from obi_core.runtime.attempt import begin

    loader = LibbpfLoader(host, node_constants(host))
    refused: list[str] = []
    for mode in probe.modes_for(own):
        if not mode.programs:
            continue
        made = probe(own)
        attempt = begin(made, mode, loader, host, budgets=settings.core.budgets)
        if attempt.ok:
            _log.info("probe %s traces in mode %s", probe.name, mode.name)
            return made
        refused.append(f"{mode.name}: {attempt.detail}")
    raise HostError(f"probe {probe.name} cannot trace here: {'; '.join(refused)}")


@contextmanager
def _asked_to_stop() -> Iterator[Callable[[], bool]]:
    asked = False

    def came(_number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        asked = True

    before = {number: signal.signal(number, came) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
