"""Keys that a person presses while a table is shown."""

import os
import select
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

_LFLAGS: Final = 3
_CC: Final = 6
"""Places in what `tcgetattr` gives: local modes, control characters."""


class Keys:
    """Reads single keys from a terminal, without echo; Ctrl-C and Ctrl-Z do what they always do.

    Args:
        fd: Standard input.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._taken = False

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Get keys as they are pressed, for as long as this is entered; where that is not possible there are none."""
        before = None
        with suppress(termios.error):
            if self._ours():
                before = termios.tcgetattr(self._fd)
                raw = termios.tcgetattr(self._fd)
                raw[_LFLAGS] &= ~(termios.ICANON | termios.ECHO)
                raw[_CC][termios.VMIN], raw[_CC][termios.VTIME] = 0, 0
                termios.tcsetattr(self._fd, termios.TCSANOW, raw)
                self._taken = True
        try:
            yield
        finally:
            self._taken = False
            if before is not None:
                with suppress(termios.error):
                    termios.tcsetattr(self._fd, termios.TCSANOW, before)

    def pressed(self, timeout_s: float) -> str:
        """Wait for keys; what was pressed, empty if nothing was."""
        if not self._taken or not select.select([self._fd], [], [], timeout_s)[0] or not self._ours():
            return ""
        try:
            return os.read(self._fd, 64).decode(errors="replace")
        except OSError:
            return ""

    @property
    def there(self) -> bool:
        """Whether keys can come now."""
        return self._taken

    def _ours(self) -> bool:
        # Who reads from the terminal of a job in the foreground, while being in the background, is stopped.
        try:
            return os.tcgetpgrp(self._fd) == os.getpgrp()
        except OSError:
            return False
