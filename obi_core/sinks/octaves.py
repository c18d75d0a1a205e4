"""Explicit buckets for Prometheus text, derived from the kernel's exponential ones.

Only the powers of two are shown: at scale 2, four kernel buckets make one octave, and their sum is exact. Values past the
kernel's range are in its last bucket, so that one has no upper bound but +Inf.
"""

from collections.abc import Sequence
from itertools import accumulate

from obi_core.model import Buckets


def octaves(layout: Buckets) -> tuple[tuple[int, float], ...]:
    """List the bounds that are powers of two.

    Returns:
        (number of kernel buckets up to the bound, the bound in the instrument's unit), ascending, without +Inf.
    """
    bounds: list[tuple[int, float]] = []
    for count in range(1, layout.count):
        exponent = (layout.first + count) / 2**layout.scale
        if exponent.is_integer():
            bounds.append((count, 2.0**exponent))
    return tuple(bounds)


def cumulative(counts: Sequence[int], bounds: Sequence[tuple[int, float]]) -> list[int]:
    """Count the values up to each of `bounds`, then all of them (+Inf).

    Args:
        counts: Kernel bucket counts, without the sum.
        bounds: From `octaves`.
    """
    sums = list(accumulate(counts))
    return [sums[count - 1] for count, _ in bounds] + [sums[-1]]
