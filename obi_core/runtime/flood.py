"""Stops a step that takes memory without end, before the kernel stops the whole agent."""

import ctypes
import logging
from collections.abc import Callable, Sequence
from typing import Final, Protocol

_log: Final = logging.getLogger("obi.probe")


class FloodError(BaseException):
    """Raised inside the step that takes too much. A BaseException, so that nobody's `except Exception` keeps it."""

    def __init__(self) -> None:
        super().__init__("it took more memory in one step than the agent can spare")


class Steps(Protocol):
    """What the guard asks of a runner."""

    @property
    def step_s(self) -> float | None:
        """How long its worker has been in the step under way, s; None: in none."""

    def interrupt(self, error: type[BaseException]) -> str:
        """Raise an error inside the step; gives its name, empty if it is over."""


class FloodGuard:
    """Compares the agent's memory with what it was when no probe was in a step. On the agent's thread.

    Args:
        limit: Growth within one step that is too much, bytes.
        resident: Memory of this process, bytes.

    Gaps: the kernel does not say which thread took memory, so the step that has lasted longest is held to account. A step that
    takes it inside one call of C cannot be stopped.
    """

    def __init__(self, limit: int, resident: Callable[[], int]) -> None:
        self.limit, self._resident = limit, resident
        self._before = resident()

    def check(self, runners: Sequence[Steps]) -> None:
        """Look; to be called about once a second."""
        resident, before = self._resident(), self._before
        running = [(step_s, number) for number, each in enumerate(runners) if (step_s := each.step_s) is not None]
        if not running:
            self._before = resident
        elif resident - before > self.limit:
            _, number = max(running)
            if step := runners[number].interrupt(FloodError):
                _log.warning(
                    "memory grew by %d MB while a probe was in %s; stopping that", (resident - self._before) >> 20, step
                )
            self._before = resident


def raise_in(thread: int, error: type[BaseException]) -> None:
    """Raise an error in another thread, at its next step of Python code.

    Args:
        thread: As `threading.get_ident` numbers it.
        error: Its type; made without arguments.
    """
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(error))
