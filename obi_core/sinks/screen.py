"""The terminal while a table is on it: its other screen, redrawn in place, and everything as before afterwards."""

import logging
import os
import sys
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from io import TextIOBase
from typing import Final, TextIO

ENTER: Final = "\x1b[?1049h\x1b[?25l\x1b[?7l"
"""Other screen, no cursor, no wrapping."""
LEAVE: Final = "\x1b[?7h\x1b[?25h\x1b[?1049l"
"""Undo `ENTER`; harmless where it was not entered."""
_HELD_LINES: Final = 200


class Screen:
    """A terminal to draw on.

    Args:
        stream: Text stream to the terminal.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def size(self) -> tuple[int, int]:
        """Give width and height as they are now; 80 by 24 if nobody knows."""
        try:
            size = os.get_terminal_size(self._stream.fileno())
        except (OSError, ValueError):
            return 80, 24
        return (size.columns or 80, size.lines or 24)

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Show the other screen for as long as this is entered."""
        self._write(ENTER)
        try:
            yield
        finally:
            self._write(LEAVE)

    def draw(self, lines: Sequence[str], bold: Collection[int]) -> None:
        """Replace what is shown, in one write so that nothing flickers.

        Args:
            lines: From the top; none may be wider than the terminal.
            bold: Lines that are bold, from 0.
        """
        styled = [f"\x1b[1m{line}\x1b[0m" if at in bold else line for at, line in enumerate(lines)]
        self._write("\x1b[H" + "\x1b[K\r\n".join(styled) + "\x1b[K\x1b[J")

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


class HeldLog(TextIOBase):
    """Log lines that come while a table is shown on the same terminal: the last is shown, all follow afterwards."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=_HELD_LINES)

    @property
    def last(self) -> str:
        """The newest line, empty if there is none."""
        return self._lines[-1] if self._lines else ""

    def write(self, text: str) -> int:
        """Keep the lines of `text`; only the newest are kept."""
        self._lines.extend(line for line in text.splitlines() if line)
        return len(text)

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Hold back what logging writes to a terminal's standard error."""
        loggers = [logging.getLogger(), *(logging.getLogger(name) for name in list(logging.root.manager.loggerDict))]
        found = {id(handler): handler for logger in loggers for handler in logger.handlers}
        held = [
            (handler, handler.stream)
            for handler in found.values()
            if isinstance(handler, logging.StreamHandler) and handler.stream is sys.stderr and sys.stderr.isatty()
        ]
        for handler, _ in held:
            handler.setStream(self)
        try:
            yield
        finally:
            for handler, stream in held:
                handler.setStream(stream)
                stream.writelines(f"{line}\n" for line in self._lines)
                stream.flush()
