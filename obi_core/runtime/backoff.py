"""How long a probe that failed waits, and how often it is tried."""

from typing import Final

BACKOFF_S: Final = (1.0, 2.0, 4.0, 8.0)
"""Seconds to wait after the first, second … failure in a row; after the one that follows, the probe is quarantined."""


def delay_s(failures: int, chance: float) -> float | None:
    """Say how long to wait after so many failures in a row; None: not again.

    Longer by chance, by a quarter at most, so that the agents of a hundred nodes do not all try at once.

    Args:
        failures: From 1.
        chance: From 0 to 1.
    """
    return None if failures > len(BACKOFF_S) else BACKOFF_S[failures - 1] * (1 + chance / 4)
