"""The two clocks of the bus, read together."""

import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Moment:
    """One moment on both clocks, ns."""

    real_ns: int
    """Realtime: what points carry."""
    mono_ns: int
    """Monotonic: what waiting and idleness are measured with."""

    @classmethod
    def now(cls) -> "Moment":
        """Read both clocks."""
        return cls(time.time_ns(), time.monotonic_ns())
