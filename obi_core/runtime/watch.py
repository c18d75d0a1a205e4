"""The step that a worker is in, and until when: written by the worker, read by the agent's thread."""

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

_LOCK_S: Final = 1.0


class AbandonedError(BaseException):
    """The step came back after it was given up. A BaseException, so that nobody's `except Exception` keeps the thread."""


class Watch:
    """Deadline of the step under way.

    Args:
        clock: Seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._step = ""
        self._until = math.inf
        self._abandoned = False
        self._since = 0.0

    @contextmanager
    def step(self, name: str, deadline_s: float) -> Iterator[None]:
        """Run the block as a step.

        Raises:
            AbandonedError: It was given up meanwhile; whatever it did must not be used.
        """
        with self._lock:
            self._since = self._clock()
            self._step, self._until = name, self._since + deadline_s
        try:
            yield
        finally:
            with self._lock:
                self._step, self._until = "", math.inf
                abandoned = self._abandoned
            if abandoned:
                raise AbandonedError

    @property
    def step_s(self) -> float | None:
        """How long the step under way has lasted, s; None: there is none."""
        return self._clock() - self._since if self._step else None

    def during(self, call: Callable[[], None]) -> str:
        """Call while the step under way cannot end.

        Returns:
            Name of the step; empty, and nothing was called, if there is none.
        """
        if not self._lock.acquire(timeout=_LOCK_S):
            return ""
        try:
            if self._step:
                call()
            return self._step
        finally:
            self._lock.release()

    @property
    def abandoned(self) -> bool:
        """Whether the worker was given up."""
        return self._abandoned

    def abandon(self, *, overdue: bool = True) -> str:
        """Give the worker up, once.

        Args:
            overdue: Only if its step is past the deadline.

        Returns:
            Name of the step it hangs in; empty if it does not, or was given up before.
        """
        # An error that is raised in the worker's thread from outside may hit it between taking the lock and giving it back.
        if not self._lock.acquire(timeout=_LOCK_S):
            return ""
        try:
            if self._abandoned or not self._step or (overdue and self._clock() <= self._until):
                return ""
            self._abandoned = True
            return self._step
        finally:
            self._lock.release()
