"""The short form of `confined.py`: an agent in 200 MB and a twentieth of the node lives, and counts a known load exactly."""

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.timeout(240)
@pytest.mark.kernel(needs=("root", "cap:bpf", "cap:perfmon", "cap:net_admin", "btf", "tracefs", "cgroup2"))
def test_in_200_mb_and_a_twentieth_of_the_node_it_lives_and_every_number_is_right_or_accounted_for(tmp_path):
    words = ("--seconds", "8", "--scale", "0.2", "--doctor", "0", "--json", tmp_path / "found.json")
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("confined.py"), *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        timeout=230,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["right"]
    assert found["counted"] == found["expected"], "sampling takes latencies away, not counts"
    assert (found["restarts"], found["usage"]["oom_kills"], found["alive"]) == (0, 0, found["asked"])
    assert found["usage"]["peak"] <= 200_000_000
    assert found["usage"]["throttled"] > 0, "the quota was in force"
