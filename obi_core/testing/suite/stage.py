"""Where the suite runs a probe: one thread of its own, each step under a deadline, as the agent's worker does."""

import queue
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self, TypeVar

T = TypeVar("T")


class HungError(AssertionError):
    """A step of the probe did not come back in time."""


class Stage:
    """One thread that runs what it is given, one call after the other; a thread that hangs is left behind.

    Args:
        deadline_s: Time that each call has, s.
    """

    def __init__(self, deadline_s: float) -> None:
        self._deadline_s = deadline_s
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="obi-contract", daemon=True)

    def do(self, step: str, call: Callable[[], T]) -> T:
        """Run one step and give what it gives, or raise what it raises.

        Raises:
            HungError: It did not come back within the deadline.
        """
        results: queue.SimpleQueue[tuple[list[T], BaseException | None]] = queue.SimpleQueue()

        def run() -> None:
            try:
                results.put(([call()], None))
            except BaseException as error:  # noqa: BLE001 - whatever it raises is raised again below, on the test's thread
                results.put(([], error))

        self._calls.put(run)
        try:
            given, error = results.get(timeout=self._deadline_s)
        except queue.Empty:
            raise HungError(f"{step} did not come back within {self._deadline_s:g} s; the agent would quarantine it") from None
        if error is not None:
            raise error
        return given[0]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._calls.put(None)
        if not isinstance(error, HungError):
            self._thread.join(self._deadline_s)

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            call()
