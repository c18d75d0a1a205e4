"""Finds the probe that leaves file descriptors open, before the agent has none left for anybody."""

import logging
import resource
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Final, Protocol, Self

from obi_core.host import Host
from obi_core.runtime.orders import GiveUp, Order

_COLLECTIONS: Final = 16
"""Collections that are looked back on: what a probe keeps open from its start is not held against it for ever."""
_FEWEST: Final = 16
"""Descriptors left open lately that nobody is held to account for."""
_SHARE: Final = 0.75
"""Part of the process's own limit that we go to."""

_log: Final = logging.getLogger("obi.probe")


def open_descriptors(host: Host) -> int:
    """Number of descriptors that this process has open; 0 if that cannot be read."""
    folder = host.proc / "self/fd"
    try:
        # Since Linux 6.2 (commit f1f1f2569901, "proc: report open files as size in stat() for /proc/pid/fd").
        return folder.stat().st_size or sum(1 for _ in folder.iterdir())
    except OSError:
        return 0


class LeftOpen:
    """What the collections of one probe leave open, counted around each of them on its own thread.

    Args:
        count: Descriptors of this process.

    Gaps: the kernel keeps one table for all threads, so what another thread opens meanwhile is counted along; it closes that
    again, in the long run, and a leak only grows.
    """

    def __init__(self, count: Callable[[], int]) -> None:
        self._count = count
        self._lately: deque[int] = deque(maxlen=_COLLECTIONS)
        self.total = 0
        """Since the probe's worker began."""

    @property
    def lately(self) -> int:
        """In the last collections."""
        return sum(tuple(self._lately))

    @contextmanager
    def around(self) -> Iterator[None]:
        """Count around a collection; one that raises has left open what it has left open."""
        before = self._count()
        try:
            yield
        finally:
            grown = self._count() - before
            self._lately.append(grown)
            self.total += grown


class Leaving(Protocol):
    """What the guard asks of a runner."""

    name: str

    @property
    def left_open(self) -> int:
        """Descriptors that its last collections have left open; 0 if it does not run."""

    def order(self, order: Order) -> None:
        """Ask its worker for something."""


class LeakGuard:
    """Has the probe given up that leaves most open, once the agent has too many descriptors. On the agent's thread.

    Args:
        limit: Descriptors that the agent may have open; the process's own limit counts where it is lower.
        count: Descriptors of this process.
        own_limit: The process's own.
    """

    def __init__(
        self,
        limit: int,
        count: Callable[[], int],
        own_limit: Callable[[], int] = lambda: resource.getrlimit(resource.RLIMIT_NOFILE)[0],
    ) -> None:
        self.limit, self._count, self._own_limit = limit, count, own_limit
        self._told = False

    @classmethod
    def on(cls, host: Host) -> Self:
        """Watch this process."""
        return cls(0, partial(open_descriptors, host))

    def check(self, runners: Sequence[Leaving]) -> None:
        """Look; to be called about once a second."""
        number, own = self._count(), self._own_limit()
        allowed = self.limit if own < 0 else min(self.limit, int(_SHARE * own))
        if number <= allowed:
            self._told = False
            return
        worst = max(runners, key=lambda runner: runner.left_open, default=None)
        if worst is not None and worst.left_open >= _FEWEST:
            worst.order(
                GiveUp(
                    f"its last collections have left {worst.left_open} file descriptors open, and the agent has {number} of at"
                    f" most {allowed}; only a restart of the agent closes them; if it needs them, raise budgets.descriptors"
                )
            )
        elif not self._told:
            self._told = True
            _log.warning("%d file descriptors are open, of at most %d; no probe that runs leaves them open", number, allowed)
