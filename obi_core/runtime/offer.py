"""Where the agent leaves a new plan for a worker that runs: one slot, the newest plan wins."""

import threading

from obi_core.runtime.plan import Plan


class Offer:
    """The slot.

    Args:
        plan: What the worker begins with.
    """

    def __init__(self, plan: Plan) -> None:
        self._lock = threading.Lock()
        self._newest, self._waiting, self._closed = plan, False, False

    def put(self, plan: Plan) -> bool:
        """Leave a plan; False: nobody will take it."""
        with self._lock:
            if not self._closed:
                self._newest, self._waiting = plan, True
            return not self._closed

    def take(self) -> Plan | None:
        """Take the newest plan, if it was not taken before."""
        with self._lock:
            waiting, self._waiting = self._waiting, False
            return self._newest if waiting else None

    def close(self, *, ending: bool) -> bool:
        """Take no more plans, unless one waits and the worker is not `ending`; whether it is closed."""
        with self._lock:
            self._closed = self._closed or ending or not self._waiting
            return self._closed
