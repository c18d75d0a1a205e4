"""What programs print with `bpf_trace_printk`, read from a trace buffer of our own: no other reader loses a line by it."""

import os
import select
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from obi_core.errors import HostError

_EVENT: Final = "events/bpf_trace/bpf_trace_printk/enable"
_MARK: Final = " bpf_trace_printk: "
_CHUNK: Final = 1 << 16
_WAIT_S: Final = 0.2


class TracePipe:
    """Lines of a trace buffer.

    Args:
        path: `trace_pipe` of tracefs, or of an instance in it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def lines(self, until: float, stopped: Callable[[], bool] = lambda: False) -> Iterator[str]:
        """Yield what programs print, without the task and the time before it, as it comes.

        Args:
            until: When to end; s, monotonic clock.
            stopped: Asked several times a second whether to end before.
        """
        fd: int = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        rest = ""
        try:
            while (left := until - time.monotonic()) > 0 and not stopped():
                if not select.select([fd], [], [], min(left, _WAIT_S))[0]:
                    continue
                *whole, rest = (rest + _read(fd)).split("\n")
                for line in whole:
                    _, mark, text = line.partition(_MARK)
                    if mark:
                        yield text.rstrip()
        finally:
            os.close(fd)


def _read(fd: int) -> str:
    try:
        return os.read(fd, _CHUNK).decode(errors="replace")
    except BlockingIOError:
        return ""


@contextmanager
def trace_pipe(tracefs: Path) -> Iterator[TracePipe]:
    """Open a buffer that only what programs print comes into; it goes with the block.

    Before Linux 5.9 there is no such event and all that is printed goes to the one buffer of the machine: that is read then.

    Raises:
        HostError: tracefs lets us make no buffer.
    """
    instance = tracefs / "instances" / f"obi-{os.getpid()}"
    if not (tracefs / _EVENT).exists():
        yield TracePipe(tracefs / "trace_pipe")
        return
    try:
        instance.mkdir()
    except OSError as error:
        raise HostError(f"a trace buffer cannot be made at {instance} ({error.strerror}): run it as root") from error
    try:
        (instance / _EVENT).write_text("1")
        yield TracePipe(instance / "trace_pipe")
    finally:
        with suppress(OSError):
            (instance / _EVENT).write_text("0")
        instance.rmdir()
