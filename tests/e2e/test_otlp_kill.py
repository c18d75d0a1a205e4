"""`kill -9` at two hundred seeded moments: nothing that the spool accepted is lost, and what comes twice was under way."""

import os
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from obi_core.testing.otlp import Behaviour, OtlpReceiver, received_ids

POINTS = ("enqueue", "commit", "send", "acknowledge")
MOMENTS = 200
LEAST = 20
"""Of each point."""


@pytest.mark.timeout(120)
def test_kill_at_any_moment_loses_nothing_accepted_and_doubles_only_what_was_under_way(tmp_path):
    seed = int(os.environ.get("OBI_SEED", "20261124"))
    sys.stdout.write(f"seed {seed}; another one with OBI_SEED\n")
    chosen, journal = random.Random(seed), tmp_path / "journal"
    moody = random.Random(seed + 1)
    died, number = Counter(), 0
    with OtlpReceiver(signals=("logs",)) as receiver:
        receiver.behaviour = lambda _: Behaviour(status=503) if moody.random() < 0.3 else Behaviour()
        script = Path(__file__).with_name("kill_nursery.py")
        command = [sys.executable, str(script), receiver.http, str(tmp_path / "spool"), str(journal)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as nursery:

            def life(point, nth, count, write):
                nonlocal number
                nursery.stdin.write(f"{point} {nth} {number} {count} {write}\n")
                nursery.stdin.flush()
                number += count
                return int(nursery.stdout.readline())

            while sum(died.values()) < MOMENTS:
                point = min(POINTS, key=lambda each: (died[each], chosen.random()))
                ended = life(point, chosen.randint(1, 9), 4, chosen.choice(("always", "failed")))
                assert ended in (0, -signal.SIGKILL)
                died[point] += ended == -signal.SIGKILL
            receiver.behaviour = Behaviour()
            assert life("none", 1, 1, "always") == 0
            nursery.stdin.close()
            assert nursery.wait(10) == 0
        times = Counter(identifier // 2 for identifier in received_ids(receiver) if identifier % 2 == 0)
        odd = Counter(identifier // 2 for identifier in received_ids(receiver) if identifier % 2)
    assert times == odd  # a request arrives as a whole
    lines = [line.split() for line in journal.read_text().splitlines()]
    accepted = {int(word) for line in lines if line[0] == "kept" for word in line[1:]}
    sys.stdout.write(f"{number} requests, {len(accepted)} accepted by the spool, died at {dict(died)}\n")
    assert Counter(line[1] for line in lines if line[0] == "died") == died
    assert min(died[point] for point in POINTS) >= LEAST
    assert accepted - times.keys() == set()
    assert len(accepted) >= MOMENTS
    twice = sum(count - 1 for count in times.values())
    sys.stdout.write(f"{twice} requests came twice\n")
    assert twice <= died["send"] + died["acknowledge"]
