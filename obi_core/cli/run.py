"""`obi run`: watch this machine until SIGTERM or SIGINT."""

import argparse
import logging
import os
import signal
import sys
import threading
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
    from obi_core.runtime.node_labels import NodeLabels  # `obi --help` needs none of it
    from obi_core.settings.changes import FileChanges

    with _Signals() as signals:
        labels = NodeLabels(os.environ)
        settings = settings_of(arguments, RUN, labels=labels)
        files = FileChanges(directory_of(arguments))
        with logging_to(sys.stderr, settings.core.agent.log_level), located(settings):
            host = host_of(settings)
            if reason := ensure_tracefs(host):
                _log.warning(reason)
            from obi_core.cli.hopeless import refuse_if_hopeless  # `obi --help` needs none of it
            from obi_core.runtime.agent import Agent

            refuse_if_hopeless(settings, host)
            agent = Agent(
                settings,
                host,
                reread=lambda: settings_of(arguments, RUN, labels=labels),
                changed=lambda: files.settled() or labels.came(),
            )
            signals.stop_by(agent.stop)
            signals.reload_by(agent.reload)
            return agent.run()


class _Signals:
    """SIGTERM and the first SIGINT ask the agent to stop, also before it is made; a second SIGINT ends the program at once.

    SIGHUP asks it to read its configuration again; before it is made there is nothing to read again.

    Python runs a handler on the main thread alone, and a signal that comes just before that begins to wait is not seen until
    the wait is over. So a thread reads what C's handlers write to a pipe, and counts the interrupts.
    """

    def __init__(self) -> None:
        self._asked = False
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self._counter = threading.Thread(target=self._count, name="obi-signals", daemon=True)
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
        self._woken = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self._counter.start()
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._woken)
        os.close(self._write)
        self._counter.join()

    def _came(self, _number: int, _frame: FrameType | None) -> None:
        self._asked = True
        self._stop()

    def _count(self) -> None:
        interrupts = 0
        while numbers := os.read(self._read, 64):
            interrupts += numbers.count(signal.SIGINT)
            if interrupts > 1:
                # Somebody has waited long enough: no cleanup but the terminal's. The kernel frees all that is BPF.
                if sys.stdout.isatty():
                    os.write(sys.stdout.fileno(), LEAVE.encode())
                os._exit(_INTERRUPTED)
        os.close(self._read)
