"""What `obi run` shows without any backend: a live table on a terminal, one line per interval elsewhere."""

import logging
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from threading import Event, Thread
from typing import ClassVar, Final, Literal, Self, TextIO

from obi_core.settings import CoreSettings
from obi_core.sink import Sink, Source
from obi_core.sinks.cells import clean, fit
from obi_core.sinks.keys import Keys
from obi_core.sinks.layout import lay_out
from obi_core.sinks.pages import Pages, count_of, stacked
from obi_core.sinks.screen import HeldLog, Screen
from obi_core.sinks.summary import Summary, headline

_REDRAW_S: Final = 1.0
_HEAD_EVERY: Final = 5
_KEY_S: Final = 0.2
"""How long a key may go unnoticed, and the end of the agent while one is waited for."""

_log = logging.getLogger(__name__)


class TerminalSink(Sink):
    """Shows what the bus knows on standard output.

    Args:
        stream: Standard output.
        form: A table that is redrawn each second, or a line each interval.
        interval_s: Time between two lines, s; the table only names it.
        resource: Attributes of this agent.
        views: Names of views, the first above; those not named follow.
        keys: What a person presses; None: nobody can.
        redraw_s: Time between two drawings of the table, s.
    """

    name: ClassVar[str] = "local"
    sections: ClassVar[tuple[str, ...] | None] = ("agent", "metrics", "http", "otlp")

    def __init__(
        self,
        stream: TextIO,
        form: Literal["table", "lines"],
        interval_s: float,
        resource: Mapping[str, str],
        *,
        views: Sequence[str] = (),
        keys: Keys | None = None,
        redraw_s: float = _REDRAW_S,
    ) -> None:
        self._stream, self._form, self._interval_s, self._resource = stream, form, interval_s, resource
        self._pages, self._keys, self._redraw_s = Pages(views), keys, redraw_s
        self._ended = Event()
        self._asked: Event | None = None
        self._wake = Event()
        self._thread: Thread | None = None

    @classmethod
    def create(cls, settings: CoreSettings, resource: Mapping[str, str]) -> Self | None:
        """Make the sink unless `agent.view` is off; `auto` is a table where standard output is a terminal."""
        view = settings.agent.view
        if view == "off":
            return None
        if view == "auto":
            view = "table" if sys.stdout.isatty() and os.environ.get("TERM") != "dumb" else "lines"
        keys = Keys(sys.stdin.fileno()) if view == "table" and sys.stdin is not None and sys.stdin.isatty() else None
        return cls(sys.stdout, view, settings.agent.interval_s, resource, views=settings.agent.views, keys=keys)

    def start(self, source: Source) -> None:
        """Begin to show."""
        target = self._show_table if self._form == "table" else self._show_lines
        self._thread = Thread(target=self._guarded, args=(target, source), name="obi-terminal", daemon=True)
        self._thread.start()

    def flush(self, deadline_s: float) -> None:
        """Write the last line, so that all lines together tell everything."""
        if self._form == "lines" and self._thread is not None and self._thread.is_alive():
            done = self._asked = Event()
            self._wake.set()
            done.wait(deadline_s)

    def stop(self) -> None:
        """End, with the terminal as it was."""
        self._ended.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(2.0)

    def _guarded(self, show: Callable[[Source], None], source: Source) -> None:
        try:
            show(source)
        except OSError as error:
            # `obi run | head` closes the pipe: there is nobody left to show anything to, the agent goes on.
            _log.info("nothing more is shown: standard output is gone (%s)", error.strerror)
        finally:
            if self._asked is not None:
                self._asked.set()

    def _show_lines(self, source: Source) -> None:
        summary = Summary()
        due = time.monotonic() + self._interval_s
        while not self._ended.is_set():
            self._wake.wait(max(0.0, due - time.monotonic()))
            asked = self._asked
            if self._ended.is_set() and asked is None:
                return
            self._wake.clear()
            due = max(due + self._interval_s, time.monotonic())
            line = summary.line(source.metrics())
            self._stream.write(f"{time.strftime('%H:%M:%S')} {line or 'no probe has anything to tell'}\n")
            self._stream.flush()
            if asked is not None:
                asked.set()
                return

    def _show_table(self, source: Source) -> None:
        screen, log, turn, head = Screen(self._stream), HeldLog(), 0, ""
        subscribed: dict[str, Callable[[], None]] = {}
        with ExitStack() as taken:
            taken.enter_context(log.holding())
            if self._keys is not None:
                taken.enter_context(self._keys.taken())
            taken.enter_context(screen.taken())
            taken.callback(lambda: [end() for end in subscribed.values()])
            while not self._ended.is_set():
                self._pages.offer([each.name for each in source.views()])
                _follow(source, subscribed, self._pages.shown)
                # Often at first, while probes start.
                if turn < _HEAD_EVERY or turn % _HEAD_EVERY == 0:
                    head = headline(self._resource, self._interval_s, source.metrics(), "")
                turn += 1
                self._draw(screen, source, head, log.last)
                self._pause()

    def _pause(self) -> None:
        """Wait until the table is to be drawn again: in a while, or at once when a key is pressed."""
        if self._keys is None or not self._keys.there:
            self._ended.wait(self._redraw_s)
            return
        until = time.monotonic() + self._redraw_s
        while (left := until - time.monotonic()) > 0 and not self._ended.is_set():
            if pressed := self._keys.pressed(min(left, _KEY_S)):
                self._pages.press(pressed)
                return

    def _draw(self, screen: Screen, source: Source, head: str, said: str) -> None:
        width, height = screen.size()
        bottom = [fit(clean(said), width)] if said else []
        if self._keys is not None and self._keys.there and (hint := self._pages.hint()):
            bottom.append(fit(hint, width))
        room = height - 1 - len(bottom)
        tables = {name: source.table(name) for name in self._pages.shown}
        bold = {0, 1}
        if len(tables) > 1:
            lines, titles = stacked(tables, width, room)
            bold = {0, *(1 + at for at in titles)}
        elif (table := next(iter(tables.values()), None)) is None:
            lines = [fit("waiting for the first collection" if tables else "no probe offers a table yet", width)]
        else:
            lines = lay_out(table, width, room)
            head = f"{head} · {count_of(next(iter(tables)), table, len(lines) - 1)}"
            if not table.rows:
                lines.append(fit(f"none now: {clean(table.view.description)}", width))
        screen.draw([fit(head, width), *lines[: max(0, room)], *bottom][:height], bold)


def _follow(source: Source, subscribed: dict[str, Callable[[], None]], shown: Sequence[str]) -> None:
    """Subscribe to what is shown and to nothing else: rows that nobody looks at are not read."""
    for name in [name for name in subscribed if name not in shown]:
        subscribed.pop(name)()
    for name in shown:
        if name not in subscribed:
            subscribed[name] = source.subscribe(name)
