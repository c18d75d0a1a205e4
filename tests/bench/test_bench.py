"""The benchmark in its smallest form: every part gives what it promises. Figures are not looked at."""

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parent
WORKLOADS = ["getppid", "pipe", "churn", "request", "bulk"]


def bench(folder, *arguments):
    """Run it with a temporary directory, so a lock, of its own."""
    command = [sys.executable, str(BENCH), *map(str, arguments)]
    return subprocess.run(
        command, env={**os.environ, "TMPDIR": str(folder)}, capture_output=True, text=True, check=False, timeout=100
    )


@pytest.mark.timeout(120)
@pytest.mark.kernel(needs=("root", "cap:bpf", "cap:perfmon", "btf", "cmd:bpftool"))
def test_one_small_round_fills_every_table(tmp_path):
    switch = Path("/proc/sys/kernel/bpf_stats_enabled")
    before = switch.read_text()
    done = bench(tmp_path, "--rounds", 1, "--scale", 0.005, "--idle", 0.1, "--json", tmp_path / "found.json")
    assert (done.returncode, done.stderr.splitlines()) == (
        0,
        ["bench: micro", "bench: control", "bench: ratios", "bench: programs", "bench: footprint"],
    )
    found = json.loads((tmp_path / "found.json").read_text())
    assert (found["rounds"], found["scale"], "tcp" in found["probes"]) == (1, 0.005, True)
    assert [each["workload"] for each in found["control"]] == WORKLOADS
    assert [each["workload"] for each in found["ratios"]["all"]] == WORKLOADS
    assert all(each["off_ns"] > 0 and each["ratio"]["least"] > 0 for each in found["control"])
    assert len(found["micro"]) == 9
    assert all(each["least_ms"] > 0 and each["ms"] > 0 for each in found["micro"])
    assert found["footprint"]["at_last"]["rss"] > found["footprint"]["at_last"]["uss"] > 0
    assert found["imports"][0]["step"] == "bare interpreter"
    for title in ("Noise", "On against off", "BPF programs", "User space", "Footprint", "Memory by import"):
        assert f"\n{title}" in done.stdout
    assert switch.read_text() == before


@pytest.mark.timeout(120)
@pytest.mark.kernel(needs=("root", "cap:bpf", "cap:perfmon", "btf", "cmd:bpftool"))
def test_every_connection_of_the_churn_runs_the_program_of_its_states_at_least_ten_times(tmp_path):
    """Two sockets of five changes each: none is missed. Others on the machine may add to it."""
    done = bench(tmp_path, "--only", "programs", "--scale", 0.01, "--json", tmp_path / "found.json")
    assert done.returncode == 0, done.stderr
    costs = json.loads((tmp_path / "found.json").read_text())["programs"]
    churn = next(each for each in costs if (each["workload"], each["program"]) == ("churn", "tcp_state_btf"))
    assert churn["reading"]["operations"] == 300
    assert churn["runs"] >= 3_000
    assert churn["ns"] > 0
    assert churn["reading"]["segments"] >= 1_800


def test_a_second_benchmark_does_not_start(tmp_path):
    with (tmp_path / "obi-bench.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        done = bench(tmp_path, "--only", "micro")
    lock = tmp_path / "obi-bench.lock"
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"bench: another one is running (it holds {lock}): wait for it\n"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--only", "micro,macro"), "bench: error: no part macro: choose from control, ratios, programs, micro, footprint"),
        (("--rounds", 0), "bench: error: --rounds, --scale and --idle must be more than 0"),
        (("--scale", -1), "bench: error: --rounds, --scale and --idle must be more than 0"),
    ],
)
def test_a_wrong_argument_is_one_sentence(tmp_path, arguments, sentence):
    done = bench(tmp_path, *arguments)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (2, sentence)
