"""`obi run`: watch this machine until SIGTERM or SIGINT."""

import argparse
import logging
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Final, Self

from obi_core.cli.logs import logging_to
from obi_core.cli.options import RUN, add_settings, directory_of, host_of, located, settings_of
from obi_core.cli.tracefs import ensure_tracefs
from obi_core.sinks.screen import LEAVE

_INTERRUPTED: Final = 130

_log: Final = logging.getLogger("obi.cli")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `obi run`."""
    add_settings(parser, RUN)


def run(arguments: argparse.Namespace) -> int:
    """Run the agent until it is told to stop.

    Raises:
        ConfigError: A setting is wrong.
        HostError: No probe can run here, or a port is taken.
    """
    from obi_core.settings.changes import FileChanges  # `obi --help` needs none of it

    with _Signals() as signals:
        settings = settings_of(arguments, RUN)
        files = FileChanges(directory_of(arguments))
        with logging_to(sys.stderr, settings.core.agent.log_level), located(settings):
            host = host_of(settings)
            if reason := ensure_tracefs(host):
                _log.warning(reason)
            from obi_core.cli.hopeless import refuse_if_hopeless  # `obi --help` needs none of it
            from obi_core.runtime.agent import Agent

            refuse_if_hopeless(settings, host)
            agent = Agent(settings, host, reread=lambda: settings_of(arguments, RUN), changed=files.settled)
            signals.stop_by(agent.stop)
            signals.reload_by(agent.reload)
            return agent.run()


class _Signals:
    """SIGTERM and the first SIGINT ask the agent to stop, also before it is made; a second SIGINT ends the program at once.

    SIGHUP asks it to read its configuration again; before it is made there is nothing to read again.
    """

    def __init__(self) -> None:
        self._asked = False
        self._interrupts = 0
        self._stop: Callable[[], object] = lambda: None
        self._reload: Callable[[], object] = lambda: None
        self._before: dict[int, Callable[[int, FrameType | None], object] | int | None] = {}

    def stop_by(self, stop: Callable[[], object]) -> None:
        """From now on call `stop`; at once, if a signal came before."""
        self._stop = stop
        if self._asked:
            stop()

    def reload_by(self, reload: Callable[[], object]) -> None:
        """On SIGHUP, from now on, call `reload`."""
        self._reload = reload

    def __enter__(self) -> Self:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._came)
        self._before[signal.SIGHUP] = signal.signal(signal.SIGHUP, lambda *_: self._reload())
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _came(self, number: int, _: FrameType | None) -> None:
        self._asked = True
        self._interrupts += number == signal.SIGINT
        if self._interrupts > 1:
            # Somebody has waited long enough: no cleanup but the terminal's. The kernel frees all that is BPF.
            if sys.stdout.isatty():
                os.write(sys.stdout.fileno(), LEAVE.encode())
            os._exit(_INTERRUPTED)
        self._stop()
