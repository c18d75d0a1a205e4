"""What the node as a whole has and uses: memory, processes, file descriptors, tracked connections, pressure."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from obi_plugin_limits.catalogue import CONNTRACK, DESCRIPTORS, MEMORY, PROCESSES
from obi_plugin_limits.files import parse
from obi_plugin_limits.files.controllers import pressed
from obi_plugin_limits.files.figures import Figure, Level

_PRESSED: Final = ("cpu", "memory", "io")


class Node:
    """Reads /proc.

    Args:
        read: Gives a file's text by its path.
        proc: Where procfs is mounted.
    """

    def __init__(self, read: Callable[[str], str | None], proc: Path) -> None:
        self._read, self._proc = read, proc

    def memory(self) -> Iterator[Figure]:
        """All memory but what could be had at once."""
        if (text := self._text("meminfo")) is not None:
            figures = parse.keyed(text)
            total, available = figures["MemTotal"], figures["MemAvailable"]
            yield Level(MEMORY, (total - available) * 1024, total * 1024)

    def processes(self) -> Iterator[Figure]:
        """Threads of all processes: each needs a number, and the kernel has a limit of its own beside."""
        if (text := self._text("loadavg")) is None:
            return
        there = text.split()[3:4]
        _, slash, count = there[0].partition("/") if there else ("", "", "")
        limits = [self._text(f"sys/kernel/{name}") for name in ("threads-max", "pid_max")]
        numbers = [parse.number(each) for each in limits if each is not None]
        if slash and numbers:
            yield Level(PROCESSES, parse.number(count), min(numbers))

    def descriptors(self) -> Iterator[Figure]:
        """Open files of the whole node: what ENFILE is about."""
        if (text := self._text("sys/fs/file-nr")) is not None:
            allocated, unused, most = parse.numbers(text, 3)
            yield Level(DESCRIPTORS, allocated - unused, most if most < 1 << 62 else None)

    def tracked_connections(self) -> Iterator[Figure]:
        """Connections that netfilter follows, in this network namespace; nothing where it follows none."""
        count, most = (self._text(f"sys/net/netfilter/nf_conntrack_{name}") for name in ("count", "max"))
        if count is not None and most is not None:
            yield Level(CONNTRACK, parse.number(count), parse.number(most))

    def pressure(self) -> Iterator[Figure]:
        """Time in which processes of the node waited for a resource."""
        for resource in _PRESSED:
            if (text := self._text(f"pressure/{resource}")) is not None:
                yield from pressed(resource, text)

    def oom_kills(self) -> int:
        """OOM kills since boot, whoever the victims were."""
        text = self._text("vmstat")
        return parse.keyed(text).get("oom_kill", 0) if text is not None else 0

    def _text(self, name: str) -> str | None:
        return self._read(str(self._proc / name))
