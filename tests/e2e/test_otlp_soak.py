"""Memory over many exports of 10,000 series: `OBI_SOAK=1800` makes as many exports as thirty minutes at one a second.

An hour of the default interval is 360 exports, so a slope under 1 MB an hour is one under 1 MB per 360 exports.
"""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from obi_core.testing.otlp import Behaviour, OtlpReceiver

EXPORTS = int(os.environ.get("OBI_SOAK", "150"))
INTERVAL_S = float(os.environ.get("OBI_SOAK_INTERVAL", "0.02"))


@pytest.mark.timeout(max(60, EXPORTS * (INTERVAL_S + 0.3)))
def test_ten_thousand_series_are_exported_again_and_again_without_growing():
    with OtlpReceiver() as receiver:

        def forget(_):
            receiver.requests.clear()
            return Behaviour()

        receiver.behaviour = forget
        script = Path(__file__).with_name("soak_sender.py")
        command = [sys.executable, str(script), receiver.http, str(INTERVAL_S), str(EXPORTS)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    *lines, account = done.stdout.splitlines()
    assert all(enqueued == sent > 0 for enqueued, sent in ast.literal_eval(account))
    kilobytes = [int(line) for line in lines]
    settled = kilobytes[len(kilobytes) // 3 :]
    slope = _slope(settled) / 10 * 360  # a reading every ten exports
    sys.stdout.write(f"resident {kilobytes[0]} to {kilobytes[-1]} kB over {EXPORTS} exports, {slope:.0f} kB an hour\n")
    # a short run sees the allocator's steps more than a slope
    assert slope < (1_024 if EXPORTS >= 1_000 else 8_192)
    assert kilobytes[-1] - settled[0] < 4_096


def _slope(values):
    """Least squares, per reading."""
    middle, mean = (len(values) - 1) / 2, sum(values) / len(values)
    above = sum((at - middle) * (value - mean) for at, value in enumerate(values))
    return above / sum((at - middle) ** 2 for at in range(len(values)))
